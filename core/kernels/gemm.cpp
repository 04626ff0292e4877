#include "core/kernels/gemm.h"

#include <ATen/ATen.h>

#include <atomic>
#include <cstdlib>
#include <string_view>

#include "core/kernels/plain.h"

namespace decant {
namespace {

bool plain_in_environment() {
  const char* kernels = std::getenv("DECANT_KERNELS");
  return kernels != nullptr && std::string_view(kernels) == "plain";
}

std::atomic<bool>& plain_flag() {
  static std::atomic<bool> flag = plain_in_environment();
  return flag;
}

}  // namespace

bool use_plain_kernels(const at::Tensor& x) {
  return plain_flag() || !x.is_cpu() || x.scalar_type() == at::kDouble;
}

void set_plain_kernels(bool plain) { plain_flag() = plain; }

at::Tensor linear(const at::Tensor& x, const at::Tensor& w, const at::Tensor& bias, Panel /*panel*/) {
  return plain::linear(x, w, bias);
}

at::Tensor linear_input_grad(const at::Tensor& dy, const at::Tensor& w, Panel /*panel*/) {
  return plain::linear_input_grad(dy, w);
}

void add_weight_grad(at::Tensor& grad, const at::Tensor& dy, const at::Tensor& x) {
  plain::add_weight_grad(grad, dy, x);
}

void add_bias_grad(at::Tensor& grad, const at::Tensor& dy) { plain::add_bias_grad(grad, dy); }

}  // namespace decant
