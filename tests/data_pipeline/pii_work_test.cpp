// Hostile texts: what find_pii does is linear in the text. Work is counted in units read (PiiText counts them
// in this program's own build of the finders), not in seconds.
#include <gtest/gtest.h>

#include <string>

#include "data_pipeline/pii.h"
#include "data_pipeline/pii_text.h"

namespace decant {
namespace {

constexpr std::string_view kPieces[] = {"1",
                                        "12 ",
                                        "1-",
                                        "1.",
                                        "123456789 ",
                                        "@",
                                        "a@",
                                        "a.",
                                        "a@b.",
                                        "a@b.c",
                                        "@b.c.d",
                                        ":",
                                        "::",
                                        "a:",
                                        "aa:",
                                        "aa-",
                                        "1:2:",
                                        "-----BEGIN ",
                                        "-----BEGIN RSA PRIVATE KEY-----",
                                        "路",
                                        "号",
                                        "市",
                                        "1号",
                                        "路1号",
                                        "北京路",
                                        "姓名：",
                                        "王",
                                        "王先生",
                                        "我叫",
                                        "密码：",
                                        "password: ",
                                        "password=",
                                        "password is ",
                                        "token=",
                                        "?token=",
                                        "sk-",
                                        "eyJ",
                                        "eyJ.",
                                        "eyJ-",
                                        "ghp_",
                                        "微信",
                                        "微信号",
                                        "地址：",
                                        "地址北京市",
                                        "北京市",
                                        "生日",
                                        "出生1",
                                        "1990-01-01 ",
                                        "+1",
                                        "+",
                                        "(",
                                        "00",
                                        "4111 ",
                                        "4111111111111111",
                                        "一",
                                        "月",
                                        "Mr. A",
                                        "my name is a ",
                                        "12 A ",
                                        "12 A Street, ",
                                        "x",
                                        "X ",
                                        "\x80",
                                        "\xef\xbc",
                                        "\xe2\x80\x8b",
                                        "qq",
                                        "QQ 1",
                                        "138",
                                        "13812345678",
                                        "13812345678 ",
                                        "110101199003074610",
                                        "GB",
                                        "DE89 3704 ",
                                        "京A",
                                        "京A12345",
                                        "..",
                                        "a..b@c.d",
                                        "张三13812345678，",
                                        "1.2.3.",
                                        "255.255.255.255 ",
                                        "2001:db8::",
                                        "某",
                                        "Qux ",
                                        "user-aaaaaaaaaa@example.invalid",
                                        "小区",
                                        "栋",
                                        "3栋",
                                        "一二三号"};

uint64_t work(std::string_view text) {
  PiiText::reads = 0;
  find_pii(text);
  return PiiText::reads;
}

std::string repeated(std::string_view piece, size_t bytes) {
  std::string text;
  while (text.size() < bytes) text += piece;
  return text;
}

TEST(PiiWork, GrowsWithTheText) {
  int seen = 0;
  for (const std::string_view piece : kPieces) {
    const uint64_t one = work(repeated(piece, 1 << 12)), eight = work(repeated(piece, 1 << 15));
    EXPECT_LE(eight, 9 * one + 4096) << piece;
    EXPECT_LE(eight, (uint64_t{1} << 15) * 400) << piece << ": " << (eight >> 15) << " reads a byte";
    ++seen;
  }
  EXPECT_EQ(seen, 88);
}

TEST(PiiWork, LongTextsEnd) {
  for (const std::string_view piece : {"1", "@", "a", "a.", "1 ", "-", "路"}) {
    const std::string text = repeated(piece, 1 << 18);
    EXPECT_LE(work(text), text.size() * 400) << piece;
  }
}

TEST(PiiWork, ReplacingEnds) {
  for (const std::string_view piece : kPieces) {
    PiiCounts counts;
    PiiText::reads = 0;
    const std::string text = repeated(piece, 1 << 12), out = replace_pii(text, "t", "k", counts);
    EXPECT_TRUE(find_pii(out).empty()) << piece;
    EXPECT_LE(out.size(), 8 * text.size()) << piece;
    EXPECT_LE(PiiText::reads, text.size() * 4000) << piece;
  }
}

}  // namespace
}  // namespace decant
