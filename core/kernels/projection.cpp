#include "core/kernels/projection.h"

#include <ATen/ATen.h>

#include "core/error.h"
#include "core/kernels/plain.h"

namespace decant {

int64_t Projection::outputs() const { return weight.size(0); }
int64_t Projection::inputs() const { return weight.size(1); }

Projection make_projection(std::vector<Linear> linears) {
  TORCH_INTERNAL_ASSERT(!linears.empty());
  Projection projection;
  const auto inputs = linears[0].weight.value.size(1);
  const auto dtype = linears[0].weight.value.scalar_type();
  const bool biased = linears[0].bias.defined();
  std::vector<at::Tensor> weights, biases;
  for (const auto& one : linears) {
    check(one.weight.value.dim() == 2 && one.weight.value.size(1) == inputs, one.name, ".weight: expected ",
          inputs, " inputs as in ", linears[0].name, ".weight");
    check(one.weight.value.scalar_type() == dtype, one.name, ".weight: expected the dtype of ",
          linears[0].name, ".weight");
    check(one.bias.defined() == biased, one.name, ".bias: expected one exactly where ", linears[0].name,
          " has one");
    weights.push_back(one.weight.value);
    if (biased) biases.push_back(one.bias.value);
  }
  // One linear keeps its own storage.
  projection.weight = linears.size() == 1 ? weights[0].contiguous() : at::cat(weights, 0);
  if (biased) projection.bias = linears.size() == 1 ? biases[0].contiguous() : at::cat(biases, 0);
  int64_t row = 0;
  for (auto& one : linears) {
    const auto outputs = one.weight.value.size(0);
    one.weight.value = projection.weight.narrow(0, row, outputs);
    if (biased) one.bias.value = projection.bias.narrow(0, row, outputs);
    row += outputs;
  }
  projection.linears = std::move(linears);
  return projection;
}

at::Tensor project(const at::Tensor& x, const Projection& projection, ProjectionSaved* saved,
                   Panel /*panel*/) {
  return plain::project(x, projection, saved);
}

at::Tensor project_backward(const at::Tensor& dy, Projection& projection, const ProjectionSaved& saved,
                            bool need_dx) {
  return plain::project_backward(dy, projection, saved, need_dx);
}

}  // namespace decant
