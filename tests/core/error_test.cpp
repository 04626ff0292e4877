// Messages are joined from parts, and an error carries the program's exit status.
#include "core/error.h"

#include <gtest/gtest.h>

#include <functional>

#include "tests/support/expect_error.h"

namespace decant {
namespace {

Exit code_of(const std::function<void()>& statement) {
  try {
    statement();
  } catch (const Error& e) {
    return e.code();
  }
  return Exit::kFinished;
}

TEST(Error, PartsAreJoinedAsTheyStand) {
  EXPECT_EQ(concat("a.yaml:", 3, ": ", std::string("x"), ' ', 1.5, ' ', uint64_t{18446744073709551615U}),
            "a.yaml:3: x 1.5 18446744073709551615");
  EXPECT_EQ(concat(0.1F, " ", 1e-5), "0.100000001 1e-05");
}

TEST(Error, CheckThrowsOnlyWhenItDoesNotHold) {
  EXPECT_NO_THROW(check(true, "never"));
  EXPECT_ERROR(check(false, "rank ", 0, " is too small"), "rank 0 is too small");
  EXPECT_ERROR(fail("a", 1), "a1");
  EXPECT_ERROR(fail_try_again("full: ", 2), "full: 2");
}

TEST(Error, CarriesTheExitStatus) {
  EXPECT_EQ(code_of([] { fail("x"); }), Exit::kUserError);
  EXPECT_EQ(code_of([] { check(false, "x"); }), Exit::kUserError);
  EXPECT_EQ(code_of([] { fail_try_again("x"); }), Exit::kTryAgain);
  EXPECT_EQ(code_of([] { throw Error("x", Exit::kGateSaidNo); }), Exit::kGateSaidNo);
  EXPECT_EQ(static_cast<int>(Exit::kUserError), 1);
  EXPECT_EQ(static_cast<int>(Exit::kUsage), 2);
  EXPECT_EQ(static_cast<int>(Exit::kGateSaidNo), 3);
  EXPECT_EQ(static_cast<int>(Exit::kInternal), 70);
  EXPECT_EQ(static_cast<int>(Exit::kTryAgain), 75);
}

}  // namespace
}  // namespace decant
