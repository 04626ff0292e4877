#include "data_pipeline/packing.h"

#include <algorithm>

#include "core/json.h"
#include "core/random.h"
#include "tests/support/expect_error.h"
#include "tests/support/shared.h"

namespace decant {
namespace {

using Rows = std::vector<std::vector<int64_t>>;

TEST(Packing, BestFitDecreasing) {
  EXPECT_EQ(pack_best_fit({}, 4), Rows{});
  EXPECT_EQ(pack_best_fit({4}, 4), (Rows{{0}}));
  EXPECT_EQ(pack_best_fit({1, 3, 2, 2}, 4), (Rows{{1, 0}, {2, 3}}));
  EXPECT_EQ(pack_best_fit({2, 2, 2}, 4), (Rows{{0, 1}, {2}}));  // equal lengths in their order
  EXPECT_ERROR(pack_best_fit({5}, 4), "packing: document 0 has 5 tokens, expected 1 to 4");
  EXPECT_ERROR(pack_best_fit({0}, 4), "has 0 tokens");
}

TEST(Packing, EveryDocumentOnceAndNoRowTooLong) {
  for (uint64_t n = 0; n < 50; ++n) {
    std::vector<int64_t> lengths;
    for (uint64_t i = 0; i < 200; ++i) lengths.push_back(1 + static_cast<int64_t>(philox(1, n, i)[0] % 64));
    std::vector<int> seen(lengths.size());
    int64_t total = 0;
    const auto rows = pack_best_fit(lengths, 64);
    for (const auto& row : rows) {
      int64_t length = 0;
      for (const int64_t d : row) {
        ++seen[static_cast<size_t>(d)];
        length += lengths[static_cast<size_t>(d)];
      }
      ASSERT_LE(length, 64);
      ASSERT_GT(length, 0);
      total += length;
    }
    EXPECT_EQ(std::count(seen.begin(), seen.end(), 1), 200);
    EXPECT_LE(static_cast<int64_t>(rows.size()),
              (total + 63) / 64 * 11 / 9 + 1);  // the bound of best fit decreasing
  }
}

// TRL cuts what is too long; we are given it cut.
TEST(Packing, EqualsTrl) {
  DECANT_NEEDS_SHARED("conformance/golden/smollm2/packing_trl.json");
  const Json golden = read_json(test::shared_folder() / "conformance/golden/smollm2/packing_trl.json");
  auto lengths = golden["lengths"].get<std::vector<int64_t>>();
  const auto room = golden["seq_length"].get<int64_t>();
  for (int64_t& length : lengths) length = std::min(length, room);
  Rows expected;
  for (const Json& row : golden["bfd"]) {
    expected.emplace_back();
    size_t at = 0;
    for (const Json& length : row["seq_lengths"]) {
      expected.back().push_back(row["input_ids"][at].get<int64_t>());
      at += length.get<size_t>();
    }
  }
  EXPECT_EQ(expected.size(), 23u);
  EXPECT_EQ(pack_best_fit(lengths, room), expected);
}

}  // namespace
}  // namespace decant
