#include "data_pipeline/near_duplicates.h"

#include <gtest/gtest.h>
#include <tbb/global_control.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <set>

#include "core/json.h"
#include "core/random.h"
#include "tests/support/expect_error.h"
#include "tests/support/shared.h"

namespace decant {
namespace {

struct Document {
  std::string id, period, text;
};

// A number in letters: digits would be masked.
std::string in_letters(uint64_t n) {
  std::string word(1, static_cast<char>('a' + n % 26));
  while (n /= 26) word += static_cast<char>('a' + n % 26);
  return word;
}

std::string word(uint64_t seed, uint64_t i) {
  return in_letters(philox(seed, purpose_stream(Purpose::kTest, 0), i)[0] % 4000);
}

// Texts of 5 to 60 words, most of them edited copies of earlier ones, chains of them included.
std::vector<Document> family_of_documents(uint64_t seed, size_t count) {
  std::vector<Document> documents;
  std::vector<std::vector<std::string>> words;
  uint64_t draw = 0;
  const auto below = [&](uint64_t n) {
    return philox(seed, purpose_stream(Purpose::kTest, 1), draw++)[0] % n;
  };
  for (size_t i = 0; i < count; ++i) {
    std::vector<std::string> text;
    if (i == 0 || below(10) < 3) {
      const uint64_t length = 5 + below(56);
      for (uint64_t k = 0; k < length; ++k) text.push_back(word(seed, below(1000000)));
    } else {
      text = words[below(i)];
      for (uint64_t edits = below(4); edits > 0; --edits)
        text[below(text.size())] = word(seed, below(1000000));
    }
    words.push_back(text);
    Document document{"id-" + std::to_string(i * 7919 % 10007), "", ""};
    const uint64_t period = below(4);
    if (period > 0) document.period = "2026-0" + std::to_string(period);
    for (const auto& w : text) document.text += w + " ";
    documents.push_back(document);
  }
  return documents;
}

void add_all(NearDuplicates& near, const std::vector<Document>& documents) {
  for (const auto& d : documents) {
    const std::string_view part = d.text;
    near.add(d.id, d.period, std::span(&part, 1));
  }
}

// id -> id of the keeper.
std::map<std::string, std::string> removed_ids(const std::vector<Document>& documents,
                                               const NearDuplicateConfig& config = {}) {
  NearDuplicates near(config, test::scratch_folder());
  add_all(near, documents);
  std::map<std::string, std::string> removed;
  for (const auto& r : near.resolve().removed) removed[documents[r.document].id] = documents[r.keeper].id;
  return removed;
}

std::vector<std::vector<uint64_t>> shingles_of(const std::vector<Document>& documents,
                                               const ShingleConfig& config) {
  std::vector<std::vector<uint64_t>> all;
  Shingler shingler(config);
  for (const auto& d : documents) {
    const auto found = shingler.shingles(d.text);
    all.emplace_back(found.begin(), found.end());
  }
  return all;
}

bool precedes(const Document& a, const Document& b) {
  if (a.period != b.period) return !a.period.empty() && (b.period.empty() || a.period < b.period);
  return a.id < b.id;
}

// The rule of the header by comparing every pair.
std::map<std::string, std::string> by_brute_force(const std::vector<Document>& documents, double threshold) {
  const auto shingles = shingles_of(documents, {});
  std::vector<size_t> order(documents.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return precedes(documents[a], documents[b]); });
  std::vector<size_t> kept;
  std::map<std::string, std::string> removed;
  for (const size_t i : order) {
    const auto keeper = std::find_if(
        kept.begin(), kept.end(), [&](size_t k) { return jaccard(shingles[i], shingles[k]) >= threshold; });
    if (keeper == kept.end()) {
      kept.push_back(i);
    } else {
      removed[documents[i].id] = documents[*keeper].id;
    }
  }
  return removed;
}

TEST(NearDuplicates, FindsWhatComparingEveryPairFinds) {
  size_t all = 0;
  for (const uint64_t seed : {1, 2, 3}) {
    const auto documents = family_of_documents(seed, 400);
    NearDuplicateConfig sure;  // bands of one row catch everything near the threshold
    sure.bands = 64;
    sure.rows = 2;
    sure.crowd = 1000;
    const auto expected = by_brute_force(documents, 0.8);
    EXPECT_EQ(removed_ids(documents, sure), expected);
    all += expected.size();
    // The default's bands miss few, and nothing else differs where none is missed.
    EXPECT_GE(removed_ids(documents).size(), expected.size() * 97 / 100);
  }
  EXPECT_GT(all, 200U);
}

TEST(NearDuplicates, EveryRemovedDocumentResemblesItsKeeper) {
  const auto documents = family_of_documents(9, 2000);
  const auto shingles = shingles_of(documents, {});
  NearDuplicates near({}, test::scratch_folder());
  add_all(near, documents);
  const auto result = near.resolve();
  std::set<uint32_t> gone;
  for (const auto& r : result.removed) gone.insert(r.document);
  EXPECT_GT(gone.size(), 300U);
  EXPECT_EQ(result.documents, 2000);
  for (const auto& r : result.removed) {
    EXPECT_EQ(r.run, RemovedDocument::kThisMonth);
    EXPECT_FALSE(gone.contains(r.keeper));
    EXPECT_TRUE(precedes(documents[r.keeper], documents[r.document]));
    const double similarity = jaccard(shingles[r.document], shingles[r.keeper]);
    EXPECT_DOUBLE_EQ(similarity, static_cast<double>(r.shared) / r.total);
    EXPECT_GE(similarity, 0.8);
  }
}

TEST(NearDuplicates, OrderOfInputDoesNotMatter) {
  const auto documents = family_of_documents(5, 500);
  const auto expected = removed_ids(documents);
  EXPECT_GT(expected.size(), 100U);
  for (uint64_t shuffle = 0; shuffle < 8; ++shuffle) {
    std::vector<Document> shuffled;
    for (const int64_t i : permutation(500, shuffle, purpose_stream(Purpose::kTest, 2)))
      shuffled.push_back(documents[static_cast<size_t>(i)]);
    EXPECT_EQ(removed_ids(shuffled), expected);
  }
}

TEST(NearDuplicates, ThreadsMemoryAndFetchDoNotMatter) {
  const auto documents = family_of_documents(6, 3000);
  std::vector<NearDuplicateResult> results;
  for (const size_t threads : {1, 2, 4}) {
    const tbb::global_control limit(tbb::global_control::max_allowed_parallelism, threads);
    NearDuplicates near({}, test::scratch_folder());
    add_all(near, documents);
    results.push_back(near.resolve());
  }
  {
    NearDuplicateConfig small;
    small.memory_mib = 1;
    NearDuplicates near(small, test::scratch_folder());
    std::vector<Document> many = documents;
    Document long_one{"long", "", ""};
    for (int i = 0; i < 150000; ++i) long_one.text += in_letters(static_cast<uint64_t>(i)) + " ";
    add_all(near, {many.begin(), many.end()});
    const std::string_view part = long_one.text;
    near.add("long", "", std::span(&part, 1));
    near.add("longer", "", std::span(&part, 1));
    auto result = near.resolve();
    ASSERT_EQ(result.removed.back().keeper, 3000U);
    result.removed.pop_back();
    EXPECT_EQ(result.removed, results[0].removed);
  }
  {
    NearDuplicates near({}, test::scratch_folder(),
                        [&](size_t i) { return std::vector<std::string>{documents[i].text}; });
    add_all(near, documents);
    results.push_back(near.resolve());
  }
  EXPECT_GT(results[0].removed.size(), 500U);
  for (const auto& result : results) {
    EXPECT_EQ(result.removed, results[0].removed);
    EXPECT_EQ(result.compared, results[0].compared);
  }
}

TEST(NearDuplicates, ShortEmptyAndChineseTexts) {
  const std::vector<Document> documents = {{"a", "", "cat"},
                                           {"b", "", "dog"},
                                           {"c", "", "cat"},
                                           {"d", "", ""},
                                           {"e", "", ""},
                                           {"f", "", "你好，请问这个订单什么时候发货呢"},
                                           {"g", "", "今天的天气非常好，我们去公园散步"},
                                           {"h", "", "你好，请问这个订单什么时候发货呢"},
                                           {"i", "", "好"},
                                           {"j", "", "不"}};
  const std::map<std::string, std::string> expected = {{"c", "a"}, {"h", "f"}};
  EXPECT_EQ(removed_ids(documents), expected);
  NearDuplicates near({}, test::scratch_folder());
  add_all(near, documents);
  EXPECT_EQ(near.resolve().without_text, 2);
  NearDuplicates none({}, test::scratch_folder());
  EXPECT_TRUE(none.resolve().removed.empty());
}

TEST(NearDuplicates, OldestPeriodThenIdIsKeptAndNoPeriodComesLast) {
  const std::vector<Document> documents = {{"a", "", "same words"},
                                           {"z", "2026-02", "same words"},
                                           {"y", "2026-01", "same words"},
                                           {"x", "2026-01", "same words"}};
  const std::map<std::string, std::string> expected = {{"a", "x"}, {"z", "x"}, {"y", "x"}};
  EXPECT_EQ(removed_ids(documents), expected);
}

// A ~ B ~ C with A unlike C: B goes, C stays.
TEST(NearDuplicates, NoChains) {
  std::string a, b, c;
  for (int i = 0; i < 60; ++i) {
    const std::string w = "w" + std::to_string(i) + " ";
    a += w;
    b += i == 10 ? "first " : w;
    c += i == 10 ? "first " : i == 40 ? "second " : w;
  }
  const std::map<std::string, std::string> expected = {{"b", "a"}};
  EXPECT_EQ(removed_ids({{"a", "", a}, {"b", "", b}, {"c", "", c}}), expected);
}

TEST(NearDuplicates, ACrowdCostsNoMoreThanItsLimit) {
  // 300 letters around one disclaimer, 76 % alike, and copies of some.
  std::vector<Document> documents;
  std::string disclaimer;
  for (int i = 0; i < 120; ++i) disclaimer += "d" + std::to_string(i) + " ";
  for (int i = 0; i < 300; ++i) {
    std::string own;
    for (int k = 0; k < 18; ++k)
      own += word(77, static_cast<uint64_t>(i) * 100 + static_cast<uint64_t>(k)) + " ";
    documents.push_back({"a" + std::to_string(i), "", own + disclaimer});
  }
  for (int i = 0; i < 300; i += 10)
    documents.push_back({"b" + std::to_string(i), "", documents[static_cast<size_t>(i)].text});
  NearDuplicateConfig config;
  config.crowd = 8;
  NearDuplicates near(config, test::scratch_folder());
  add_all(near, documents);
  const auto result = near.resolve();
  EXPECT_GT(result.crowded, 0);
  EXPECT_LE(result.compared, 330 * 16 * 8);
  EXPECT_GE(result.removed.size(), 28U);  // of 30: the copies' own bands still find them
}

TEST(NearDuplicates, Errors) {
  NearDuplicates twice({}, test::scratch_folder());
  add_all(twice, {{"a", "2026-01", "x"}, {"a", "2026-01", "y"}});
  EXPECT_ERROR(twice.resolve(), "'a' was added twice");
  NearDuplicates late({}, test::scratch_folder());
  late.resolve();
  EXPECT_ERROR(add_all(late, {{"a", "", "x"}}), "after resolve()");
  EXPECT_ERROR(late.resolve(), "second time");
  NearDuplicates ids({}, test::scratch_folder());
  EXPECT_ERROR(add_all(ids, {{std::string(1025, 'i'), "", "x"}}), "1024");
  NearDuplicates changed({}, test::scratch_folder(),
                         [](size_t) { return std::vector<std::string>{"a b c d e f"}; });
  add_all(changed, {{"a", "", "x"}, {"b", "", "x"}});
  EXPECT_ERROR(changed.resolve(), "not the one that was added");
  const auto read = [](NearDuplicateConfig c) { c.validate(Place(nullptr, "near")); };
  EXPECT_ERROR(read({.threshold = 0}), "threshold");
  EXPECT_ERROR(read({.bands = 256, .rows = 64}), "1024");
}

TEST(NearDuplicates, TextsOfAConversation) {
  Conversation c;
  c.messages = {{"user", "where is it?"}, {"assistant", "", Json{{"name", "find"}}, "let me look"}};
  EXPECT_EQ(duplicate_texts(c),
            (std::vector<std::string>{"where is it?", "let me look", R"({"name":"find"})"}));
}

// The exact numbers of the conformance data, made by counting Python's sets.
TEST(NearDuplicates, Golden) {
  DECANT_NEEDS_SHARED("conformance/golden/neardup/docs.jsonl");
  const auto folder = test::shared_folder() / "conformance/golden/neardup";
  std::ifstream docs(folder / "docs.jsonl"), pairs(folder / "pairs_ge_0.5.jsonl");
  std::vector<Document> documents;
  std::vector<bool> chinese;
  std::vector<std::vector<uint64_t>> shingles;
  for (std::string line; std::getline(docs, line);) {
    const Json json = Json::parse(line);
    documents.push_back({std::to_string(1000 + json.at("id").get<int>()), "", json.at("text")});
    chinese.push_back(json.at("lang") == "zh");
    ShingleConfig config{.mask_digits = 0, .compatibility = false};
    config.kind = chinese.back() ? ShingleKind::kCharacters : ShingleKind::kWords;
    Shingler shingler(config);
    const auto found = shingler.shingles(documents.back().text);
    shingles.emplace_back(found.begin(), found.end());
    ASSERT_EQ(found.size(), json.at("n_shingles").get<size_t>()) << documents.back().id;
  }
  ASSERT_EQ(documents.size(), 500U);
  std::map<std::pair<size_t, size_t>, double> expected;
  size_t duplicates = 0;
  for (std::string line; std::getline(pairs, line);) {
    const Json json = Json::parse(line);
    const size_t i = json.at("i"), j = json.at("j");
    const double similarity = jaccard(shingles[i], shingles[j]);
    EXPECT_EQ(similarity, json.at("inter").get<double>() / json.at("union").get<double>()) << i << " " << j;
    expected[{i, j}] = similarity;
    duplicates += similarity >= 0.8;
  }
  ASSERT_EQ(expected.size(), 293U);
  ASSERT_EQ(duplicates, 129U);
  // No other pair of a language reaches 0.5.
  for (size_t i = 0; i < documents.size(); ++i)
    for (size_t j = i + 1; j < documents.size(); ++j)
      if (chinese[i] == chinese[j] && !expected.contains({i, j})) {
        ASSERT_LT(jaccard(shingles[i], shingles[j]), 0.5) << i << " " << j;
      }

  // Kept and removed with the defaults, and with the golden's definition of equal.
  NearDuplicateConfig exact;
  exact.shingles = {.mask_digits = 0, .compatibility = false};
  for (const NearDuplicateConfig& config : {NearDuplicateConfig{}, exact}) {
    NearDuplicates near(config, test::scratch_folder());
    add_all(near, documents);
    std::set<size_t> removed;
    for (const auto& r : near.resolve().removed) {
      removed.insert(r.document);
      const auto found = expected.find({std::min(r.document, r.keeper), std::max(r.document, r.keeper)});
      ASSERT_NE(found, expected.end()) << r.document << " " << r.keeper;
      EXPECT_GE(found->second, 0.8);
    }
    // Of every pair at 0.8 or above one is gone.
    size_t caught = 0;
    for (const auto& [pair, similarity] : expected)
      caught += similarity >= 0.8 && (removed.contains(pair.first) || removed.contains(pair.second));
    EXPECT_GE(static_cast<double>(caught), 0.99 * static_cast<double>(duplicates));
  }
}

}  // namespace
}  // namespace decant
