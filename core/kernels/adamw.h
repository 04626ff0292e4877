// AdamW (Loshchilov and Hutter, arXiv 1711.05101) as torch.optim.AdamW computes it:
//   m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  w = w (1 - lr wd) - lr (m / c1) / (sqrt(v / c2) + eps),
//   c = 1 - b^step.
// Everything that trains is one pass over memory, cut into pieces that threads share: scaling of the
// gradient, decay, moments, update and rounding of an element happen at once, and so does its moments'
// coding. No bit depends on the number of threads.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace decant {

struct AdamwStep {
  double learning_rate, beta1, beta2, epsilon, weight_decay;
  int64_t step;           // 1 for the first
  double gradient_scale;  // the gradient is multiplied by this first (clipping, 1 / total weight)
};

// The two moments of a tensor: fp32 in its shape or, coded, u8 codes in its shape and the fp32 absmax of
// every 256 elements (block_codes.h: m signed, v unsigned).
struct Moments {
  at::Tensor m, v;
  at::Tensor m_absmax, v_absmax;  // undefined for fp32
  bool coded() const { return m_absmax.defined(); }
};
Moments zero_moments(at::IntArrayRef shape, bool coded);

// One tensor's update. All tensors are contiguous and of one shape.
struct AdamwTensor {
  // fp32; or bf16: a full fine-tune without fp32 masters, rounded stochastically with counter-based bits
  // (seed, stream, element).
  at::Tensor master;
  at::Tensor grad;  // fp32; is not changed
  // When it is bf16 and master fp32 it receives the rounded master (RNE); when it shares the master's storage
  // it is left alone.
  at::Tensor compute;
  Moments moments;
  AdamwStep step;
  uint64_t seed = 0, stream = 0;
};
void adamw(const std::vector<AdamwTensor>& tensors);

// Sum of squares in fp64, fixed slices in fixed order, tensor by tensor.
double sum_of_squares(const std::vector<at::Tensor>& tensors);

}  // namespace decant
