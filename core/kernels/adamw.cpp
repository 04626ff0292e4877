#include "core/kernels/adamw.h"

#include <ATen/ATen.h>

#include "core/kernels/plain.h"

namespace decant {

void adamw(at::Tensor& master, at::Tensor& m, at::Tensor& v, const at::Tensor& grad, at::Tensor& compute,
           const AdamwStep& step) {
  plain::adamw(master, m, v, grad, compute, step);
}

void adamw_stochastic(at::Tensor& weight_bf16, at::Tensor& m, at::Tensor& v, const at::Tensor& grad,
                      const AdamwStep& step, uint64_t seed, uint64_t stream) {
  plain::adamw_stochastic(weight_bf16, m, v, grad, step, seed, stream);
}

double sum_of_squares(const at::Tensor& x) { return plain::sum_of_squares(x); }

}  // namespace decant
