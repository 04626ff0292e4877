#include "export/ggml_rows.h"

#include <bit>
#include <cmath>
#include <cstring>

namespace decant {

uint16_t f16_bits(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u);
  if (magnitude >= 0x477ff000u)
    return static_cast<uint16_t>(sign | 0x7c00u);                   // 65520 and more round to infinity
  if (magnitude < 0x33000001u) return static_cast<uint16_t>(sign);  // up to 2^-25, the tie rounds to zero
  const int exponent = static_cast<int>(magnitude >> 23) - 127;
  uint32_t mantissa = (magnitude & 0x7fffffu) | 0x800000u;
  // The half's last bit stands for 2^(exponent-10), and never less than 2^-24.
  const int shift = exponent >= -14 ? 13 : 13 + (-14 - exponent);
  const uint32_t half = 1u << (shift - 1);
  const uint32_t rest = mantissa & ((1u << shift) - 1);
  mantissa >>= shift;
  if (rest > half || (rest == half && (mantissa & 1u))) ++mantissa;
  // A carry moves into the exponent by itself; a subnormal's leading bit is not there.
  const uint32_t base = exponent >= -14 ? static_cast<uint32_t>(exponent + 14) << 10 : 0u;
  return static_cast<uint16_t>(sign | (base + mantissa));
}

uint16_t bf16_bits(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 64u);
  return static_cast<uint16_t>((bits + (0x7fffu + ((bits >> 16) & 1u))) >> 16);
}

void quantize_q8_0(const float* x, size_t n, char* out) {
  for (size_t block = 0; block < n / kQ8Block; ++block, x += kQ8Block, out += kQ8BlockBytes) {
    float largest = 0.0f;
    for (size_t i = 0; i < kQ8Block; ++i) {
      const float a = std::fabs(x[i]);
      if (a > largest) largest = a;
    }
    const float d = largest / 127.0f;
    const float inverse = d != 0.0f ? 1.0f / d : 0.0f;
    const uint16_t scale = f16_bits(d);
    out[0] = static_cast<char>(scale & 0xff);
    out[1] = static_cast<char>(scale >> 8);
    for (size_t i = 0; i < kQ8Block; ++i)
      out[2 + i] = static_cast<char>(static_cast<int8_t>(std::round(x[i] * inverse)));
  }
}

}  // namespace decant
