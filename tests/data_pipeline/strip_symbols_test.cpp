#include "data_pipeline/strip_symbols.h"

#include <gtest/gtest.h>

#include <string>

namespace decant {
namespace {

std::string without_emoji(std::string_view text) {
  MappedText out;
  return strip_emoji(text, out) ? out.text : std::string(text);
}
std::string shortened(std::string_view text, size_t most) {
  MappedText out;
  return shorten_punctuation(text, most, out) ? out.text : std::string(text);
}

TEST(StripSymbols, WholeEmojiSequences) {
  EXPECT_EQ(without_emoji("好的😀😀 ok"), "好的 ok");
  EXPECT_EQ(without_emoji("a👨‍👩‍👧‍👦b👍🏽c🇨🇳d❤️e✅f"), "abcdef");
  EXPECT_EQ(without_emoji("1️⃣ 2⃣ #️⃣"), "1 2 #");
  EXPECT_EQ(without_emoji("🏴󠁧󠁢󠁥󠁮󠁧󠁿x"), "x");
  EXPECT_EQ(without_emoji("❤️‍🔥x"), "x");
}

TEST(StripSymbols, TextSymbolsStay) {
  for (const char* text : {"©®™ ❤ → ☎ №1 ★", "你好。", "１２３", "a‍b", "ok"})
    EXPECT_EQ(without_emoji(text), text);
}

TEST(StripSymbols, RepeatedPunctuation) {
  EXPECT_EQ(shortened("好！！！！！吗？？？", 2), "好！！吗？？");
  EXPECT_EQ(shortened("wait..... what?!?!", 3), "wait... what?!?!");
  EXPECT_EQ(shortened("……………a", 1), "…a");
  EXPECT_EQ(shortened("aaaa --- ***", 1), "aaaa --- ***");
  MappedText out;
  ASSERT_TRUE(shorten_punctuation("a!!!b", 1, out));
  EXPECT_EQ(out.map.source_of(2), 4u);
}

}  // namespace
}  // namespace decant
