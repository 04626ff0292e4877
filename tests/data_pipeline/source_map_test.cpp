#include "data_pipeline/source_map.h"

#include <gtest/gtest.h>

#include "core/random.h"

namespace decant {
namespace {

using Range = SourceMap::Range;

TEST(SourceMap, CopiedAndReplacedBytes) {
  SourceMap map;
  map.copy(2, 3);        // output 0..3 from 2..5
  map.replace(5, 4, 2);  // 3..5 from 5..9
  map.copy(12, 1);       // 5..6 from 12
  EXPECT_EQ(map.output_size(), 6u);
  EXPECT_EQ(map.source_of(0), 2u);
  EXPECT_EQ(map.source_of(2), 4u);
  EXPECT_EQ(map.source_of(4), 5u);
  EXPECT_EQ(map.source_of(5), 12u);
  EXPECT_EQ(map.source_of(6), 13u);
  EXPECT_EQ(map.source_range(1, 3), (Range{3, 5}));
  EXPECT_EQ(map.source_range(4, 5), (Range{5, 9}));
  EXPECT_EQ(map.source_range(4, 6), (Range{5, 13}));  // with what was removed between
  EXPECT_EQ(map.source_range(3, 3), (Range{5, 5}));
  EXPECT_EQ(map.source_range(6, 6), (Range{13, 13}));
  EXPECT_THROW(static_cast<void>(map.source_of(7)), std::logic_error);
}

TEST(SourceMap, NeighboursBecomeOneRun) {
  SourceMap map;
  map.copy(0, 2);
  map.copy(2, 3);
  map.copy(9, 0);
  map.replace(5, 2, 1);
  map.replace(5, 2, 3);
  EXPECT_EQ(map.runs().size(), 2u);
  EXPECT_EQ(map.output_size(), 9u);
}

TEST(SourceMap, EmptyMap) {
  const SourceMap map;
  EXPECT_EQ(map.output_size(), 0u);
  EXPECT_EQ(map.source_range(0, 0), (Range{0, 0}));
}

TEST(SourceMap, TruncateForgetsTheEnd) {
  SourceMap map;
  map.copy(0, 4);
  map.replace(4, 1, 4);
  SourceMap shorter = map;
  shorter.truncate(6);
  EXPECT_EQ(shorter.output_size(), 6u);
  EXPECT_EQ(shorter.source_range(5, 6), (Range{4, 5}));
  shorter.truncate(3);
  SourceMap expected;
  expected.copy(0, 3);
  EXPECT_EQ(shorter, expected);
  shorter.truncate(0);
  EXPECT_EQ(shorter, SourceMap{});
}

// A random text made of another, and what each of its bytes came from, kept the long way.
struct Step {
  MappedText out;
  std::vector<Range> ranges;  // of each output byte
};
Step random_step(const std::string& source, uint64_t seed) {
  Step step;
  uint64_t draw = 0;
  for (size_t at = 0; at < source.size();) {
    const auto numbers = philox(seed, 1, draw++);
    const size_t length = std::min<size_t>(1 + numbers[0] % 4, source.size() - at);
    switch (numbers[1] % 4) {
      case 0:
        break;  // removed
      case 1: {
        const std::string by(1 + numbers[2] % 3, static_cast<char>('A' + numbers[3] % 26));
        step.out.replace(at, length, by);
        step.ranges.insert(step.ranges.end(), by.size(), {at, at + length});
        break;
      }
      default:
        step.out.copy(source, at, length);
        for (size_t i = 0; i < length; ++i) step.ranges.emplace_back(at + i, at + i + 1);
    }
    at += length;
  }
  return step;
}

TEST(SourceMap, ComposedIsOneAfterTheOther) {
  size_t bytes = 0;
  for (uint64_t n = 0; n < 500; ++n) {
    std::string source;
    for (int i = 0; i < 60; ++i)
      source += static_cast<char>('a' + philox(n, 2, static_cast<uint64_t>(i))[0] % 26);
    const Step first = random_step(source, 3 * n), second = random_step(first.out.text, 3 * n + 1);
    const SourceMap both = compose(first.out.map, second.out.map);
    ASSERT_EQ(both.output_size(), second.out.text.size());
    for (size_t i = 0; i < second.ranges.size(); ++i, ++bytes) {
      const auto [begin, end] = second.ranges[i];
      const Range expected = {first.ranges[begin].first, first.ranges[end - 1].second};
      ASSERT_EQ(both.source_range(i, i + 1), expected) << n << " byte " << i;
      ASSERT_EQ(both.source_of(i), expected.first);
    }
    // Three steps: either pair first.
    const Step third = random_step(second.out.text, 3 * n + 2);
    ASSERT_EQ(compose(both, third.out.map), compose(first.out.map, compose(second.out.map, third.out.map)))
        << n;
  }
  EXPECT_GT(bytes, 10000u);
}

}  // namespace
}  // namespace decant
