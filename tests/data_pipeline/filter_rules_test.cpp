#include "data_pipeline/filter_rules.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <map>

#include "core/setting.h"
#include "tests/data_pipeline/real_conversations.h"
#include "tests/support/expect_error.h"

namespace decant {
namespace {

using test::conversation_of;

Attributes sample() {
  return AttributeMeter().measure(conversation_of(
      {{"user", "我的订单 12345 什么时候发货？"}, {"assistant", "您好，已经为您催促，预计明天发出。"}}));
}

FilterConfig config(const std::string& yaml) {
  return read_config<FilterConfig>(parse_settings(yaml, "x.yaml"), "filter");
}

TEST(FilterRules, TheFirstBrokenRuleIsTheReason) {
  Attributes a = sample();
  EXPECT_EQ(decide(a, FilterConfig{}), std::nullopt);
  a.repetition.dup_line_fraction = 0.31f;
  const auto rules = config(
      "presets: []\nrules:\n  - {attribute: dup_line_fraction, max: 0.3}\n  - {attribute: turns, min: 3}");
  EXPECT_EQ(decide(a, rules), "quality:dup_line_fraction>0.3");
  a.repetition.dup_line_fraction = 0.3f;
  EXPECT_EQ(decide(a, rules), "quality:turns<3");
  EXPECT_EQ(decide(a, config("presets: []\nrules: [{attribute: turns, min: 3, languages: [en, de]}]")),
            std::nullopt);
  EXPECT_EQ(decide(a, config("presets: []\nrules: [{attribute: turns, min: 3, languages: [en, zh]}]")),
            "quality:turns<3");
}

TEST(FilterRules, Languages) {
  Attributes a = sample();
  EXPECT_EQ(decide(a, config("languages: [en, zh]")), std::nullopt);
  EXPECT_EQ(decide(a, config("languages: [en]")), "language:zh");
  a.language_score = 0.4f;
  EXPECT_EQ(decide(a, config("languages: [en]\nmin_language_score: 0.5")), std::nullopt);
  a.language = "und";
  a.language_score = 0;
  EXPECT_EQ(decide(a, config("languages: [en]")), std::nullopt);
}

TEST(FilterRules, MistakesAreExplained) {
  EXPECT_ERROR(config("rules: [{attribute: dup_line_fractoin, max: 1}]"),
               "did you mean 'dup_line_fraction'?");
  EXPECT_ERROR(config("rules: [{attribute: turns}]"), "needs 'min' or 'max'");
  EXPECT_ERROR(config("rules: [{attribute: turns, min: 2, max: 1}]"), "every document would be left out");
  EXPECT_ERROR(config("presets: [gophr]"), "did you mean 'gopher'?");
  EXPECT_ERROR(config("languages: [Chinese]"), "not an ISO 639-1 code");
  EXPECT_ERROR(config("min_language_score: 2"), "between 0 and 1");
}

TEST(FilterRules, EveryRuleOfAPresetNamesAnAttribute) {
  const auto names = filter_preset_names();
  EXPECT_EQ(names.size(), 5u);
  for (const auto& name : names) {
    FilterConfig c;
    c.presets = {name};
    const Filter filter(c);
    EXPECT_GE(filter_preset(name)->size(), 3u);
  }
  EXPECT_GE(rule_attributes().size(), 60u);
  EXPECT_LE(rule_attributes().size(), 128u);
}

// The limits of web pages drop a service desk's conversations; the default must not.
TEST(FilterRules, RealConversationsStay) {
  DECANT_NEEDS_SHARED("data/egret-wenda/egret_qa.jsonl");
  const auto corpora = test::real_conversations();
  EXPECT_EQ(corpora.size(), 8u);
  std::map<std::string, Filter> filters;
  for (const auto& name : filter_preset_names()) {
    FilterConfig c;
    c.presets = {name};
    filters.emplace(name, Filter(c));
  }
  AttributeMeter meter;
  std::map<std::string, int64_t> dropped;
  std::map<std::string, std::map<std::string, int64_t>> reasons;
  int64_t all = 0;
  for (const auto& [corpus, conversations] : corpora) {
    std::map<std::string, int64_t> here;
    for (const Conversation& conversation : conversations) {
      const Attributes a = meter.measure(conversation);
      ++all;
      for (const auto& [name, filter] : filters)
        if (const auto reason = filter.decide(a)) ++here[name], ++dropped[name], ++reasons[name][*reason];
    }
    const auto n = static_cast<double>(conversations.size());
    std::printf("%-12s %6zu ", corpus.c_str(), conversations.size());
    for (const auto& [name, filter] : filters)
      std::printf(" %s %.2f%%", name.c_str(), 100.0 * static_cast<double>(here[name]) / n);
    std::printf("\n");
    EXPECT_LE(static_cast<double>(here["service"]) / n, 0.02) << corpus;
  }
  for (const auto& [reason, count] : reasons["service"])
    std::printf("  service %6lld  %s\n", static_cast<long long>(count), reason.c_str());
  EXPECT_GT(all, 20000);
  EXPECT_LE(static_cast<double>(dropped["service"]) / static_cast<double>(all), 0.01);
  EXPECT_GT(static_cast<double>(dropped["gopher"]) / static_cast<double>(all), 0.5);
}

}  // namespace
}  // namespace decant
