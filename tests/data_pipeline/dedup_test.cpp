#include "data_pipeline/dedup.h"

#include <gtest/gtest.h>

#include <set>

namespace decant {
namespace {

Conversation talk(std::string tenant, std::string period, std::string question, std::string answer) {
  Conversation c;
  c.tenant = std::move(tenant);
  c.period = std::move(period);
  c.messages = {{"user", std::move(question), nullptr}, {"assistant", std::move(answer), nullptr}};
  return c;
}

TEST(Dedup, KeyIgnoresSpaceAndWidthOnly) {
  const auto key = duplicate_key(talk("t", "", "hello  world", "Ａ１"));
  EXPECT_EQ(key, duplicate_key(talk("t", "2026-01", " hello\nworld ", "A1")));
  EXPECT_NE(key, duplicate_key(talk("u", "", "hello world", "A1")));
  EXPECT_NE(key, duplicate_key(talk("t", "", "Hello world", "A1")));
  EXPECT_NE(duplicate_key(talk("t", "", "ab", "c")), duplicate_key(talk("t", "", "a", "bc")));
  Conversation roles = talk("t", "", "hello world", "A1");
  roles.messages[0].role = "system";
  EXPECT_NE(key, duplicate_key(roles));
  EXPECT_EQ(key.size(), 32U);
  Conversation thought = talk("t", "", "hello world", "A1");
  thought.messages[1].reasoning = "hm";
  EXPECT_NE(key, duplicate_key(thought));
  Conversation rejected = talk("t", "", "hello world", "A1");
  rejected.rejected = true;
  EXPECT_NE(key, duplicate_key(rejected));
}

TEST(Dedup, WhatIsLearnedFromCounts) {
  std::set<std::string> keys;
  const auto add = [&](auto change) {
    Conversation c = talk("t", "", "q", "a");
    change(c);
    keys.insert(duplicate_key(c));
  };
  add([](Conversation&) {});
  add([](Conversation& c) { c.messages[1].reasoning = "r"; });
  add([](Conversation& c) { c.messages[1].name = "r"; });
  add([](Conversation& c) { c.messages[1].tool_call_id = "r"; });
  add([](Conversation& c) { c.messages[1].weight = 0; });
  add([](Conversation& c) { c.messages[1].tool_calls = Json::array({1}); });
  add([](Conversation& c) { c.tools = Json::array({1}); });
  add([](Conversation& c) { c.pair = "r"; });
  add([](Conversation& c) { c.rejected = true; });
  EXPECT_EQ(keys.size(), 9u);
}

TEST(Dedup, KeepsTheEarliestPeriodThenTheFirst) {
  const std::vector<Conversation> all = {talk("t", "", "q", "a"),        talk("t", "2026-02", "q", "a"),
                                         talk("t", "2026-01", "q", "a"), talk("t", "2026-01", "q", "a"),
                                         talk("u", "2026-03", "q", "a"), talk("t", "2026-01", "q", "b")};
  std::vector<const Conversation*> pointers;
  for (const auto& c : all) pointers.push_back(&c);
  EXPECT_EQ(exact_duplicates(pointers), (std::vector<size_t>{2, 2, 2, 2, 4, 5}));
  EXPECT_TRUE(exact_duplicates({}).empty());
}

}  // namespace
}  // namespace decant
