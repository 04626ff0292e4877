// Compiled with -ffp-contract=off: a fused multiply-add would change the last bit.
#include "core/ggml_blocks.h"

#include <bit>
#include <cstring>
#include <stdexcept>

namespace decant {

namespace {

static_assert(std::endian::native == std::endian::little, "GGUF data is read as it lies in the file");

constexpr GgmlType kTypes[] = {
    {0, "F32", 1, 4},         {1, "F16", 1, 2},         {2, "Q4_0", 32, 18},      {3, "Q4_1", 32, 20},
    {6, "Q5_0", 32, 22},      {7, "Q5_1", 32, 24},      {8, "Q8_0", 32, 34},      {9, "Q8_1", 32, 36},
    {10, "Q2_K", 256, 84},    {11, "Q3_K", 256, 110},   {12, "Q4_K", 256, 144},   {13, "Q5_K", 256, 176},
    {14, "Q6_K", 256, 210},   {15, "Q8_K", 256, 292},   {16, "IQ2_XXS", 256, 66}, {17, "IQ2_XS", 256, 74},
    {18, "IQ3_XXS", 256, 98}, {19, "IQ1_S", 256, 50},   {20, "IQ4_NL", 32, 18},   {21, "IQ3_S", 256, 110},
    {22, "IQ2_S", 256, 82},   {23, "IQ4_XS", 256, 136}, {24, "I8", 1, 1},         {25, "I16", 1, 2},
    {26, "I32", 1, 4},        {27, "I64", 1, 8},        {28, "F64", 1, 8},        {29, "IQ1_M", 256, 56},
    {30, "BF16", 1, 2},       {34, "TQ1_0", 256, 54},   {35, "TQ2_0", 256, 66},   {39, "MXFP4", 32, 17},
    {40, "NVFP4", 64, 36},    {41, "Q1_0", 128, 18},
};

uint16_t u16_at(const uint8_t* bytes) { return static_cast<uint16_t>(bytes[0] | bytes[1] << 8); }
float half_at(const uint8_t* bytes) { return half_to_float(u16_at(bytes)); }

// One block each; `b` is its first byte, `y` its first element.

void f16(const uint8_t* b, float* y) { *y = half_at(b); }

void bf16(const uint8_t* b, float* y) { *y = std::bit_cast<float>(static_cast<uint32_t>(u16_at(b)) << 16); }

void q8_0(const uint8_t* b, float* y) {
  const float d = half_at(b);
  for (int j = 0; j < 32; ++j) y[j] = static_cast<float>(static_cast<int8_t>(b[2 + j])) * d;
}

void q4_0(const uint8_t* b, float* y) {
  const float d = half_at(b);
  for (int j = 0; j < 16; ++j) {
    y[j] = static_cast<float>((b[2 + j] & 15) - 8) * d;
    y[j + 16] = static_cast<float>((b[2 + j] >> 4) - 8) * d;
  }
}

void q4_1(const uint8_t* b, float* y) {
  const float d = half_at(b), m = half_at(b + 2);
  for (int j = 0; j < 16; ++j) {
    y[j] = static_cast<float>(b[4 + j] & 15) * d + m;
    y[j + 16] = static_cast<float>(b[4 + j] >> 4) * d + m;
  }
}

// The fifth bits of the 32 elements of a block, one 32-bit word.
uint32_t high_bits(const uint8_t* bytes) {
  uint32_t word = 0;
  std::memcpy(&word, bytes, sizeof word);
  return word;
}
int five_bits(int low, uint32_t high, int j) { return low | static_cast<int>((high >> j & 1U) << 4); }

void q5_0(const uint8_t* b, float* y) {
  const float d = half_at(b);
  const uint32_t high = high_bits(b + 2);
  for (int j = 0; j < 16; ++j) {
    y[j] = static_cast<float>(five_bits(b[6 + j] & 15, high, j) - 16) * d;
    y[j + 16] = static_cast<float>(five_bits(b[6 + j] >> 4, high, j + 16) - 16) * d;
  }
}

void q5_1(const uint8_t* b, float* y) {
  const float d = half_at(b), m = half_at(b + 2);
  const uint32_t high = high_bits(b + 4);
  for (int j = 0; j < 16; ++j) {
    y[j] = static_cast<float>(five_bits(b[8 + j] & 15, high, j)) * d + m;
    y[j + 16] = static_cast<float>(five_bits(b[8 + j] >> 4, high, j + 16)) * d + m;
  }
}

// Scale and minimum of sub-block j of Q4_K and Q5_K, six bits each in 12 bytes.
struct ScaleMin {
  int scale, min;
};
ScaleMin scale_min(int j, const uint8_t* s) {
  if (j < 4) return {s[j] & 63, s[j + 4] & 63};
  return {(s[j + 4] & 15) | (s[j - 4] >> 6) << 4, (s[j + 4] >> 4) | (s[j] >> 6) << 4};
}

void q4_k(const uint8_t* b, float* y) {
  const float d = half_at(b), dmin = half_at(b + 2);
  for (int j = 0; j < 8; ++j) {
    const auto [scale, min] = scale_min(j, b + 4);
    const float dj = d * static_cast<float>(scale), mj = dmin * static_cast<float>(min);
    const uint8_t* q = b + 16 + 32 * (j / 2);
    for (int l = 0; l < 32; ++l)
      y[32 * j + l] = dj * static_cast<float>(j % 2 == 0 ? q[l] & 15 : q[l] >> 4) - mj;
  }
}

void q5_k(const uint8_t* b, float* y) {
  const float d = half_at(b), dmin = half_at(b + 2);
  const uint8_t* high = b + 16;
  for (int j = 0; j < 8; ++j) {
    const auto [scale, min] = scale_min(j, b + 4);
    const float dj = d * static_cast<float>(scale), mj = dmin * static_cast<float>(min);
    const uint8_t* q = b + 48 + 32 * (j / 2);
    for (int l = 0; l < 32; ++l) {
      const int low = j % 2 == 0 ? q[l] & 15 : q[l] >> 4;
      y[32 * j + l] = dj * static_cast<float>(low + ((high[l] >> j & 1) << 4)) - mj;
    }
  }
}

void q6_k(const uint8_t* b, float* y) {
  const float d = half_at(b + 208);
  for (int half = 0; half < 2; ++half) {
    const uint8_t* ql = b + 64 * half;
    const uint8_t* qh = b + 128 + 32 * half;
    const uint8_t* sc = b + 192 + 8 * half;
    for (int part = 0; part < 4; ++part)
      for (int l = 0; l < 32; ++l) {
        const uint8_t byte = ql[l + 32 * (part & 1)];
        const int low = part < 2 ? byte & 15 : byte >> 4;
        const int q = (low | (qh[l] >> (2 * part) & 3) << 4) - 32;
        const auto scale = static_cast<float>(static_cast<int8_t>(sc[l / 16 + 2 * part]));
        y[128 * half + 32 * part + l] = d * scale * static_cast<float>(q);
      }
  }
}

using BlockReader = void (*)(const uint8_t*, float*);
BlockReader reader_of(uint32_t code) {
  switch (code) {
    case 1:
      return f16;
    case 2:
      return q4_0;
    case 3:
      return q4_1;
    case 6:
      return q5_0;
    case 7:
      return q5_1;
    case 8:
      return q8_0;
    case 12:
      return q4_k;
    case 13:
      return q5_k;
    case 14:
      return q6_k;
    case 30:
      return bf16;
    default:
      return nullptr;
  }
}

}  // namespace

const GgmlType* ggml_type(uint32_t code) {
  for (const auto& type : kTypes)
    if (type.code == code) return &type;
  return nullptr;
}

const char* ggml_type_name(uint32_t code) {
  const GgmlType* type = ggml_type(code);
  return type != nullptr ? type->name : "?";
}

bool can_dequantize(uint32_t code) { return code == 0 || reader_of(code) != nullptr; }

void dequantize_ggml(uint32_t code, const char* data, int64_t elements, float* out) {
  if (code == 0) {
    if (elements > 0) std::memcpy(out, data, static_cast<size_t>(elements) * sizeof(float));
    return;
  }
  const BlockReader read = reader_of(code);
  if (read == nullptr) throw std::logic_error("dequantize_ggml: unknown type");
  const GgmlType& type = *ggml_type(code);
  const auto* bytes = reinterpret_cast<const uint8_t*>(data);
  for (int64_t i = 0; i < elements; i += type.block_elements, bytes += type.block_bytes) read(bytes, out + i);
}

float half_to_float(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000U) << 16;
  uint32_t exponent = half >> 10 & 31U;
  uint32_t mantissa = half & 0x3FFU;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7F800000U | mantissa << 13);
  if (exponent == 0) {
    if (mantissa == 0) return std::bit_cast<float>(sign);
    // A subnormal half is a normal single: shift until the leading one stands in its place.
    exponent = 1;
    while ((mantissa & 0x400U) == 0) {
      mantissa <<= 1;
      --exponent;  // wraps below 0; the sum below wraps back
    }
    mantissa &= 0x3FFU;
  }
  return std::bit_cast<float>(sign | (exponent + 112U) << 23 | mantissa << 13);
}

}  // namespace decant
