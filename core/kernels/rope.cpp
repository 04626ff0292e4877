#include "core/kernels/rope.h"

#include <ATen/ATen.h>

#include "core/kernels/plain.h"

namespace decant {

void rope_(at::Tensor& x, const at::Tensor& positions, const RopeTable& table) {
  x.copy_(plain::rope(x, positions, table, 1));
}

void rope_backward_(at::Tensor& dx, const at::Tensor& positions, const RopeTable& table) {
  dx.copy_(plain::rope(dx, positions, table, -1));
}

}  // namespace decant
