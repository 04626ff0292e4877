// Matrix products with quantized weights. A block of the weight is dequantised into scratch that stays in the
// cache and multiplied at once, in the compute dtype: the weight never exists whole in it. bf16 runs in tiles
// (tile_linear.h); fp32, and bf16 where the machine has no bf16 instructions, run gemm.h's products over
// panels of weights.
//
// Legend: T tokens, N outputs of all weights, K inputs.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "core/kernels/gemm.h"
#include "core/kernels/quantized_weight.h"

namespace decant {

// One below the other: all rows of the first weight, then those of the second, ... All have the same inputs.
using StackedWeights = std::vector<const QuantizedWeight*>;

// As in gemm.h. y = x w^T (+ bias). x [T, K] bf16 or fp32, bias [N] in x's dtype or undefined -> [T, N].
at::Tensor linear(const at::Tensor& x, const StackedWeights& weights, const at::Tensor& bias,
                  Panel panel = Panel::kTraining, LowRankAdds adds = {});

// dx = dy w. dy [T, N] -> [T, K].
at::Tensor linear_input_grad(const at::Tensor& dy, const StackedWeights& weights, LowRankAdds adds = {});

}  // namespace decant
