// Philox against Random123's known answers (kat_vectors, philox4x32 10), and the laws of what is drawn from
// it.
#include "core/random.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

namespace decant {
namespace {

using Words = std::array<uint32_t, 4>;

TEST(Random, PhiloxGivesTheKnownAnswers) {
  EXPECT_EQ(philox(0, 0, 0), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox(~0ULL, ~0ULL, ~0ULL), (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  // counter 243f6a88 85a308d3 13198a2e 03707344, key a4093822 299f31d0 (digits of pi), least word first.
  EXPECT_EQ(philox(0x299f31d0a4093822, 0x0370734413198a2e, 0x85a308d3243f6a88),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Random, EveryArgumentMatters) {
  std::set<Words> seen;
  for (const uint64_t bit : {0ULL, 1ULL, 1ULL << 31, 1ULL << 32, 1ULL << 63}) {
    seen.insert(philox(bit, 0, 0));
    seen.insert(philox(0, bit, 0));
    seen.insert(philox(0, 0, bit));
  }
  EXPECT_EQ(seen.size(), 1U + 3 * 4);
}

TEST(Random, StreamsOfDifferentPurposeDoNotMeet) {
  std::set<uint64_t> seen;
  for (const Purpose purpose : {Purpose::kInit, Purpose::kShuffle, Purpose::kSample, Purpose::kRounding,
                                Purpose::kDropout, Purpose::kTest})
    for (const uint64_t index : {0ULL, 1ULL, (1ULL << 56) - 1}) seen.insert(purpose_stream(purpose, index));
  EXPECT_EQ(seen.size(), 18U);
}

TEST(Random, UniformLiesInTheHalfOpenIntervalWithItsMoments) {
  constexpr int kDraws = 200'000;
  double sum = 0, squares = 0, least = 1, greatest = 0;
  std::array<int, 10> bins{};
  for (uint64_t i = 0; i < kDraws; ++i) {
    const double x = uniform(7, purpose_stream(Purpose::kTest, 0), i);
    ASSERT_GE(x, 0.0);
    ASSERT_LT(x, 1.0);
    sum += x;
    squares += x * x;
    least = std::min(least, x);
    greatest = std::max(greatest, x);
    ++bins[static_cast<size_t>(x * 10)];
  }
  // Five standard errors.
  EXPECT_NEAR(sum / kDraws, 0.5, 5 * std::sqrt(1.0 / 12 / kDraws));
  EXPECT_NEAR(squares / kDraws, 1.0 / 3, 5 * std::sqrt(4.0 / 45 / kDraws));
  EXPECT_LT(least, 1e-4);
  EXPECT_GT(greatest, 1 - 1e-4);
  for (const int count : bins) EXPECT_NEAR(count, kDraws / 10, 5 * std::sqrt(kDraws * 0.09));
}

TEST(Random, NormalHasItsMomentsAndIsFinite) {
  constexpr int kDraws = 200'000;
  double sum = 0, squares = 0, cubes = 0, fourths = 0, neighbours = 0, last = 0;
  for (uint64_t i = 0; i < kDraws; ++i) {
    const double x = standard_normal(7, purpose_stream(Purpose::kTest, 1), i);
    ASSERT_TRUE(std::isfinite(x));
    sum += x;
    squares += x * x;
    cubes += x * x * x;
    fourths += x * x * x * x;
    neighbours += x * last;
    last = x;
  }
  EXPECT_NEAR(sum / kDraws, 0, 5 / std::sqrt(kDraws));
  EXPECT_NEAR(squares / kDraws, 1, 5 * std::sqrt(2.0 / kDraws));
  EXPECT_NEAR(cubes / kDraws, 0, 5 * std::sqrt(15.0 / kDraws));
  EXPECT_NEAR(fourths / kDraws, 3, 5 * std::sqrt(96.0 / kDraws));
  EXPECT_NEAR(neighbours / kDraws, 0, 5 / std::sqrt(kDraws));
}

TEST(Random, PermutationHoldsEveryIndexOnce) {
  EXPECT_TRUE(permutation(0, 1, 2).empty());
  EXPECT_EQ(permutation(1, 1, 2), (std::vector<int64_t>{0}));
  for (const int64_t n : {2, 3, 1000}) {
    auto order = permutation(n, 42, purpose_stream(Purpose::kShuffle, 3));
    EXPECT_EQ(order, permutation(n, 42, purpose_stream(Purpose::kShuffle, 3)));
    if (n == 1000) {
      EXPECT_NE(order, permutation(n, 43, purpose_stream(Purpose::kShuffle, 3)));
      EXPECT_NE(order, permutation(n, 42, purpose_stream(Purpose::kShuffle, 4)));
      EXPECT_FALSE(std::is_sorted(order.begin(), order.end()));
    }
    std::sort(order.begin(), order.end());
    ASSERT_EQ(order.size(), static_cast<size_t>(n));
    for (int64_t i = 0; i < n; ++i) EXPECT_EQ(order[static_cast<size_t>(i)], i);
  }
}

TEST(Random, EveryPermutationIsEquallyLikely) {
  constexpr int kDraws = 24'000;
  std::map<std::vector<int64_t>, int> counts;
  for (uint64_t seed = 0; seed < kDraws; ++seed) ++counts[permutation(4, seed, 0)];
  EXPECT_EQ(counts.size(), 24U);
  for (const auto& [order, count] : counts) EXPECT_NEAR(count, 1000, 5 * std::sqrt(1000.0));
}

}  // namespace
}  // namespace decant
