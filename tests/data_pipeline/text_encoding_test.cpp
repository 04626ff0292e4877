#include "data_pipeline/text_encoding.h"

#include <unicode/ucnv.h>

#include "tests/data_pipeline/read_records.h"
#include "tests/support/expect_error.h"

namespace decant {
namespace {

// ICU in one call, where the reader works piece by piece.
std::string encoded(const std::string& utf8, const char* encoding) {
  std::string out(4 * utf8.size() + 16, '\0');
  UErrorCode status = U_ZERO_ERROR;
  const int32_t size = ::ucnv_convert(encoding, "UTF-8", out.data(), static_cast<int32_t>(out.size()),
                                      utf8.data(), static_cast<int32_t>(utf8.size()), &status);
  EXPECT_TRUE(U_SUCCESS(status)) << encoding;
  out.resize(static_cast<size_t>(size));
  return out;
}

std::string chinese(int lines) {
  std::string text;
  for (int i = 0; i < lines; ++i)
    text += concat(R"({"messages":[{"role":"user","content":"订单)", i,
                   R"(什么时候发货？"},{"role":"assistant","content":"您好，😀已经发货，)",
                   std::string(size_t(i % 50), '.'), "請稍候。\"}]}\n");
  return text;
}

std::string content_of(const std::vector<RawRecord>& records) {
  std::string text;
  for (const RawRecord& record : records) text += record.bytes + "\n";
  return text;
}

TEST(TextEncoding, EachGivesTheSameRecords) {
  const std::string text = chinese(8000);  // some megabytes: characters lie across every kind of buffer end
  EXPECT_EQ(content_of(test::read_text(text, "f.jsonl")), text);
  EXPECT_EQ(content_of(test::read_text("\xef\xbb\xbf" + text, "f.jsonl")), text);
  EXPECT_EQ(content_of(test::read_text("\xff\xfe" + encoded(text, "UTF-16LE"), "f.jsonl")), text);
  EXPECT_EQ(content_of(test::read_text("\xfe\xff" + encoded(text, "UTF-16BE"), "f.jsonl")), text);
  EXPECT_EQ(content_of(test::read_text(encoded(text, "gb18030"), "f.jsonl")), text);
  SourceConfig source;
  source.encoding = TextEncoding::kGb18030;
  EXPECT_EQ(content_of(test::read_text(encoded(text, "gb18030"), "f.jsonl", source)), text);
  source.encoding = TextEncoding::kUtf16Be;
  EXPECT_EQ(content_of(test::read_text(encoded(text, "UTF-16BE"), "f.jsonl", source)), text);
}

TEST(TextEncoding, WhatTheTextIsIsNotGuessedFromOneBadLine) {
  EXPECT_FALSE(looks_like_gb18030("plain"));
  EXPECT_FALSE(looks_like_gb18030(chinese(20)));
  EXPECT_FALSE(looks_like_gb18030(chinese(20).substr(0, 301)));  // ends in the middle of a character
  EXPECT_FALSE(looks_like_gb18030(chinese(3) + encoded("坏行", "gb18030") + "\n" + chinese(3)));
  EXPECT_TRUE(looks_like_gb18030(encoded(chinese(20), "gb18030")));
  EXPECT_TRUE(looks_like_gb18030(encoded("退款", "gb18030")));
  EXPECT_FALSE(looks_like_gb18030(encoded("un café très élégant à la crème\n", "ISO-8859-1")));
  EXPECT_FALSE(looks_like_gb18030("\xff\xff"));
  // A long ASCII beginning does not decide.
  const std::string ascii = "{\"a\":\"" + std::string(3 << 20, 'x') + "\"}\n";
  const auto records = test::read_text(ascii + encoded(chinese(2), "gb18030"), "f.jsonl");
  EXPECT_EQ(content_of(records), ascii + chinese(2));
}

TEST(TextEncoding, BadSequencesAreQuarantinedWithTheirRecord) {
  RecordParser parser;
  const auto reasons = [&](const std::string& bytes, TextEncoding encoding) {
    SourceConfig source;
    source.encoding = encoding;
    std::vector<std::string> list;
    for (const auto& record : test::read_text(bytes, "f.jsonl", source))
      list.push_back(parser.parse(record).reason);
    return list;
  };
  using List = std::vector<std::string>;
  const std::string gb = encoded(chinese(1), "gb18030");
  EXPECT_EQ(reasons(gb + "{\"a\":\"\xff\"}\n" + gb, TextEncoding::kGb18030), (List{"", "invalid_utf8", ""}));
  EXPECT_EQ(reasons(gb + "{\"a\":\"\xb6", TextEncoding::kGb18030), (List{"", "truncated"}));
  using namespace std::string_literals;
  const std::string wide = encoded(chinese(1), "UTF-16LE");
  EXPECT_EQ(reasons(wide + "\"\0\x3d\xd8\"\0\n\0"s + wide, TextEncoding::kUtf16Le),
            (List{"", "invalid_utf8", ""}));
  EXPECT_EQ(reasons(wide + "\"", TextEncoding::kUtf16Le), (List{"", "invalid_utf8"}));
  EXPECT_EQ(reasons(gb, TextEncoding::kUtf8), (List{"invalid_utf8"}));
  EXPECT_ERROR(test::read_text("\xff\xfe\0\0{\0\0\0"s, "f.jsonl"), "is UTF-32");
}

}  // namespace
}  // namespace decant
