#include "core/kernels/rms_norm.h"

#include <ATen/ATen.h>

#include "core/kernels/plain.h"

namespace decant {

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps, RmsNormSaved* saved) {
  return plain::rms_norm(x, weight, eps, saved);
}

at::Tensor add_rms_norm(const at::Tensor& residual, const at::Tensor& delta, const at::Tensor& weight,
                        double eps, at::Tensor* sum, RmsNormSaved* saved) {
  *sum = residual + delta;
  return plain::rms_norm(*sum, weight, eps, saved);
}

at::Tensor rms_norm_backward(const at::Tensor& dy, const at::Tensor& weight, const RmsNormSaved& saved,
                             at::Tensor& weight_grad) {
  return plain::rms_norm_backward(dy, weight, saved, weight_grad);
}

}  // namespace decant
