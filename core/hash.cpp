#include "core/hash.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <xxhash.h>

#include <algorithm>
#include <limits>
#include <stdexcept>

#include "core/error.h"
#include "core/file.h"

namespace decant {

namespace {

// A digest that was not computed must not pass for one.
void must(bool done) {
  if (!done) throw std::runtime_error("OpenSSL could not compute a SHA-256 digest");
}

// Looked up once: EVP_sha256() makes every digest look it up, which takes longer than a short text.
const EVP_MD* sha256() {
  static const EVP_MD* digest = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  must(digest != nullptr);
  return digest;
}

}  // namespace

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  must(context_ != nullptr && EVP_DigestInit_ex(static_cast<EVP_MD_CTX*>(context_), sha256(), nullptr) == 1);
}

Sha256::~Sha256() { EVP_MD_CTX_free(static_cast<EVP_MD_CTX*>(context_)); }

void Sha256::update(std::string_view bytes) {
  must(EVP_DigestUpdate(static_cast<EVP_MD_CTX*>(context_), bytes.data(), bytes.size()) == 1);
}

std::string Sha256::hex() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  must(EVP_DigestFinal_ex(static_cast<EVP_MD_CTX*>(context_), digest.data(), &size) == 1);
  return to_hex({reinterpret_cast<const char*>(digest.data()), size});
}

std::string sha256_hex(std::string_view bytes) {
  Sha256 digest;
  digest.update(bytes);
  return digest.hex();
}

std::string sha256_file(const std::filesystem::path& path) {
  constexpr size_t kPiece = size_t{1} << 22;
  const MappedFile file(path);
  Sha256 digest;
  for (std::string_view left = file.bytes(); !left.empty();
       left.remove_prefix(std::min(kPiece, left.size()))) {
    digest.update(left.substr(0, kPiece));
    file.let_go(left.substr(0, kPiece));  // else a model that is looked at is in memory
  }
  return digest.hex();
}

std::array<uint8_t, 32> hmac_sha256(std::string_view key, std::string_view message) {
  std::array<uint8_t, 32> out{};
  unsigned int size = 0;
  // OpenSSL refuses a null key, which an empty view may be.
  const char* key_data = key.empty() ? "" : key.data();
  const bool done = key.size() <= std::numeric_limits<int>::max() &&
                    HMAC(sha256(), key_data, static_cast<int>(key.size()),
                         reinterpret_cast<const unsigned char*>(message.data()), message.size(), out.data(),
                         &size) != nullptr;
  must(done && size == out.size());
  return out;
}

uint64_t xxh3_64(std::string_view bytes, uint64_t seed) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

std::string to_hex(std::string_view bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    out += kDigits[byte >> 4];
    out += kDigits[byte & 15];
  }
  return out;
}

}  // namespace decant
