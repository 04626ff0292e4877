#include "data_pipeline/mix.h"

#include <gtest/gtest.h>

#include <numeric>
#include <set>

#include "core/random.h"
#include "tests/support/config_text.h"
#include "tests/support/expect_error.h"

namespace decant {
namespace {

const MixNames kNames = {{"shop", "bank"}, {"tickets", "faq", "teacher"}};
const int32_t kMonth = month_number("2024-03");

// Three months, two tenants, three sources.
std::vector<MixDocument> documents(uint64_t seed, uint64_t count) {
  std::vector<MixDocument> list;
  for (uint64_t i = 0; i < count; ++i) {
    const auto draw = philox(seed, 1, i), more = philox(seed, 2, i);
    MixDocument d;
    d.id = uint64_t{draw[0]} << 32 | draw[1];
    d.tenant = draw[2] % 2;
    d.source = draw[3] % 3;
    d.period = kMonth - static_cast<int32_t>(more[0] % 3);
    d.tokens = 20 + more[1] % 200;
    d.customer = more[2] % 40;
    d.canned = more[3] % 8 == 0 ? 1 + more[3] % 5 : 0;
    list.push_back(d);
  }
  return list;
}

MixConfig everything() {
  MixConfig config;
  config.sources["tickets"].weight = 1.4;
  config.sources["faq"].weight = 0.6;
  config.sources["teacher"].max_tokens = 3000;
  config.replay = 0.5;
  config.max_documents_per_customer = 12;
  config.max_documents_per_canned_reply = 4;
  config.max_tokens_per_tenant = 30000;
  return config;
}

int64_t tokens(const std::vector<MixDocument>& list, const std::vector<MixDecision>& decisions,
               uint32_t tenant, bool replayed) {
  int64_t sum = 0;
  for (size_t i = 0; i < list.size(); ++i)
    if (list[i].tenant == tenant && decisions[i].replayed == replayed)
      sum += int64_t{decisions[i].copies} * list[i].tokens;
  return sum;
}

TEST(Mix, OrderDoesNotMatter) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const auto list = documents(seed, 600);
    const auto decisions = mix(list, kNames, kMonth, everything());
    const auto order = permutation(600, seed, 9);
    std::vector<MixDocument> shuffled;
    for (const int64_t i : order) shuffled.push_back(list[static_cast<size_t>(i)]);
    const auto other = mix(shuffled, kNames, kMonth, everything());
    for (size_t k = 0; k < order.size(); ++k) ASSERT_EQ(other[k], decisions[static_cast<size_t>(order[k])]);
  }
}

TEST(Mix, ATenantDoesNotFeelAnother) {
  const auto list = documents(3, 800);
  std::vector<MixDocument> one;
  std::vector<size_t> index;
  for (size_t i = 0; i < list.size(); ++i)
    if (list[i].tenant == 1) one.push_back(list[i]), index.push_back(i);
  const auto all = mix(list, kNames, kMonth, everything()), alone = mix(one, kNames, kMonth, everything());
  for (size_t k = 0; k < one.size(); ++k) ASSERT_EQ(alone[k], all[index[k]]);
}

TEST(Mix, MoreReplayOnlyAddsAndLeavesTheMonthAlone) {
  for (uint64_t seed = 0; seed < 10; ++seed) {
    const auto list = documents(seed, 600);
    std::vector<MixDecision> last;
    int64_t added = 0;
    for (const double replay : {0.0, 0.1, 0.2, 0.5, 1.0, 3.0}) {
      MixConfig config = everything();
      config.replay = replay;
      const auto decisions = mix(list, kNames, kMonth, config);
      for (uint32_t tenant = 0; tenant < 2; ++tenant)
        EXPECT_LE(static_cast<double>(tokens(list, decisions, tenant, true)),
                  replay * static_cast<double>(tokens(list, decisions, tenant, false)) + 1e-9);
      for (size_t i = 0; i < list.size() && !last.empty(); ++i) {
        if (list[i].period == kMonth) {
          ASSERT_EQ(decisions[i], last[i]);
        } else {
          ASSERT_GE(decisions[i].copies, last[i].copies);
          added += decisions[i].copies - last[i].copies;
        }
      }
      last = decisions;
    }
    EXPECT_GT(added, 20);
  }
}

