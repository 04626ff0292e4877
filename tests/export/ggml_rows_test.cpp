#include "export/ggml_rows.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "core/safetensors.h"
#include "tests/support/shared.h"

namespace decant {
namespace {

TEST(GgmlRows, HalfRoundsToNearestEvenAtEveryKindOfBoundary) {
  EXPECT_EQ(f16_bits(0.0f), 0x0000);
  EXPECT_EQ(f16_bits(-0.0f), 0x8000);
  EXPECT_EQ(f16_bits(1.0f), 0x3c00);
  EXPECT_EQ(f16_bits(65504.0f), 0x7bff);
  EXPECT_EQ(f16_bits(65519.99f), 0x7bff);
  EXPECT_EQ(f16_bits(65520.0f), 0x7c00);
  EXPECT_EQ(f16_bits(std::numeric_limits<float>::infinity()), 0x7c00);
  EXPECT_EQ(f16_bits(std::numeric_limits<float>::quiet_NaN()) & 0x7e00, 0x7e00);
  EXPECT_EQ(f16_bits(std::ldexp(1.0f, -14)), 0x0400);
  EXPECT_EQ(f16_bits(std::ldexp(1.0f, -24)), 0x0001);
  EXPECT_EQ(f16_bits(std::ldexp(1.0f, -25)), 0x0000);  // a tie goes to the even zero
  EXPECT_EQ(f16_bits(std::ldexp(1.5f, -24)), 0x0002);  // a tie goes to the even two
  EXPECT_EQ(f16_bits(std::ldexp(1.25f, -25)), 0x0001);
  EXPECT_EQ(f16_bits(1.0f + std::ldexp(1.0f, -11)), 0x3c00);
  EXPECT_EQ(f16_bits(1.0f + std::ldexp(3.0f, -11)), 0x3c02);
  EXPECT_EQ(f16_bits(std::ldexp(2047.0f, -25)),
            0x0400);  // the largest subnormal's upper neighbour: a carry into the exponent
}

TEST(GgmlRows, EveryHalfSurvivesTheWayThereAndBack) {
  int seen = 0;
  for (uint32_t bits = 0; bits < 0x7c00; ++bits) {
    const int exponent = static_cast<int>(bits >> 10);
    const auto mantissa = static_cast<float>(bits & 1023);
    const float value =
        exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(mantissa + 1024, exponent - 25);
    ASSERT_EQ(f16_bits(value), bits);
    ASSERT_EQ(f16_bits(-value), bits | 0x8000);
    ++seen;
  }
  EXPECT_EQ(seen, 31744);
}

TEST(GgmlRows, Bf16RoundsToNearestEvenAndKeepsNaN) {
  EXPECT_EQ(bf16_bits(std::bit_cast<float>(0x3f808000u)), 0x3f80);
  EXPECT_EQ(bf16_bits(std::bit_cast<float>(0x3f818000u)), 0x3f82);
  EXPECT_EQ(bf16_bits(std::bit_cast<float>(0x3f808001u)), 0x3f81);
  EXPECT_EQ(bf16_bits(std::bit_cast<float>(0x7f800001u)), 0x7fc0);
}

// Bytes of ggml itself: tests/golden's sibling folder, conformance/golden/ggml.
TEST(GgmlRows, BytesAreGgmlsOnEveryGoldenRow) {
  DECANT_NEEDS_SHARED("conformance/golden/ggml/ggml_quant.safetensors");
  const SafetensorsFile file(test::shared_folder() / "conformance/golden/ggml/ggml_quant.safetensors");
  const auto bytes_of = [&](const char* name) {
    const TensorEntry* entry = file.find(name);
    EXPECT_NE(entry, nullptr) << name;
    return file.bytes(*entry);
  };
  const std::string_view input = bytes_of("input");
  std::vector<float> x(input.size() / 4);
  std::memcpy(x.data(), input.data(), input.size());
  ASSERT_EQ(x.size(), 41u * 1024u);

  std::string q8(x.size() / kQ8Block * kQ8BlockBytes, '\0');
  quantize_q8_0(x.data(), x.size(), q8.data());
  EXPECT_TRUE(q8 == bytes_of("Q8_0.bytes"));

  std::string f16, bf16;
  for (const float value : x) {
    const uint16_t half = f16_bits(value), brain = bf16_bits(value);
    f16 += {static_cast<char>(half & 0xff), static_cast<char>(half >> 8)};
    bf16 += {static_cast<char>(brain & 0xff), static_cast<char>(brain >> 8)};
  }
  EXPECT_TRUE(f16 == bytes_of("F16.bytes"));
  EXPECT_TRUE(bf16 == bytes_of("BF16.bytes"));
}

}  // namespace
}  // namespace decant
