// The loops over 4-bit and 8-bit weights, compiled twice as loops.h says (and under its rules: nothing inline
// that the rest shares), without contraction of products and sums: bitsandbytes rounds each.
#pragma once

#include <cstdint>

namespace decant {

template <class T>
struct QuantizedLoopsOf {
  // Elements [first, first + count) of a flattened NF4 weight: code * absmax, rounded once. packed: the
  // weight's first byte, two codes a byte, the earlier one in the high half. absmax[0] belongs to the block
  // that `first` lies in.
  void (*from_nf4)(const uint8_t* packed, const float* absmax, int64_t block, int64_t first, int64_t count,
                   T* out);
  // scale * code.
  void (*from_int8)(const int8_t* codes, float scale, int64_t count, T* out);
  // Largest magnitude.
  float (*largest)(const T* x, int64_t count);
  // Number of the 15 bounds below x * factor, or x / divisor when that is not 0: the NF4 code.
  void (*to_nf4)(const T* x, int64_t count, float factor, float divisor, const float* bounds, uint8_t* codes);
  // x * factor to the nearest whole number, halves to even.
  void (*to_int8)(const T* x, int64_t count, float factor, int8_t* codes);
};

struct QuantizedLoops {
  QuantizedLoopsOf<uint16_t> bf16;
  QuantizedLoopsOf<float> fp32;
  // map[codes[i]] * absmax + offset.
  void (*nested_absmax)(const uint8_t* codes, int64_t count, const float* map, float absmax, float offset,
                        float* out);
  // x [columns, width] of floats (+ bias [columns], may be null), transposed: y [rows, columns], rows <=
  // width.
  void (*store_transposed)(const float* x, int64_t width, const uint16_t* bias, int64_t rows, int64_t columns,
                           uint16_t* y, int64_t y_stride);
};

// Null where loops() is.
const QuantizedLoops* quantized_loops();

namespace avx2 {
QuantizedLoops make_quantized_loops();
}
namespace avx512 {
QuantizedLoops make_quantized_loops();
}
namespace avx512_bf16 {
QuantizedLoops make_quantized_loops();
}

}  // namespace decant