TEST(Mix, ReplayQuota) {
  const auto list = documents(5, 2000);
  MixConfig config;
  config.replay = 0.25;
  auto decisions = mix(list, kNames, kMonth, config);
  const auto month = static_cast<double>(tokens(list, decisions, 0, false));
  EXPECT_NEAR(static_cast<double>(tokens(list, decisions, 0, true)), 0.25 * month, 220);
  config.replay_tokens = 1 << 30;
  config.replay_months = 1;
  decisions = mix(list, kNames, kMonth, config);
  for (size_t i = 0; i < list.size(); ++i) {
    EXPECT_EQ(decisions[i].copies, list[i].period >= kMonth - 1 ? 1 : 0);
    EXPECT_EQ(decisions[i].replayed, list[i].period == kMonth - 1);
  }
}

TEST(Mix, WeightsAreCopiesAndALargerOneOnlyAdds) {
  const auto list = documents(7, 3000);
  std::vector<MixDecision> last;
  for (const double weight : {0.0, 0.3, 1.0, 1.5, 2.0, 2.7}) {
    MixConfig config;
    config.sources["faq"].weight = weight;
    config.replay_tokens = 1 << 30;
    const auto decisions = mix(list, kNames, kMonth, config);
    double copies = 0, all = 0;
    for (size_t i = 0; i < list.size(); ++i) {
      if (!last.empty()) {
        ASSERT_GE(decisions[i].copies, last[i].copies);
      }
      if (list[i].source != 1) {
        ASSERT_EQ(decisions[i].copies, 1);
        continue;
      }
      copies += decisions[i].copies;
      all += 1;
      if (decisions[i].copies == 0) {
        ASSERT_EQ(decisions[i].reason, MixReason::kSourceWeight);
      }
    }
    EXPECT_NEAR(copies / all, weight, 0.06);
    last = decisions;
  }
}

TEST(Mix, Shares) {
  const auto list = documents(8, 4000);
  MixConfig config;
  config.sources["tickets"].share = 0.6;
  config.sources["faq"].share = 0.3;
  config.sources["teacher"].share = 0.1;
  config.max_repeats = 2;
  const auto decisions = mix(list, kNames, kMonth, config);
  std::vector<double> sums(3, 0);
  int32_t most = 0;
  for (size_t i = 0; i < list.size(); ++i)
    if (list[i].tenant == 0 && list[i].period == kMonth) {
      sums[list[i].source] += static_cast<double>(decisions[i].copies) * list[i].tokens;
      most = std::max(most, decisions[i].copies);
    }
  const double all = sums[0] + sums[1] + sums[2];
  EXPECT_NEAR(sums[0] / all, 0.6, 0.03);
  EXPECT_NEAR(sums[1] / all, 0.3, 0.03);
  EXPECT_NEAR(sums[2] / all, 0.1, 0.03);
  EXPECT_EQ(most, 2);
  config.sources.erase("faq");
  EXPECT_ERROR(mix(list, kNames, kMonth, config), "share");
}

TEST(Mix, CapsHoldAndALargerOneOnlyAdds) {
  const auto list = documents(9, 1500);
  std::vector<MixDecision> last;
  for (const int64_t cap : {1, 3, 6, 20}) {
    MixConfig config;
    config.max_documents_per_customer = cap;
    config.sources["tickets"].weight = 2;
    const auto decisions = mix(list, kNames, kMonth, config);
    std::map<std::pair<uint32_t, uint64_t>, int64_t> count;
    for (size_t i = 0; i < list.size(); ++i) {
      count[{list[i].tenant, list[i].customer}] += decisions[i].copies;
      if (!last.empty()) {
        ASSERT_GE(decisions[i].copies, last[i].copies);
      }
    }
    for (const auto& [key, copies] : count)
      if (key.second != 0) {
        EXPECT_LE(copies, cap);
      }
    last = decisions;
  }
  MixConfig config = everything();
  config.replay = 0.02;
  config.max_documents_per_customer = 6;  // so that the month itself meets it
  const auto decisions = mix(list, kNames, kMonth, config);
  std::map<std::pair<uint32_t, uint64_t>, int64_t> canned;
  std::map<uint32_t, int64_t> teacher, tenants;
  std::map<MixReason, int> reasons;
  for (size_t i = 0; i < list.size(); ++i) {
    const int64_t size = int64_t{decisions[i].copies} * list[i].tokens;
    if (list[i].canned != 0) canned[{list[i].tenant, list[i].canned}] += decisions[i].copies;
    if (list[i].source == 2) teacher[list[i].tenant] += size;
    tenants[list[i].tenant] += size;
    ++reasons[decisions[i].reason];
  }
  for (const auto& [key, copies] : canned) EXPECT_LE(copies, 4);
  for (const auto& [key, sum] : teacher) EXPECT_LE(sum, 3000);
  for (const auto& [key, sum] : tenants) EXPECT_LE(sum, 30000);
  for (const MixReason reason : {MixReason::kTaken, MixReason::kSourceWeight, MixReason::kCannedReplyCap,
                                 MixReason::kCustomerCap, MixReason::kSourceCap, MixReason::kReplayQuota})
    EXPECT_GT(reasons[reason], 0) << mix_reason_name(reason);
}

