// Digests against published vectors: FIPS 180-4 examples, RFC 4231, and xxHash's own self test.
#include "core/hash.h"

#include <gtest/gtest.h>

#include "core/file.h"
#include "tests/support/expect_error.h"
#include "tests/support/shared.h"

namespace decant {
namespace {

std::string hmac_hex(std::string_view key, std::string_view message) {
  const auto digest = hmac_sha256(key, message);
  return to_hex({reinterpret_cast<const char*>(digest.data()), digest.size()});
}

TEST(Hash, Sha256GivesThePublishedDigests) {
  EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(sha256_hex(std::string(1'000'000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Hash, PiecesGiveTheDigestOfTheWhole) {
  const std::string text(1000, 'x');
  for (const size_t cut : {size_t{0}, size_t{1}, size_t{63}, size_t{64}, size_t{65}, size_t{1000}}) {
    Sha256 digest;
    digest.update(std::string_view(text).substr(0, cut));
    digest.update({});
    digest.update(std::string_view(text).substr(cut));
    EXPECT_EQ(digest.hex(), sha256_hex(text)) << cut;
  }
}

TEST(Hash, AFileHasTheDigestOfItsBytes) {
  const auto folder = test::scratch_folder();
  write_file(folder / "abc", "abc");
  write_file(folder / "empty", "");
  EXPECT_EQ(sha256_file(folder / "abc"), sha256_hex("abc"));
  EXPECT_EQ(sha256_file(folder / "empty"), sha256_hex(""));
  EXPECT_ERROR(sha256_file(folder / "none"), "none: cannot open for reading: No such file");
}

TEST(Hash, HmacGivesRfc4231) {
  EXPECT_EQ(hmac_hex(std::string(20, '\x0b'), "Hi There"),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
  EXPECT_EQ(hmac_hex("Jefe", "what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  EXPECT_EQ(hmac_hex(std::string(20, '\xaa'), std::string(50, '\xdd')),
            "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe");
  // A key longer than the block.
  EXPECT_EQ(hmac_hex(std::string(131, '\xaa'), "Test Using Larger Than Block-Size Key - Hash Key First"),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
  EXPECT_EQ(hmac_hex({}, {}), "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

TEST(Hash, Xxh3GivesTheReferenceOnEveryLengthClass) {
  EXPECT_EQ(xxh3_64(""), 0x2D06800538D394C2U);
  EXPECT_EQ(xxh3_64("", 0x9E3779B185EBCA8DU), 0xA8A6B918B2F0364AU);
  EXPECT_NE(xxh3_64("a"), xxh3_64("a", 1));
  EXPECT_NE(xxh3_64("a"), xxh3_64("b"));
  // The self test's buffer: successive high bytes of a counter multiplied by a prime.
  std::string buffer;
  uint64_t generator = 2654435761U;
  for (int i = 0; i < 2367; ++i) {
    buffer += static_cast<char>(generator >> 56);
    generator *= 11400714785074694797U;
  }
  const std::string_view bytes = buffer;
  const std::pair<size_t, uint64_t> known[] = {
      {1, 0xC44BDFF4074EECDBU},    {6, 0x27B56A84CD2D7325U},   {12, 0xA713DAF0DFBB77E7U},
      {24, 0xA3FE70BF9D3510EBU},   {48, 0x397DA259ECBA1F11U},  {80, 0xBCDEFBBB2C47C90AU},
      {195, 0xCD94217EE362EC3AU},  {403, 0xCDEB804D65C6DEA4U}, {512, 0x617E49599013CB6BU},
      {2048, 0xDD59E2C3A5F038E0U}, {2367, 0xCB37AEB9E5D361EDU}};
  for (const auto& [size, expected] : known) EXPECT_EQ(xxh3_64(bytes.substr(0, size)), expected) << size;
}

TEST(Hash, HexIsLowerCaseAndCoversAllBytes) {
  EXPECT_EQ(to_hex(""), "");
  EXPECT_EQ(to_hex(std::string_view("\x00\x7f\x80\xff\xAb", 5)), "007f80ffab");
}

}  // namespace
}  // namespace decant
