// Frozen weights in 8 or 4 bits, as bitsandbytes stores them (backends/default/ops.py, functional.py).
// Products with them are in quantized_gemm.h.
//
//   int8     symmetric, one scale a row: code = round(w 127 / absmax), w' = code absmax / 127
//   nf4      blocks of 64 along the flattened weight: code = nearest of 16 levels to w / absmax, w' = level
//   absmax;
//            two codes a byte, the earlier one in the high half
//   nf4_dq   nf4 whose absmax are 8-bit codes themselves (double quantisation, arXiv 2305.14314): absmax' =
//            map[code] nested_absmax + offset, in blocks of 256; 4.127 bits a weight
//
// Codes, absmax and values are bitsandbytes' bit for bit (values rounded once to the compute dtype). The mean
// that is nf4_dq's offset is ATen's, so it may differ in its last bit between numbers of threads.
//
// Legend: T tokens, N outputs, K inputs.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace decant {

enum class Quantization { kNone, kInt8, kNf4, kNf4Dq };
const char* to_string(Quantization kind);  // "none", "int8", "nf4", "nf4_dq"

struct QuantizedWeight {
  Quantization kind = Quantization::kNone;
  int64_t outputs = 0, inputs = 0;
  int64_t block = 64;        // nf4: weights an absmax is for
  at::Tensor codes;          // int8: i8 [N, K]; nf4: u8 [ceil(N K / 2)]
  at::Tensor absmax;         // int8: f32 [N]; nf4: f32 [blocks]; nf4_dq: u8 [blocks]
  at::Tensor nested_absmax;  // nf4_dq: f32 [ceil(blocks / 256)]
  at::Tensor nested_map;     // nf4_dq: f32 [256]
  float offset = 0;          // nf4_dq
  bool defined() const { return kind != Quantization::kNone; }
  int64_t bytes() const;  // of codes and scales
};

// w [N, K], bf16 or fp32, finite. Error for a block of bytes that would not be a quantization (kNone).
QuantizedWeight quantize_weight(const at::Tensor& w, Quantization kind);

// The values [N, K] in `dtype` (bf16, fp32 or fp64).
at::Tensor dequantize(const QuantizedWeight& weight, at::ScalarType dtype);

// Rows [row, row + rows) and columns [column, column + columns) on the CPU, bf16 or fp32, into `to` whose
// rows are `stride` apart. `absmax` as absmax_of() gives it.
void dequantize_block(const QuantizedWeight& weight, const float* absmax, int64_t row, int64_t rows,
                      int64_t column, int64_t columns, uint16_t* to, int64_t stride);
void dequantize_block(const QuantizedWeight& weight, const float* absmax, int64_t row, int64_t rows,
                      int64_t column, int64_t columns, float* to, int64_t stride);

// The absmax in fp32: the weight's own, or decoded ones.
at::Tensor absmax_of(const QuantizedWeight& weight);

// Bytes of codes and scales of a weight of this size, without making it.
int64_t quantized_bytes(int64_t outputs, int64_t inputs, Quantization kind);

// The 16 levels of NF4. (Its absmax are coded with block_codes.h's signed map.)
at::Tensor nf4_levels();

}  // namespace decant
