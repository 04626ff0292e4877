#include "distill/answer_checks.h"

#include <gtest/gtest.h>

#include <numeric>

namespace decant {
namespace {

std::vector<int64_t> with_tail(const std::vector<int64_t>& period, size_t times) {
  std::vector<int64_t> ids(20);
  std::iota(ids.begin(), ids.end(), int64_t{100});
  for (size_t i = 0; i < times; ++i) ids.insert(ids.end(), period.begin(), period.end());
  return ids;
}

TEST(AnswerChecks, FindsLoopsOfAnyPeriod) {
  EXPECT_TRUE(ends_in_a_loop(std::vector<int64_t>(16, 7)));
  EXPECT_FALSE(ends_in_a_loop(std::vector<int64_t>(15, 7)));
  EXPECT_FALSE(ends_in_a_loop({}));
  for (size_t period = 4; period <= 64; ++period) {
    std::vector<int64_t> unit(period);
    std::iota(unit.begin(), unit.end(), int64_t{0});
    EXPECT_TRUE(ends_in_a_loop(with_tail(unit, 4))) << period;
    EXPECT_FALSE(ends_in_a_loop(with_tail(unit, 3))) << period;
    auto broken = with_tail(unit, 4);
    broken[broken.size() - 2 * period] = 999;
    EXPECT_FALSE(ends_in_a_loop(broken)) << period;
  }
}

TEST(AnswerChecks, NamesTheFault) {
  const std::vector<int64_t> fine = {1, 2, 3, 4, 5};
  EXPECT_EQ(check_answer(fine, true, "Yes."), AnswerFault::kNone);
  EXPECT_EQ(check_answer(fine, false, "Yes, and"), AnswerFault::kTruncated);
  EXPECT_EQ(check_answer({2}, true, " \n"), AnswerFault::kEmpty);
  std::vector<int64_t> loop(20, 9);
  loop.push_back(2);  // the stop token at the end does not hide it
  EXPECT_EQ(check_answer(loop, true, "a a a"), AnswerFault::kRepetition);
  EXPECT_TRUE(usable(AnswerFault::kTruncated));
  EXPECT_FALSE(usable(AnswerFault::kRepetition));
  EXPECT_STREQ(answer_fault_name(AnswerFault::kEmpty), "empty");
}

}  // namespace
}  // namespace decant
