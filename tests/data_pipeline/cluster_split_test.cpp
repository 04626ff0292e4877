#include "data_pipeline/cluster_split.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <set>

#include "core/file.h"
#include "core/random.h"
#include "data_pipeline/minimum_cut.h"
#include "data_pipeline/split.h"
#include "tests/support/config_text.h"
#include "tests/support/expect_error.h"
#include "tests/support/shared.h"

namespace decant {
namespace {

// A month of documents whose customers and clusters overlap with one another and with other months'.
std::vector<SplitDocument> month(uint64_t seed, uint64_t number, size_t size, uint32_t customers,
                                 uint32_t clusters) {
  std::vector<SplitDocument> documents;
  for (size_t i = 0; i < size; ++i) {
    const auto draw = philox(seed, number, i);
    SplitDocument document{"m" + std::to_string(number) + "-" + std::to_string(i), {}, {}};
    if (draw[0] % 8 != 0) document.customer = "c" + std::to_string(draw[1] % customers);
    if (draw[0] % 3 == 0) document.clusters.push_back("root " + std::to_string(draw[2] % clusters));
    if (draw[0] % 17 == 0) document.clusters.push_back("root " + std::to_string(draw[3] % clusters));
    documents.push_back(std::move(document));
  }
  return documents;
}

std::set<std::string> keys_of(const SplitDocument& document) {
  std::set<std::string> keys;
  if (!document.customer.empty()) keys.insert("customer " + document.customer);
  for (const auto& cluster : document.clusters) keys.insert("cluster " + cluster);
  if (document.clusters.empty()) keys.insert("cluster " + document.id);
  return keys;
}

TEST(ClusterSplit, AddingAMonthMovesNothingAndNoPairStraddles) {
  SplitConfig config;
  config.held_out_fraction = 0.3;
  int64_t train = 0, held_out = 0, conflicts = 0;
  for (uint64_t seed = 0; seed < 30; ++seed) {
    SplitLedger ledger("t", config.salt);
    std::map<std::string, std::set<Side>> sides_of_key;
    std::vector<std::pair<std::vector<SplitDocument>, std::vector<Side>>> past;
    for (uint64_t number = 0; number < 6; ++number) {
      const auto documents = month(seed, number, 60, 40, 25);
      SplitCounts counts;
      const auto sides = split_month(documents, config, ledger, &counts);
      train += counts.train, held_out += counts.held_out, conflicts += counts.conflict;
      ASSERT_EQ(counts.train + counts.held_out + counts.conflict, 60);
      for (size_t i = 0; i < documents.size(); ++i)
        if (sides[i] != Side::kConflict)
          for (const auto& key : keys_of(documents[i])) sides_of_key[key].insert(sides[i]);
      past.emplace_back(documents, sides);
      // Every earlier month comes out as it did.
      for (const auto& [earlier, decided] : past) {
        SplitLedger copy = ledger;
        ASSERT_EQ(split_month(earlier, config, copy), decided);
        ASSERT_EQ(copy.size(), ledger.size());
      }
    }
    for (const auto& [key, sides] : sides_of_key) ASSERT_EQ(sides.size(), 1u) << key;
  }
  EXPECT_GT(train, 4000);
  EXPECT_GT(held_out, 1500);
  EXPECT_GT(conflicts, 100);  // the law was put to the test
  EXPECT_LT(conflicts, 3000);
}

TEST(ClusterSplit, OrderDoesNotMatter) {
  SplitConfig config;
  config.held_out_fraction = 0.3;
  for (uint64_t seed = 100; seed < 120; ++seed) {
    SplitLedger ledger("t", config.salt), shuffled_ledger("t", config.salt);
    for (uint64_t number = 0; number < 3; ++number) {
      const auto documents = month(seed, number, 80, 60, 30);
      const auto order = permutation(80, seed, number);
      std::vector<SplitDocument> shuffled;
      for (const int64_t i : order) {
        shuffled.push_back(documents[static_cast<size_t>(i)]);
        std::reverse(shuffled.back().clusters.begin(), shuffled.back().clusters.end());
      }
      const auto sides = split_month(documents, config, ledger);
      const auto shuffled_sides = split_month(shuffled, config, shuffled_ledger);
      for (size_t k = 0; k < order.size(); ++k)
        ASSERT_EQ(shuffled_sides[k], sides[static_cast<size_t>(order[k])]);
    }
    if (seed > 102) continue;  // a few files will do
    const auto folder = test::scratch_folder();
    ledger.save(folder / "a");
    shuffled_ledger.save(folder / "b");
    EXPECT_EQ(read_file(folder / "a"), read_file(folder / "b"));
  }
}

TEST(ClusterSplit, AloneItIsWhereTheHashOfSplitPutsIt) {
  SplitConfig config;
  config.held_out_fraction = 0.4;
  SplitLedger ledger("shop", config.salt);
  std::vector<SplitDocument> documents;
  for (int i = 0; i < 400; ++i)
    documents.push_back({"d" + std::to_string(i), i % 2 == 0 ? "c" + std::to_string(i / 4) : "", {}});
  const auto sides = split_month(documents, config, ledger);
  for (size_t i = 0; i < documents.size(); ++i)
    EXPECT_EQ(sides[i] == Side::kHeldOut,
              is_held_out(config.salt, "shop", documents[i].customer, documents[i].id, 0.4));
}

TEST(ClusterSplit, ALargeComponentIsTrainedOn) {
  SplitConfig config;
  config.held_out_fraction = 0.999;
  std::vector<SplitDocument> documents;
  for (int i = 0; i < 300; ++i)
    documents.push_back({"a" + std::to_string(i), "c" + std::to_string(i), {"thanks"}});
  for (int i = 0; i < 300; ++i) documents.push_back({"b" + std::to_string(i), "e" + std::to_string(i), {}});
  SplitLedger ledger("t", config.salt);
  SplitCounts counts;
  const auto sides = split_month(documents, config, ledger, &counts);
  EXPECT_EQ(counts.largest_component, 300);
  EXPECT_EQ(counts.kept_from_holding_out, 1);
  for (size_t i = 0; i < 300; ++i) EXPECT_EQ(sides[i], Side::kTrain);
  EXPECT_GT(counts.held_out, 290);
}

TEST(ClusterSplit, ASmallHeldOutClusterThatGrowsDoesNotTakeTheMonth) {
  SplitConfig config;
  std::string held;
  for (int i = 0; held.empty(); ++i)
    if (is_held_out(config.salt, "t", "c" + std::to_string(i), "", config.held_out_fraction))
      held = "c" + std::to_string(i);
  SplitLedger ledger("t", config.salt);
  ASSERT_EQ(split_month({{"1", held, {"thanks"}}}, config, ledger)[0], Side::kHeldOut);
  std::vector<SplitDocument> documents;
  for (int i = 0; i < 200; ++i) {
    documents.push_back({"a" + std::to_string(i), "new" + std::to_string(i), {"thanks"}});
    documents.push_back({"b" + std::to_string(i), "new" + std::to_string(i), {}});
  }
  SplitCounts counts;
  const auto sides = split_month(documents, config, ledger, &counts);
  EXPECT_EQ(counts.kept_from_holding_out, 1);
  for (size_t i = 0; i < documents.size(); ++i)
    EXPECT_EQ(sides[i], i % 2 == 0 ? Side::kConflict : Side::kTrain);
}

TEST(ClusterSplit, TheFewestAreLeftOut) {
  SplitConfig config;
  config.held_out_fraction = 0.5;
  SplitLedger ledger("t", config.salt);
  // Two customers on different sides.
  std::string train, held;
  for (int i = 0; train.empty() || held.empty(); ++i) {
    const std::string customer = "c" + std::to_string(i);
    (is_held_out(config.salt, "t", customer, "", 0.5) ? held : train) = customer;
  }
  split_month({{"1", train, {}}, {"2", held, {}}}, config, ledger);
  // A new cluster: three documents of the one, one of the other.
  const auto sides = split_month(
      {{"3", held, {"r"}}, {"4", train, {"r"}}, {"5", held, {"r"}}, {"6", held, {"r"}}}, config, ledger);
  EXPECT_EQ(sides, (std::vector<Side>{Side::kHeldOut, Side::kConflict, Side::kHeldOut, Side::kHeldOut}));
  // A document that joins what is decided differently is on no side, and draws nothing else in.
  const auto joined = split_month({{"7", train, {"r"}}, {"8", train, {}}, {"9", "", {"r"}}}, config, ledger);
  EXPECT_EQ(joined, (std::vector<Side>{Side::kConflict, Side::kTrain, Side::kHeldOut}));
}

TEST(ClusterSplit, LedgerFile) {
  const auto path = test::scratch_folder() / "ledger";
  SplitConfig config;
  SplitLedger ledger("t", config.salt);
  split_month(month(1, 0, 100, 30, 10), config, ledger);
  ledger.save(path);
  SplitLedger loaded = SplitLedger::load(path, "t", config.salt);
  EXPECT_EQ(loaded.size(), ledger.size());
  const auto later = month(1, 1, 100, 30, 10);
  SplitLedger first = ledger;
  EXPECT_EQ(split_month(later, config, loaded), split_month(later, config, first));
  EXPECT_EQ(SplitLedger::load(path.string() + ".none", "t", "s").size(), 0u);

  const std::string bytes = read_file(path);
  EXPECT_EQ(bytes.find("decant split"), 0u);
  EXPECT_EQ(bytes.find("root "), std::string::npos);
  EXPECT_ERROR(SplitLedger::load(path, "u", config.salt), "another tenant");
  EXPECT_ERROR(SplitLedger::load(path, "t", "other"), "another salt");
  for (size_t i = 0; i < bytes.size(); i += 7) {
    std::string damaged = bytes;
    damaged[i] = static_cast<char>(damaged[i] ^ 4);
    std::ofstream(path, std::ios::binary) << damaged;
    EXPECT_ERROR(SplitLedger::load(path, "t", config.salt), "ledger");
    std::ofstream(path, std::ios::binary) << bytes.substr(0, i);
    EXPECT_ERROR(SplitLedger::load(path, "t", config.salt), "ledger");
  }
  const size_t before = ledger.size();
  EXPECT_TRUE(ledger.erase_customer("c1"));
  EXPECT_FALSE(ledger.erase_customer("c1"));
  EXPECT_EQ(ledger.size(), before - 1);
}

// Against every way to give sides.
TEST(MinimumCut, IsTheLeastOfAll) {
  int cut_some = 0;
  for (uint64_t seed = 0; seed < 400; ++seed) {
    const uint32_t nodes = 4 + philox(seed, 1, 0)[0] % 6;
    std::vector<std::vector<uint32_t>> groups;
    for (uint64_t g = 0; g < 3 + seed % 12; ++g) {
      std::set<uint32_t> members;
      const auto draw = philox(seed, 2, g);
      for (size_t k = 0; k < 2 + draw[3] % 2; ++k) members.insert(draw[k] % nodes);
      groups.emplace_back(members.begin(), members.end());
    }
    const auto cost = [&](const std::vector<bool>& out) {
      int cut = 0;
      for (const auto& group : groups)
        cut += std::any_of(group.begin(), group.end(), [&](uint32_t i) { return out[i] != out[group[0]]; })
                   ? 1
                   : 0;
      return cut;
    };
    const std::vector<bool> found = minimum_cut(nodes, groups, {0}, {1});
    EXPECT_TRUE(found[0]);
    EXPECT_FALSE(found[1]);
    int least = 1000;
    long fewest = 1000;
    for (uint32_t bits = 0; bits < 1u << nodes; ++bits) {
      if ((bits & 3) != 1) continue;
      std::vector<bool> out(nodes);
      for (uint32_t i = 0; i < nodes; ++i) out[i] = (bits >> i & 1) != 0;
      const long count = std::count(out.begin(), out.end(), true);
      if (cost(out) < least) least = cost(out), fewest = count;
      if (cost(out) == least) fewest = std::min(fewest, count);
    }
    ASSERT_EQ(cost(found), least) << seed;
    ASSERT_EQ(std::count(found.begin(), found.end(), true), fewest) << seed;
    cut_some += least > 0 ? 1 : 0;
  }
  EXPECT_GT(cut_some, 100);
}

TEST(MinimumCut, LongChains) {
  const uint32_t nodes = 20000;
  std::vector<std::vector<uint32_t>> groups;
  for (uint32_t i = 0; i + 1 < nodes; ++i) groups.push_back({i, i + 1});
  const auto out = minimum_cut(nodes, groups, {0}, {nodes - 1});
  EXPECT_EQ(std::count(out.begin(), out.end(), true), 1);
}

TEST(ClusterSplit, Config) {
  const SplitConfig c = {0.25, "salt", 0.5};
  EXPECT_EQ(test::read_config_text<SplitConfig>(write_config(c)), c);
  EXPECT_ERROR(test::read_config_text<SplitConfig>("held_out_fraction: 1"), "less than 1");
  EXPECT_ERROR(test::read_config_text<SplitConfig>("max_held_out_component: 0"), "above 0");
  SplitLedger ledger("t", "other");
  EXPECT_ERROR(split_month({}, SplitConfig{}, ledger), "salt");
}

TEST(ClusterSplit, AnotherMonthsDocumentIsTrainedOnOnlyWhereNothingHoldsItOut) {
  SplitConfig config;
  config.held_out_fraction = 0.5;
  SplitLedger ledger("t", config.salt);
  std::vector<SplitDocument> month;
  for (int i = 0; i < 40; ++i)
    month.push_back({"d" + std::to_string(i), i % 2 == 0 ? "c" + std::to_string(i) : "", {}});
  const auto sides = split_month(month, config, ledger);
  const auto size = ledger.size();
  std::string train, held;
  for (size_t i = 0; i < month.size(); ++i) {
    EXPECT_EQ(may_be_trained_on(month[i], config, ledger), sides[i] == Side::kTrain) << i;
    if (month[i].customer.empty()) continue;
    (sides[i] == Side::kTrain ? train : held) = month[i].customer;
  }
  EXPECT_TRUE(may_be_trained_on({"new", train, {}}, config, ledger));
  EXPECT_FALSE(may_be_trained_on({"new", held, {}}, config, ledger));
  EXPECT_FALSE(may_be_trained_on({"new", train, {"new", "x"}, 0.1}, config, [&] {
    SplitLedger other = ledger;
    other.set(split_key(config.salt, "t", 'd', "x"), Side::kHeldOut);
    return other;
  }()));
  // Nothing is known: the hash says it, or the rank of whom the name only stands for.
  for (int i = 0; i < 20; ++i) {
    const std::string name = "nobody" + std::to_string(i);
    EXPECT_EQ(may_be_trained_on({"new", name, {}}, config, ledger),
              !is_held_out(config.salt, "t", name, "", 0.5));
  }
  EXPECT_TRUE(may_be_trained_on({"new", "n", {}, 0.7}, config, ledger));
  EXPECT_FALSE(may_be_trained_on({"new", "n", {}, 0.3}, config, ledger));
  EXPECT_EQ(ledger.size(), size);
}

// A stand-in for a customer, with the customer's rank, is on the customer's side.
TEST(ClusterSplit, ARankDecidesInThePlaceOfTheName) {
  SplitConfig config;
  config.held_out_fraction = 0.4;
  std::vector<SplitDocument> named, standing_in;
  for (int i = 0; i < 60; ++i) {
    const std::string customer = "c" + std::to_string(i);
    named.push_back({"d" + std::to_string(i), customer, {}});
    standing_in.push_back({named.back().id,
                           std::to_string(customer_hash("t", customer)),
                           {},
                           split_rank(config.salt, "t", customer, "")});
  }
  SplitLedger a("t", config.salt), b("t", config.salt);
  EXPECT_EQ(split_month(named, config, a), split_month(standing_in, config, b));
}

}  // namespace
}  // namespace decant
