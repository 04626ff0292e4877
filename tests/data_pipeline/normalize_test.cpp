#include "data_pipeline/normalize.h"

#include <gtest/gtest.h>

#include "core/random.h"

namespace decant {
namespace {

TEST(Normalize, EachRule) {
  EXPECT_EQ(normalize_text("a\xff\xe4\xbd z"), "a\xef\xbf\xbd\xef\xbf\xbd z");  // one per maximal subsequence
  EXPECT_EQ(normalize_text("\xed\xa0\x80"),
            "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");  // a surrogate: three bad bytes
  EXPECT_EQ(normalize_text("a\r\nb\rc\u0085d\u2028e\u2029f"), "a\nb\nc\nd\ne\nf");
  EXPECT_EQ(normalize_text(std::string("a\0b\x01\x7f\t\nc", 8)), "ab\t\nc");
  EXPECT_EQ(normalize_text("\ufeffa\u200bb\u2060c\u00add\u202ee"), "abcde");
  EXPECT_EQ(normalize_text("e\u0301 \u212a"), "\u00e9 K");
  EXPECT_EQ(normalize_text("１３８　x"), "１３８　x");  // compatibility forms stay
  EXPECT_EQ(normalize_text(" \n\u3000 x y \t\n"), "x y");
  EXPECT_EQ(normalize_text(" \u200b\n"), "");
  EXPECT_EQ(normalize_text("e\u200b\u0301"), "\u00e9");  // composed after what stood between is gone
}

TEST(Normalize, JoinersStayWhereTheyJoin) {
  const std::string family = "\U0001F468\u200d\U0001F469", persian = "\u0645\u06cc\u200c\u062e";
  EXPECT_EQ(normalize_text(family), family);
  EXPECT_EQ(normalize_text(persian), persian);
  EXPECT_EQ(normalize_text("1\u200d3\u200c8"), "138");
  EXPECT_EQ(normalize_text("\u200d你\u200d"), "你");
}

TEST(Normalize, TwiceIsOnce) {
  const std::vector<std::string> parts = {
      "a",  "é", "e\u0301", "\u200d", "\u200b", "\r",           "\n",         "\xff",   "\xe4\xbd",
      "你", " ", "\u212a",  "\u037e", "\u0301", "\u1100\u1161", "\U0001F468", "\u2028", "\x01"};
  for (uint64_t n = 0; n < 3000; ++n) {
    std::string text;
    for (uint64_t k = 0; k < 8; ++k) text += parts[philox(5, n, k)[0] % parts.size()];
    const std::string once = normalize_text(text);
    ASSERT_EQ(normalize_text(once), once) << n;
  }
}

TEST(Normalize, MatchingText) {
  EXPECT_EQ(matching_text("  Ａ１ \n\t x　y "), "A1 x y");
  EXPECT_NE(matching_text("A"), matching_text("a"));
}

Conversation talk(const std::vector<std::pair<std::string, std::string>>& turns) {
  Conversation c;
  for (const auto& [role, content] : turns) c.messages.push_back({role, content, nullptr});
  return c;
}

std::string shape(const Conversation& c) {
  std::string text;
  for (const auto& m : c.messages) text += m.role.substr(0, 1) + ":" + m.content + "|";
  return text;
}

TEST(Normalize, ConversationForm) {
  Conversation c = talk(
      {{"user", " hi "}, {"user", "there\r\n"}, {"assistant", "a"}, {"assistant", "b"}, {"user", "bye"}});
  const Cleaned cleaned = clean_conversation(c);
  EXPECT_EQ(cleaned.reason, "");
  EXPECT_EQ(shape(c), "u:hi\nthere|a:a\nb|");
  EXPECT_EQ(cleaned.merged, 2);
  EXPECT_EQ(cleaned.trimmed, 1);

  Conversation greeting = talk({{"system", "s"},
                                {"assistant", "hello"},
                                {"user", "q"},
                                {"assistant", "a"},
                                {"tool", "t"},
                                {"tool", "u"},
                                {"assistant", "b"}});
  const std::string before = shape(greeting);
  EXPECT_EQ(clean_conversation(greeting).reason, "");
  EXPECT_EQ(shape(greeting), before);
}

TEST(Normalize, ConversationReasons) {
  const auto reason = [](Conversation c) { return clean_conversation(c).reason; };
  EXPECT_EQ(reason(talk({{"user", "q"}})), "no_answer");
  EXPECT_EQ(reason(talk({{"assistant", "hello"}, {"user", "q"}})), "no_answer");
  EXPECT_EQ(reason(talk({{"assistant", "hello"}})), "no_question");
  EXPECT_EQ(reason(talk({{"user", "q"}, {"assistant", " \u200b"}})), "empty_message");
  EXPECT_EQ(reason(talk({{"user", ""}, {"assistant", "a"}})), "empty_message");
  EXPECT_EQ(reason(talk({{"user", "q"}, {"system", "s"}, {"assistant", "a"}})), "bad_roles");
  EXPECT_EQ(reason(talk({{"user", "q"}, {"tool", "t"}, {"assistant", "a"}})), "bad_roles");
  Conversation calls = talk({{"user", "q"}, {"assistant", ""}, {"tool", "t"}, {"assistant", "a"}});
  calls.messages[1].tool_calls = Json::array({1});
  EXPECT_EQ(reason(calls), "");
}

}  // namespace
}  // namespace decant
