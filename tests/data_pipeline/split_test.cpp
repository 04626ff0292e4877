#include "data_pipeline/split.h"

#include <gtest/gtest.h>

namespace decant {
namespace {

int held_out(double fraction, const std::string& salt = "s", const std::string& tenant = "t") {
  int count = 0;
  for (int i = 0; i < 10000; ++i)
    count += is_held_out(salt, tenant, "customer " + std::to_string(i), "x", fraction);
  return count;
}

TEST(Split, FractionHoldsOnAverage) {
  EXPECT_EQ(held_out(0), 0);
  EXPECT_NEAR(held_out(0.1), 1000, 150);
  EXPECT_NEAR(held_out(0.5), 5000, 250);
}

TEST(Split, ALargerFractionOnlyAdds) {
  for (int i = 0; i < 2000; ++i) {
    const std::string c = std::to_string(i);
    if (is_held_out("s", "t", c, "", 0.1)) {
      EXPECT_TRUE(is_held_out("s", "t", c, "", 0.2)) << i;
    }
  }
}

TEST(Split, FollowsTheCustomerElseTheId) {
  int differ = 0;
  for (int i = 0; i < 200; ++i) {
    const std::string n = std::to_string(i);
    EXPECT_EQ(is_held_out("s", "t", n, "a", 0.5), is_held_out("s", "t", n, "b", 0.5));
    differ += is_held_out("s", "t", n, "", 0.5) != is_held_out("s", "t", "", n, 0.5);
    differ += is_held_out("s", "t", n, "", 0.5) != is_held_out("s", "u", n, "", 0.5);
    differ += is_held_out("s", "t", n, "", 0.5) != is_held_out("r", "t", n, "", 0.5);
  }
  EXPECT_NEAR(differ, 300, 60);
}

// Python's hashlib on b"decant\0shop\0customer\0k1" and b"decant\0shop\0id\0c-9", first 52 bits.
TEST(Split, IsTheDocumentedHash) {
  const double customer = 0.8161096936454424, id = 0.23817380736168903;
  EXPECT_FALSE(is_held_out("decant", "shop", "k1", "c-9", customer));
  EXPECT_TRUE(is_held_out("decant", "shop", "k1", "c-9", customer + 1e-12));
  EXPECT_FALSE(is_held_out("decant", "shop", "", "c-9", id));
  EXPECT_TRUE(is_held_out("decant", "shop", "", "c-9", id + 1e-12));
}

}  // namespace
}  // namespace decant
