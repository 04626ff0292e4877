#include "data_pipeline/shingles.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "data_pipeline/minhash.h"
#include "tests/support/expect_error.h"

namespace decant {
namespace {

std::vector<uint64_t> shingles_of(std::string_view text, const ShingleConfig& config = {}) {
  Shingler shingler(config);
  const auto found = shingler.shingles(text);
  return {found.begin(), found.end()};
}

double similarity(std::string_view a, std::string_view b) { return jaccard(shingles_of(a), shingles_of(b)); }

TEST(Shingles, KeyFoldsCaseSpaceWidthAndLongNumbers) {
  EXPECT_EQ(matching_key("  Your  ORDER\n#4711 shipped\t"), "your order #0 shipped");
  EXPECT_EQ(matching_key("ＡＢＣ１２３４　ｄ"), "abc0 d");
  EXPECT_EQ(matching_key("ÄÖÜ ΟΔΟΣ İ"), "äöü οδος i\u0307");
  EXPECT_EQ(matching_key("3 rooms, 12345678901234567890 and 999"), "3 rooms, 0 and 999");
  EXPECT_EQ(matching_key(std::string_view("a\xff\x80"
                                          "b\0c",
                                          6)),
            std::string_view("a\uFFFD\uFFFDb\0c", 10));
  EXPECT_EQ(matching_key(" \t\r\n "), "");
  EXPECT_EQ(matching_key("１２３４ Ａ", {.mask_digits = 0, .compatibility = false}), "１２３４ ａ");
  EXPECT_EQ(matching_key("٤٥٦٧٨ x"), "0 x");  // other scripts' digits
}

// The fast path for ASCII against one character at a time, over every place in a register.
TEST(Shingles, KeyIsTheSameWhereverARegisterBegins) {
  const std::string odd[] = {"1234",           "12", "123 4567", "  ", "A", " \n", "99999999999999999999",
                             "x1y22z333w4444v"};
  const auto slowly = [](const std::string& text) {
    std::string folded, key;
    for (const char c : text) {
      const char lower = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c == '\n' ? ' ' : c;
      if (lower == ' ' && (folded.empty() || folded.back() == ' ')) continue;
      folded += lower;
    }
    if (!folded.empty() && folded.back() == ' ') folded.pop_back();
    for (size_t i = 0; i < folded.size();) {
      size_t end = i;
      while (end < folded.size() && folded[end] >= '0' && folded[end] <= '9') ++end;
      if (end - i >= 4) {
        key += '0';
      } else {
        key += folded.substr(i, std::max<size_t>(end - i, 1));
      }
      i = std::max(end, i + 1);
    }
    return key;
  };
  int seen = 0;
  for (const auto& a : odd)
    for (const auto& b : odd)
      for (size_t at = 0; at <= 20; ++at)
        for (size_t gap = 0; gap <= 20; gap += 2) {
          const std::string text =
              std::string(at, 'q') + a + std::string(gap, 'r') + b + std::string(at % 5, 's');
          ASSERT_EQ(matching_key(text), slowly(text));
          ++seen;
        }
  EXPECT_EQ(seen, 64 * 21 * 11);
}

TEST(Shingles, WordsAreCounted) {
  EXPECT_EQ(shingles_of("a b c d e f g").size(), 3U);
  EXPECT_EQ(shingles_of("a b c d e").size(), 1U);
  EXPECT_EQ(shingles_of("a b c d e a b c d e a b c d e").size(), 5U);
  EXPECT_EQ(shingles_of("a b c d", {.words = 2}).size(), 3U);
  EXPECT_DOUBLE_EQ(similarity("a b c d e f", "a b c d e g"), 1.0 / 3);
  EXPECT_DOUBLE_EQ(similarity("the quick brown fox jumps over it", "The  quick brown\nFOX jumps over it"),
                   1.0);
  const std::string word(100, 'w');  // longer than the short hash
  EXPECT_DOUBLE_EQ(similarity(word + " a b c d e", word + " a b c d e"), 1.0);
  EXPECT_DOUBLE_EQ(similarity(word, word + "w"), 0.0);
}

TEST(Shingles, HanIsCountedByCharacters) {
  Shingler shingler{ShingleConfig{}};
  EXPECT_EQ(shingler.shingles("你好请问怎么退货").size(), 4U);
  EXPECT_TRUE(shingler.by_characters());
  (void)shingler.shingles("please ask 李 about it, he knows the order");
  EXPECT_FALSE(shingler.by_characters());
  (void)shingler.shingles("订单 order 状态 status");
  EXPECT_TRUE(shingler.by_characters());
  (void)shingler.shingles("こんにちは、ご注文について");
  EXPECT_TRUE(shingler.by_characters());
  (void)shingler.shingles("안녕하세요 주문 문의 드립니다");  // has spaces
  EXPECT_FALSE(shingler.by_characters());
  EXPECT_DOUBLE_EQ(similarity("你好，请问怎么退货", "你好， 请问 怎么退货"), 1.0);
  EXPECT_LT(similarity("你好请问怎么退货", "今天天气真的很不错"), 0.01);  // not all Chinese is the same
}

TEST(Shingles, ShortTextsAreTheirOwnShingle) {
  EXPECT_EQ(shingles_of("cat").size(), 1U);
  EXPECT_DOUBLE_EQ(similarity("cat", "Cat "), 1.0);
  EXPECT_DOUBLE_EQ(similarity("cat", "dog"), 0.0);
  EXPECT_DOUBLE_EQ(similarity("是", "否"), 0.0);
  EXPECT_DOUBLE_EQ(similarity("a b", "b a"), 0.0);
  EXPECT_DOUBLE_EQ(similarity("a a", "a a a"), 0.0);
  EXPECT_TRUE(shingles_of("").empty());
  EXPECT_TRUE(shingles_of(" \n").empty());
  EXPECT_DOUBLE_EQ(similarity("", ""), 0.0);
}

TEST(Shingles, PartsAreJoined) {
  Shingler shingler{ShingleConfig{}};
  const std::vector<std::string_view> parts = {"where is my", "order number", "nine please"};
  const auto joined = shingler.shingles(parts);
  const std::vector<uint64_t> a(joined.begin(), joined.end());
  EXPECT_EQ(a, shingles_of("where is my\norder number\nnine please"));
}

TEST(Shingles, NoShingleIsZeroAndNoneTwice) {
  std::string text;
  for (int i = 0; i < 5000; ++i) text += "w" + std::to_string(i % 900) + " ";
  auto all = shingles_of(text, {.mask_digits = 0});
  EXPECT_EQ(all.size(), 900U);
  EXPECT_EQ(std::set<uint64_t>(all.begin(), all.end()).size(), all.size());
  EXPECT_EQ(std::count(all.begin(), all.end(), 0U), 0);
}

TEST(MinHash, CatchProbabilitiesAreThoseOfTheHeader) {
  EXPECT_NEAR(catch_probability(.8, 16, 6), .9923, 5e-5);
  EXPECT_NEAR(catch_probability(.85, 16, 6), .9995, 5e-5);
  EXPECT_NEAR(catch_probability(.5, 16, 6), .223, 5e-4);
  EXPECT_NEAR(catch_probability(.8, 16, 8), .947, 5e-4);
  EXPECT_NEAR(catch_probability(.7, 21, 6), .928, 5e-4);
  EXPECT_DOUBLE_EQ(catch_probability(1, 16, 6), 1);
  EXPECT_DOUBLE_EQ(catch_probability(0, 16, 6), 0);
}

// Pairs of sets with a known similarity are caught as often as the formula says (4 standard errors).
TEST(MinHash, CatchesAsOftenAsComputed) {
  constexpr int kPairs = 3000;
  for (const auto& [bands, rows] : {std::pair<int64_t, int64_t>{16, 6}, {16, 8}, {5, 3}}) {
    const MinHash minhash(bands, rows);
    std::vector<uint32_t> x(static_cast<size_t>(bands)), y(x);
    for (const size_t shared : {30, 60, 80}) {  // of 100 in all
      uint64_t state = shared * 977 + static_cast<uint64_t>(rows);
      const auto next = [&state] {  // splitmix64
        uint64_t z = state += 0x9E3779B97F4A7C15;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
        return z ^ (z >> 31);
      };
      int caught = 0;
      for (int pair = 0; pair < kPairs; ++pair) {
        std::vector<uint64_t> a, b;
        for (size_t i = 0; i < 100; ++i) {
          const uint64_t hash = next();
          if (i < shared || i % 2 == 0) a.push_back(hash);
          if (i < shared || i % 2 == 1) b.push_back(hash);
        }
        minhash.band_keys(a, x);
        minhash.band_keys(b, y);
        bool any = false;
        for (size_t k = 0; k < x.size(); ++k) any = any || x[k] == y[k];
        caught += any;
      }
      const double p = catch_probability(static_cast<double>(shared) / 100, bands, rows);
      EXPECT_NEAR(caught / double{kPairs}, p, 4 * std::sqrt(p * (1 - p) / kPairs) + 1e-3)
          << bands << "x" << rows << " at " << shared;
    }
  }
}

TEST(MinHash, KeysDependOnTheSetOnly) {
  const MinHash minhash(16, 6);
  std::vector<uint32_t> a(16), b(16);
  const std::vector<uint64_t> set = {11ULL << 40, 22ULL << 40, 33ULL << 40},
                              same = {set[2], set[0], set[1], set[0]};
  minhash.band_keys(set, a);
  minhash.band_keys(same, b);
  EXPECT_EQ(a, b);
  // The keys are a part of the index format: the same on every machine and for ever.
  EXPECT_EQ(a[0], 185910886U);
  EXPECT_EQ(a[15], 2339382348U);
  EXPECT_ERROR(MinHash(0, 6), "bands");
  EXPECT_ERROR(MinHash(256, 64), "at most 1024");
}

}  // namespace
}  // namespace decant
