// GeGLU's pointwise half with the tanh form of GELU (Shazeer, arXiv 2002.05202; gelu_pytorch_tanh): h =
// gelu(gate) * up. gelu in fp32, its result rounded to the dtype before the product, as swiglu.h.
#pragma once

#include <ATen/core/Tensor.h>

namespace decant {

// gate_up [T, 2F]: gate in the first F columns, up in the last. Returns [T, F].
at::Tensor geglu(const at::Tensor& gate_up);
// Returns d_gate_up [T, 2F].
at::Tensor geglu_backward(const at::Tensor& dh, const at::Tensor& gate_up);

}  // namespace decant
