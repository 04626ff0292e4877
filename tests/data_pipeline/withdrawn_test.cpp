#include "data_pipeline/withdrawn.h"

#include <gtest/gtest.h>

#include <functional>

#include "tests/support/expect_error.h"

namespace decant {
namespace {

Conversation talk(const std::string& answer) {
  Conversation c;
  c.id = "c1";
  c.tenant = "shop";
  c.messages = {{"user", "怎么退货", nullptr}, {"assistant", answer, nullptr}};
  c.meta = {{"policy", "returns-v1"}, {"version", 3}};
  return c;
}

WithdrawnConfig rule(const std::function<void(WithdrawnConfig&)>& change) {
  WithdrawnConfig config;
  config.name = "old";
  change(config);
  return config;
}

bool withdraws(const WithdrawnConfig& config, const Conversation& c, const std::string& period = "2024-03") {
  return WithdrawnRules({config}).find(c, period) == 0;
}

TEST(Withdrawn, ByTextIdMetaAndExpression) {
  const auto text = rule([](auto& r) { r.text = "7天无理由退货"; });
  EXPECT_TRUE(withdraws(text, talk("本店支持 ７ 天“无理由”退货。")));
  EXPECT_TRUE(withdraws(text, talk("支持七天无理由退货")));
  EXPECT_FALSE(withdraws(text, talk("支持17天无理由退货")));
  Conversation thought = talk("好的");
  thought.messages[1].reasoning = "支持7天无理由退货";
  EXPECT_TRUE(withdraws(text, thought));

  EXPECT_TRUE(withdraws(rule([](auto& r) { r.ids = {"c0", "c1"}; }), talk("x")));
  EXPECT_FALSE(withdraws(rule([](auto& r) { r.ids = {"c2"}; }), talk("x")));
  EXPECT_TRUE(withdraws(rule([](auto& r) {
                          r.meta = {{"policy", "returns-v1"}, {"version", "3"}};
                        }),
                        talk("x")));
  EXPECT_FALSE(withdraws(rule([](auto& r) {
                           r.meta = {{"policy", "returns-v1"}, {"version", "4"}};
                         }),
                         talk("x")));
  EXPECT_FALSE(withdraws(rule([](auto& r) { r.meta = {{"none", ""}}; }), talk("x")));
  EXPECT_TRUE(
      withdraws(rule([](auto& r) { r.regex = "(?i)within \\d+ days"; }), talk("Return it Within 14 days")));
  EXPECT_FALSE(withdraws(rule([](auto& r) { r.regex = "^14"; }), talk("Return it within 14 days")));
}

TEST(Withdrawn, AllConditionsMustHold) {
  const auto both = rule([](auto& r) { r.text = "14 days", r.meta = {{"version", "3"}}, r.tenant = "shop"; });
  EXPECT_TRUE(withdraws(both, talk("in 14 days")));
  EXPECT_FALSE(withdraws(both, talk("in 15 days")));
  Conversation other = talk("in 14 days");
  other.tenant = "bank";
  EXPECT_FALSE(withdraws(both, other));
  other = talk("in 14 days");
  other.meta["version"] = 4;
  EXPECT_FALSE(withdraws(both, other));
}

TEST(Withdrawn, HoldsUpToItsMonth) {
  const auto until = rule([](auto& r) { r.text = "14 days", r.valid_until = "2024-03"; });
  EXPECT_FALSE(withdraws(until, talk("14 days"), "2024-02"));
  EXPECT_FALSE(withdraws(until, talk("14 days"), "2024-03"));
  EXPECT_TRUE(withdraws(until, talk("14 days"), "2024-04"));
  EXPECT_TRUE(withdraws(until, talk("14 days"), "2025-01"));
}

TEST(Withdrawn, TheFirstRuleCounts) {
  const WithdrawnRules rules({rule([](auto& r) { r.text = "x", r.name = "a"; }),
                              rule([](auto& r) { r.text = "y", r.name = "b"; }),
                              rule([](auto& r) { r.text = "y", r.name = "c"; })});
  EXPECT_EQ(rules.name(rules.find(talk("y"), "2024-01")), "b");
  EXPECT_EQ(rules.find(talk("z"), "2024-01"), WithdrawnRules::kNone);
}

TEST(Withdrawn, ErrorsAndHostileExpressions) {
  const auto error = [](const auto& change, const char* part) {
    EXPECT_ERROR(WithdrawnRules({rule(change)}), part);
  };
  error([](auto&) {}, "would withdraw everything");
  error([](auto& r) { r.text = "x", r.name = ""; }, "no name");
  error([](auto& r) { r.text = "x", r.valid_until = "2024-13"; }, "YYYY-MM");
  error([](auto& r) { r.text = "!!"; }, "no word");
  error([](auto& r) { r.regex = "(x"; }, "not understood at byte 2");
  // Exponential backtracking: gives up, and what cannot be judged is not learned.
  EXPECT_TRUE(withdraws(rule([](auto& r) { r.regex = "^(a+)+$"; }), talk(std::string(60, 'a') + "b")));
  EXPECT_FALSE(withdraws(rule([](auto& r) { r.regex = "b"; }), talk("\xff a")));
}

}  // namespace
}  // namespace decant
