#include "core/kernels/geglu.h"

#include <ATen/ATen.h>

#include <cmath>
#include <numbers>

#include "core/kernels/plain.h"
#include "core/kernels/row_map.h"

namespace decant {

namespace {

using plain::wide;

constexpr double kBeta = std::numbers::sqrt2 * std::numbers::inv_sqrtpi, kCubic = 0.044715;

// tanh of the inner polynomial.
at::Tensor inner_tanh(const at::Tensor& gate) {
  return map_rows(gate * (1 + kCubic * gate.square()) * kBeta,
                  [](at::Tensor& out, const at::Tensor& in) { at::tanh_out(out, in); });
}

}  // namespace

at::Tensor geglu(const at::Tensor& gate_up) {
  const auto width = gate_up.size(1) / 2;
  const auto gate = wide(gate_up.narrow(1, 0, width));
  return (0.5 * gate * (1 + inner_tanh(gate))).to(gate_up.scalar_type()) * gate_up.narrow(1, width, width);
}

// With t = tanh(u):  gelu' = (1 + t) / 2 + gate (1 - t^2) u' / 2,  u' = beta (1 + 3 cubic gate^2).
at::Tensor geglu_backward(const at::Tensor& dh, const at::Tensor& gate_up) {
  const auto width = gate_up.size(1) / 2;
  const auto gate = wide(gate_up.narrow(1, 0, width)), up = wide(gate_up.narrow(1, width, width)),
             d = wide(dh);
  const auto t = inner_tanh(gate);
  const auto gelu = wide((0.5 * gate * (1 + t)).to(gate_up.scalar_type()));
  const auto slope = 0.5 * (1 + t) + 0.5 * gate * (1 - t.square()) * kBeta * (1 + 3 * kCubic * gate.square());
  return at::cat({d * up * slope, d * gelu}, 1).to(gate_up.scalar_type());
}

}  // namespace decant
