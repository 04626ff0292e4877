#include "data_pipeline/pii.h"

#include <gtest/gtest.h>

#include <array>
#include <fstream>
#include <set>

#include "core/json.h"
#include "core/random.h"

namespace decant {
namespace {

std::string found(std::string_view text) {
  std::string list;
  for (const auto& span : find_pii(text)) {
    list += std::string(pii_kind_name(span.kind).substr(0, 1)) + ":";
    list += std::string(text.substr(span.begin, span.end - span.begin)) + "|";
  }
  return list;
}

TEST(Pii, Emails) {
  EXPECT_EQ(found("邮箱zhang@example.com，谢谢"), "e:zhang@example.com|");
  EXPECT_EQ(found("mail: a.b+tag@mail.example.co.uk."), "e:a.b+tag@mail.example.co.uk|");
  EXPECT_EQ(found("lan84@post.invalid。"), "e:lan84@post.invalid|");
  EXPECT_EQ(found("ｌａｎ＠ｐｏｓｔ．ｃｏｍ"), "e:ｌａｎ＠ｐｏｓｔ．ｃｏｍ|");
  EXPECT_EQ(found("13812345678@qq.com"), "e:13812345678@qq.com|");
  EXPECT_EQ(found("110101199003074610@qq.com"), "e:110101199003074610@qq.com|");
  EXPECT_EQ(found("...user@example.com"), "e:user@example.com|");
  for (const char* none : {"@", "a@b", "这不是邮箱@", "npm @scope/x", "a@1.2.3", "x @ y.com", "a.@b.com"})
    EXPECT_EQ(found(none), "") << none;
}

TEST(Pii, Mobiles) {
  EXPECT_EQ(found("手机号13812345678"), "m:13812345678|");
  EXPECT_EQ(found("电话+8613812345678。"), "m:13812345678|");
  EXPECT_EQ(found("+86 138 1234 5678 / 0086-138-1234-5678"), "m:138 1234 5678|m:138-1234-5678|");
  EXPECT_EQ(found("008613812345678"), "m:13812345678|");
  EXPECT_EQ(found("１３８１２３４５６７８"), "m:１３８１２３４５６７８|");
  EXPECT_EQ(found("张三13812345678，李四15900001111"), "n:张三|m:13812345678|n:李四|m:15900001111|");
  EXPECT_EQ(found("call 154 0000 0001."), "m:154 0000 0001|");
  for (const char* none :
       {"1381234567", "138123456789", "12012345678", "订单号2026101381234567890", "1.13812345678",
        "13812345678.50", "1 3812345678", "13 812345678", "6222138123456789012"})
    EXPECT_EQ(found(none), "") << none;
}

TEST(Pii, IdCards) {
  EXPECT_EQ(found("身份证号110101199003074610"), "i:110101199003074610|");
  EXPECT_EQ(found("身份证11010119900307002x,"), "i:11010119900307002x|");
  EXPECT_EQ(found("身份证 110101 1990 0307 4610"), "i:110101 1990 0307 4610|");
  EXPECT_EQ(found("110101-19900307-4610"), "i:110101-19900307-4610|");
  for (const char* none : {"110101199003071235", "110101199013074610", "110101199001324610",
                           "11010119900307123", "000000199003074610", "订单号123456789012345678",
                           "1101011990030746101", "9110101199003074610", "110101199902294611"})
    EXPECT_EQ(found(none), "") << none;
}

// An implementation of MOD 11-2 that shares nothing with ours: sum of digit * 2^(17 - i) mod 11.
TEST(Pii, CheckDigitLaw) {
  int seen = 0;
  for (uint64_t n = 0; n < 2000; ++n) {
    const auto bits = philox(3, 1, n);
    constexpr int provinces[] = {11, 31, 44, 50, 65, 71, 82};
    std::string id = std::to_string(provinces[bits[0] % 7] * 10000 + static_cast<int>(bits[0] / 7 % 10000)) +
                     std::to_string(1950 + bits[1] % 60);
    const int month = static_cast<int>(bits[2] % 12) + 1, day = static_cast<int>(bits[3] % 28) + 1;
    for (const int part : {month, day}) id += (part < 10 ? "0" : "") + std::to_string(part);
    id += std::to_string(100 + bits[1] / 64 % 900);
    int sum = 0;
    for (int i = 0; i < 17; ++i) sum += (id[static_cast<size_t>(i)] - '0') * (1 << (17 - i)) % 11;
    const int check = (12 - sum % 11) % 11;
    for (int last = 0; last < 11; ++last) {
      const std::string whole = id + (last == 10 ? "X" : std::to_string(last));
      ASSERT_EQ(find_pii(whole).size(), last == check ? 1u : 0u) << whole;
      ++seen;
    }
  }
  EXPECT_EQ(seen, 22000);
}

TEST(Pii, SurrogatesAreConsistentAndKeepTheShape) {
  PiiCounts counts;
  const auto replaced = [&](std::string_view text, std::string_view tenant = "t",
                            std::string_view key = "k") { return replace_pii(text, tenant, key, counts); };
  const std::string mobile = replaced("13812345678");
  EXPECT_EQ(mobile.size(), 11u);
  EXPECT_TRUE(mobile.starts_with("12"));
  EXPECT_EQ(replaced("tel +86 138-1234-5678!"),
            "tel +86 " + mobile.substr(0, 3) + "-" + mobile.substr(3, 4) + "-" + mobile.substr(7) + "!");
  EXPECT_EQ(counts[PiiKind::kMobile], 2);
  EXPECT_EQ(replaced("Anna@Example.com"), replaced("anna@example.com"));
  EXPECT_TRUE(replaced("anna@example.com").ends_with("@example.invalid"));
  EXPECT_NE(replaced("13812345678", "other"), mobile);
  EXPECT_NE(replaced("13812345678", "t", "other"), mobile);
  EXPECT_NE(replaced("13812345679"), mobile);
  const std::string wide = replaced("１３８１２３４５６７８");
  EXPECT_EQ(wide.size(), 33u);
  EXPECT_TRUE(wide.starts_with("１２"));
  const std::string id = replaced("11010119900307002X");
  EXPECT_EQ(id.size(), 18u);
  EXPECT_TRUE(id.starts_with("99"));
  EXPECT_EQ(replaced("11010119900307002x"), id);
  EXPECT_EQ(replaced("订单号 202610120001 共3件"), "订单号 202610120001 共3件");
  // Another implementation's HMAC-SHA256 (Python's hmac): key "k", message "t\0mobile\013812345678", first 8
  // bytes, decimal digits from the lowest.
  EXPECT_EQ(mobile, "12851280736");
}

TEST(Pii, TwiceIsOnce) {
  const std::vector<std::string> parts = {"13812345678",
                                          "110101199003074610",
                                          "a@b.com",
                                          "+86",
                                          " ",
                                          "-",
                                          ".",
                                          "1",
                                          "138",
                                          "1234",
                                          "5678",
                                          "@",
                                          "电话",
                                          "１３８",
                                          "x",
                                          "user-",
                                          "example.invalid",
                                          "110101",
                                          "19900307",
                                          "4610",
                                          "0086"};
  int changed = 0;
  for (uint64_t n = 0; n < 20000; ++n) {
    std::string text;
    for (uint64_t k = 0; k < 7; ++k) text += parts[philox(9, n, k)[0] % parts.size()];
    PiiCounts counts, none;
    const std::string once = replace_pii(text, "t", "k", counts);
    changed += once != text;
    ASSERT_EQ(replace_pii(once, "t", "k", none), once) << text;
    ASSERT_EQ(none.total(), 0) << text;
  }
  EXPECT_GT(changed, 5000);
}

}  // namespace
}  // namespace decant
