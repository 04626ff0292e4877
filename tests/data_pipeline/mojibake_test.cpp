#include "data_pipeline/mojibake.h"

#include <gtest/gtest.h>
#include <unicode/ucnv.h>
#include <unicode/unistr.h>

#include <string>

namespace decant {
namespace {

std::string repaired(std::string_view text) {
  MappedText out;
  if (!repair_mojibake(text, out)) return std::string(text);
  EXPECT_EQ(out.map.output_size(), out.text.size());
  return out.text;
}

// The bytes of `text` read as `encoding`, by ICU.
std::string misread(const std::string& text, const char* encoding) {
  icu::UnicodeString wrong(text.data(), static_cast<int32_t>(text.size()), encoding);
  std::string utf8;
  wrong.toUTF8String(utf8);
  return utf8;
}

TEST(Mojibake, IsPutRight) {
  EXPECT_EQ(repaired("cafÃ©"), "café");
  EXPECT_EQ(repaired("itâ€™s â€œfineâ€\u009d"), "it’s “fine”");
  EXPECT_EQ(repaired("ä½\u00a0å¥½ï¼Œä¸–ç•Œ 123"), "你好，世界 123");
  for (const std::string text :
       {"您好，请问有什么可以帮您？", "订单已发货，请注意查收", "退款申请已经提交，三天内到账"}) {
    EXPECT_EQ(repaired(misread(text, "ISO-8859-1")), text);
    // Where GB18030 has no character for a byte pair the misreading lost it: only whole ones can be put
    // right.
    const std::string wrong = misread(text, "GB18030");
    if (wrong.find("\xef\xbf\xbd") == std::string::npos) {
      EXPECT_EQ(repaired(wrong), text);
    }
  }
  EXPECT_EQ(repaired(misread("你好世界", "GB18030")), "你好世界");
  EXPECT_EQ(repaired(repaired("cafÃƒÂ©")), "café");
}

TEST(Mojibake, WhatCannotBeProvedStays) {
  for (const char* text : {"café", "naïve Ã", "Ã© 你好", "São Paulo", "£5 and €7", "你好", "联通", "锟斤拷",
                           "", "ascii", "请问怎么退款", "Â", "½ cup"})
    EXPECT_EQ(repaired(text), text);
}

TEST(Mojibake, TheMapCoversWhatWasRead) {
  const std::string text = "a Ã©b";
  MappedText out;
  ASSERT_TRUE(repair_mojibake(text, out));
  EXPECT_EQ(out.text, "a éb");
  EXPECT_EQ(out.map.source_range(2, 4), (SourceMap::Range{2, 6}));
  EXPECT_EQ(out.map.source_of(4), 6u);
}

}  // namespace
}  // namespace decant
