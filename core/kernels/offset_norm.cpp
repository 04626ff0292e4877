#include "core/kernels/offset_norm.h"

#include <ATen/ATen.h>

#include "core/kernels/plain.h"

namespace decant {

using plain::wide;

at::Tensor offset_rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps, RmsNormSaved* saved) {
  return rms_norm(wide(x), wide(weight) + 1, eps, saved).to(x.scalar_type());
}

at::Tensor offset_rms_norm_backward(const at::Tensor& dy, const at::Tensor& weight, const RmsNormSaved& saved,
                                    at::Tensor& weight_grad) {
  return rms_norm_backward(wide(dy), wide(weight) + 1, saved, weight_grad).to(dy.scalar_type());
}

}  // namespace decant
