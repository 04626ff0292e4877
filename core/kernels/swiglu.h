// SwiGLU's pointwise half (Shazeer, arXiv 2002.05202): h = silu(gate) * up. silu in fp32, as its result is
// rounded to the dtype of x before the product (transformers' order).
#pragma once

#include <ATen/core/Tensor.h>

namespace decant {

// gate_up [T, 2F]: gate in the first F columns, up in the last. Returns [T, F].
at::Tensor swiglu(const at::Tensor& gate_up);
// Returns d_gate_up [T, 2F].
at::Tensor swiglu_backward(const at::Tensor& dh, const at::Tensor& gate_up);

}  // namespace decant