TEST(Mix, WithdrawnExpiredAndLaterAreLeftOut) {
  std::vector<MixDocument> list(6);
  for (uint64_t i = 0; i < list.size(); ++i) list[i].id = i + 1, list[i].period = kMonth, list[i].tokens = 10;
  list[1].withdrawn = 0;
  list[2].valid_until = kMonth - 1;
  list[3].valid_from = kMonth + 1;
  list[4].period = kMonth + 1;
  list[5].valid_from = list[5].valid_until = kMonth;
  std::vector<std::string> reasons;
  for (const auto& decision : mix(list, kNames, kMonth, {}))
    reasons.emplace_back(mix_reason_name(decision.reason));
  EXPECT_EQ(reasons, (std::vector<std::string>{"taken", "withdrawn", "expired", "not_yet_valid",
                                               "later_month", "taken"}));
}

TEST(Mix, Summary) {
  const auto list = documents(11, 500);
  const auto decisions = mix(list, kNames, kMonth, everything());
  const Json summary = mix_summary(list, kNames, decisions);
  int64_t left_out = 0, taken = 0;
  for (const auto& decision : decisions) ++(decision.copies == 0 ? left_out : taken);
  int64_t reported = 0, sum = 0;
  for (const auto& tenant : summary) {
    for (const auto& count : tenant["left_out"]) reported += count.get<int64_t>();
    sum += tenant["tokens"].get<int64_t>();
    int64_t sources = 0;
    for (const auto& source : tenant["sources"]) sources += source["tokens"].get<int64_t>();
    EXPECT_EQ(sources, tenant["tokens"].get<int64_t>());
  }
  EXPECT_EQ(reported, left_out);
  EXPECT_GT(taken, 0);
  int64_t expected = 0;
  for (uint32_t t = 0; t < 2; ++t)
    expected += tokens(list, decisions, t, false) + tokens(list, decisions, t, true);
  EXPECT_EQ(sum, expected);
}

// What is too dear to know of every document is asked when its turn comes; the answer is as if it had been
// known before.
TEST(Mix, AskingLateIsAskingEarly) {
  for (uint64_t seed = 0; seed < 5; ++seed) {
    auto list = documents(seed, 900);
    MixConfig config = everything();
    const auto withdrawn = [](const MixDocument& d) { return d.id % 3 == 0; };
    std::set<size_t> asked;
    const auto late = mix(list, kNames, kMonth, config, [&](size_t i) {
      EXPECT_LT(list[i].period, kMonth);
      asked.insert(i);
      return withdrawn(list[i]) ? MixReason::kWithdrawn : MixReason::kTaken;
    });
    for (MixDocument& d : list)
      if (d.period < kMonth && withdrawn(d)) d.withdrawn = 0;
    const auto early = mix(list, kNames, kMonth, config);
    size_t earlier = 0;
    for (size_t i = 0; i < list.size(); ++i) {
      EXPECT_EQ(late[i].copies, early[i].copies) << i;
      earlier += list[i].period < kMonth ? 1 : 0;
    }
    EXPECT_GT(asked.size(), 50u);
    EXPECT_LT(asked.size(), earlier);  // those beyond the quota are not
  }
}

TEST(Mix, Config) {
  MixConfig c;
  c.sources = {{"a", {0.5, 0.25, 10, 20}}, {"b", {}}};
  c.max_repeats = 2;
  c.replay_from = {"runs/*/corpus"};
  c.replay = 0.3;
  c.replay_tokens = 1;
  c.replay_months = 2;
  c.max_tokens_per_tenant = 3;
  c.max_documents_per_customer = 4;
  c.max_documents_per_canned_reply = 5;
  c.salt = "s";
  c.withdrawn = {{"r", "shop", "2024-01", "text", "a+", {"x"}, {{"k", "v"}}}};
  EXPECT_EQ(test::read_config_text<MixConfig>(write_config(c)), c);
  const auto error = [](const std::string& yaml, const char* part) {
    EXPECT_ERROR(test::read_config_text<MixConfig>(yaml), part);
  };
  error("replay: -0.1", "at least 0");
  error("replay: 0.1", "'replay_from': names no corpus");
  error("sources: {a: {weight: -1}}", "the weight of 'a'");
  error("sources: {a: {share: 2}}", "the share of 'a'");
  error("withdrawn: [{name: x}]", "would withdraw everything");
}

}  // namespace
}  // namespace decant
