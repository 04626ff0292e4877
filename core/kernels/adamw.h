// AdamW (Loshchilov and Hutter, arXiv 1711.05101) as torch.optim.AdamW computes it, fused over one tensor:
//   m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  w = w (1 - lr wd) - lr (m / c1) / (sqrt(v / c2) + eps),
//   c = 1 - b^step.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace decant {

struct AdamwStep {
  double learning_rate, beta1, beta2, epsilon, weight_decay;
  int64_t step;           // 1 for the first
  double gradient_scale;  // the gradient is multiplied by this first (clipping, 1 / total weight)
};

// master, m, v, grad: fp32, same shape, contiguous. When `compute` is bf16 it receives the rounded master
// (RNE); when it shares the master's storage it is left alone. grad is not changed.
void adamw(at::Tensor& master, at::Tensor& m, at::Tensor& v, const at::Tensor& grad, at::Tensor& compute,
           const AdamwStep& step);

// Full fine-tune without fp32 masters: bf16 weights, stochastic rounding with counter-based bits (seed,
// stream, element).
void adamw_stochastic(at::Tensor& weight_bf16, at::Tensor& m, at::Tensor& v, const at::Tensor& grad,
                      const AdamwStep& step, uint64_t seed, uint64_t stream);

// Sum of squares in fp64, fixed slices in fixed order.
double sum_of_squares(const at::Tensor& x);

}  // namespace decant
