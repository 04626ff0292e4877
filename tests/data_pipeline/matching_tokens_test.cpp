#include "data_pipeline/matching_tokens.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "core/random.h"

namespace decant {
namespace {

std::string keys(std::string_view text) {
  MatchingTokens tokens;
  matching_tokens(text, tokens);
  std::string joined;
  for (size_t i = 0; i < tokens.tokens.size(); ++i) joined.append(i == 0 ? "" : "|").append(tokens.key_of(i));
  return joined;
}

TEST(MatchingTokens, WordsAndCharacters) {
  EXPECT_EQ(keys("Hello, World! x1"), "hello|world|x1");
  EXPECT_EQ(keys("用Python写 代码。"), "用|python|写|代|码");
  EXPECT_EQ(keys("don't DON’T 'quoted'"), "dont|dont|quoted");
  EXPECT_EQ(keys("ひらカナ漢"), "ひ|ら|カ|ナ|漢");
  EXPECT_EQ(keys("한국어 문장"), "한국어|문장");
  EXPECT_EQ(keys("Größe CAFÉ"), "grösse|café");
  EXPECT_EQ(keys(""), "");
  EXPECT_EQ(keys(" ,.!😀 "), "");
}

TEST(MatchingTokens, WhatLooksDifferentIsEqual) {
  const std::string plain = keys("请问怎么退款order 2024年3月");
  EXPECT_EQ(keys("请 问，怎 么\n退款？ＯＲＤＥＲ ２０２４年３月"), plain);
  EXPECT_EQ(keys("请\u200b问怎么退\u00ad款or\u200bder 2024年三月!"), plain);
  EXPECT_EQ(keys("e\u0301te\u0301"), keys("\u00e9t\u00e9"));
  EXPECT_EQ(keys("ＣＡＦＥ\u0301"), keys("café"));
  EXPECT_EQ(keys("ｶﾞ"), keys("ガ"));
  EXPECT_EQ(keys("ﬁne Ⅷ"), keys("fine viii"));
}

TEST(MatchingTokens, Digits) {
  EXPECT_EQ(keys("叁万 3 三 ③ ３ ٣"), "三|万|三|三|三|三|三");
  EXPECT_EQ(keys("壹佰貳拾萬零伍"), keys("一百二十万〇五"));
  EXPECT_EQ(keys("٢٠٢٤ २०२४"), "2024|2024");
  EXPECT_EQ(keys("12 13"), "12|13");
}

TEST(MatchingTokens, PlacesAreInTheText) {
  const std::string text = "Ａb 退款 e\u0301X";
  MatchingTokens tokens;
  matching_tokens(text, tokens);
  ASSERT_EQ(tokens.tokens.size(), 4u);
  const auto source = [&](size_t i) {
    return text.substr(tokens.tokens[i].begin, tokens.tokens[i].end - tokens.tokens[i].begin);
  };
  EXPECT_EQ(source(0), "Ａb");
  EXPECT_EQ(source(1), "退");
  EXPECT_EQ(source(2), "款");
  EXPECT_EQ(source(3), "e\u0301X");
}

// Cut at any separator, the tokens of the parts are those of the whole; and no byte sequence is too odd.
TEST(MatchingTokens, PartsAreTheWhole) {
  const std::vector<std::string> parts = {
      "a",  "B",      "é",      "e\u0301",    "\u0301", "你",     "　",       "Ａ",          "\xff",
      "3",  "'",      "\u200b", "\u212a",     "か",     "\u3099", "\xe4\xbd", "ß",           "ﬁ",
      "〇", "\u0660", "’",      "\U0001F600", "๑",      "ก",      "Ⅷ",        "\u1100\u1161"};
  for (uint64_t n = 0; n < 20000; ++n) {
    std::string left, right;
    for (uint64_t k = 0; k < 6; ++k) left += parts[philox(4, n, k)[0] % parts.size()];
    for (uint64_t k = 0; k < 6; ++k) right += parts[philox(4, n, k)[1] % parts.size()];
    const std::string a = keys(left), b = keys(right), whole = keys(left + "\n" + right);
    ASSERT_EQ(whole, a + (a.empty() || b.empty() ? "" : "|") + b) << n;
    MatchingTokens tokens;
    matching_tokens(left + right, tokens);
    uint32_t end = 0;
    for (const auto& token : tokens.tokens) {
      ASSERT_LT(token.begin, token.end);
      ASSERT_LE(token.end, left.size() + right.size());
      ASSERT_LE(end, token.end);
      end = token.end;
    }
  }
}

}  // namespace
}  // namespace decant
