#include "core/kernels/swiglu.h"

#include <ATen/ATen.h>

#include "core/kernels/plain.h"

namespace decant {

at::Tensor swiglu(const at::Tensor& gate_up) { return plain::swiglu(gate_up); }

at::Tensor swiglu_backward(const at::Tensor& dh, const at::Tensor& gate_up) {
  return plain::swiglu_backward(dh, gate_up);
}

}  // namespace decant
