// Rows of fp32 to ggml's types, byte for byte what ggml writes (ggml-quants.c, quantize_row_q8_0_ref;
// ggml-impl.h). Compiled without contraction of floating-point operations: a fused multiply-add gives other
// bytes.
#pragma once

#include <cstddef>
#include <cstdint>

namespace decant {

uint16_t f16_bits(float value);   // IEEE half, round to nearest even; overflow gives infinity
uint16_t bf16_bits(float value);  // round to nearest even; a NaN stays one

constexpr size_t kQ8Block = 32;       // elements
constexpr size_t kQ8BlockBytes = 34;  // f16 scale, 32 x int8

// `n` is a multiple of kQ8Block; `out` holds n / kQ8Block * kQ8BlockBytes.
void quantize_q8_0(const float* x, size_t n, char* out);

}  // namespace decant
