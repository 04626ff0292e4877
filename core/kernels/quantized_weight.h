// Frozen weights in 8 or 4 bits, as bitsandbytes stores them (backends/default/ops.py, functional.py), and the products
// with them. The products dequantise a panel of the weight into scratch that stays in the cache and multiply it in the
// compute dtype: a weight never exists whole in bf16.
//
//   int8     symmetric, one scale a row: code = round(w 127 / absmax), w' = code absmax / 127
//   nf4      blocks of 64 along the flattened weight: code = nearest of 16 levels to w / absmax, w' = level absmax;
//            two codes a byte, the earlier one in the high half
//   nf4_dq   nf4 whose absmax are 8-bit codes themselves (double quantisation, arXiv 2305.14314): absmax' =
//            map[code] nested_absmax + offset, in blocks of 256; 4.127 bits a weight
//
// Codes, absmax and values are bitsandbytes' bit for bit (values rounded once to the compute dtype). The mean that is
// nf4_dq's offset is ATen's, so it may differ in its last bit between numbers of threads.
//
// Legend: T tokens, N outputs, K inputs.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "core/kernels/gemm.h"

namespace decant {

enum class Quantization { kNone, kInt8, kNf4, kNf4Dq };
const char* to_string(Quantization kind);  // "none", "int8", "nf4", "nf4_dq"

struct QuantizedWeight {
  Quantization kind = Quantization::kNone;
  int64_t outputs = 0, inputs = 0;
  int64_t block = 64;         // nf4: weights an absmax is for
  at::Tensor codes;           // int8: i8 [N, K]; nf4: u8 [ceil(N K / 2)]
  at::Tensor absmax;          // int8: f32 [N]; nf4: f32 [blocks]; nf4_dq: u8 [blocks]
  at::Tensor nested_absmax;   // nf4_dq: f32 [ceil(blocks / 256)]
  at::Tensor nested_map;      // nf4_dq: f32 [256]
  float offset = 0;           // nf4_dq
  bool defined() const { return kind != Quantization::kNone; }
  int64_t bytes() const;  // of codes and scales
};

// w [N, K], bf16 or fp32, finite. Error for a block of bytes that would not be a quantization (kNone).
QuantizedWeight quantize_weight(const at::Tensor& w, Quantization kind);

// The values [N, K] in `dtype` (bf16, fp32 or fp64).
at::Tensor dequantize(const QuantizedWeight& weight, at::ScalarType dtype);

// Bytes of codes and scales of a weight of this size, without making it.
int64_t quantized_bytes(int64_t outputs, int64_t inputs, Quantization kind);

// The 16 levels of NF4, and the 256 of the map that its absmax are coded with.
at::Tensor nf4_levels();
at::Tensor dynamic_map();

// As gemm.h's, with the weights stacked: w is all rows of the first, then of the second, ... All have the same inputs.
using StackedWeights = std::vector<const QuantizedWeight*>;
at::Tensor linear(const at::Tensor& x, const StackedWeights& weights, const at::Tensor& bias,
                  Panel panel = Panel::kTraining);
at::Tensor linear_input_grad(const at::Tensor& dy, const StackedWeights& weights, Panel panel = Panel::kTraining);

}  // namespace decant
