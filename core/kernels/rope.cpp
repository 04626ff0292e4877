#include "core/kernels/rope.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "core/kernels/gemm.h"
#include "core/kernels/plain.h"
#include "core/kernels/tensor_rows.h"

namespace decant {
namespace {

void turn(at::Tensor& x, const at::Tensor& positions, const RopeTable& table, float sign) {
  if (use_plain_kernels(x)) {
    x.copy_(plain::rope(x, positions, table, sign));
    return;
  }
  const auto tokens = x.size(0), heads = x.size(1), width = x.size(2), half = width / 2;
  TORCH_INTERNAL_ASSERT(x.stride(2) == 1 && table.cos.size(1) == half && table.cos.is_contiguous() &&
                        table.sin.is_contiguous());
  TORCH_INTERNAL_ASSERT(positions.numel() == tokens && positions.is_contiguous());
  const auto* position = positions.data_ptr<int64_t>();
  const auto known = table.cos.size(0);
  for (int64_t t = 0; t < tokens; ++t)
    TORCH_INTERNAL_ASSERT(position[t] >= 0 && position[t] < known, "position ", position[t],
                          " of a table of ", known);
  with_loops(x, [&](const auto& loop, auto* p) {
    at::parallel_for(0, tokens, kRowGrain, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t)
        loop.rope(p + t * x.stride(0), heads, x.stride(1), width,
                  table.cos.data_ptr<float>() + position[t] * half,
                  table.sin.data_ptr<float>() + position[t] * half, sign);
    });
  });
}

}  // namespace

void rope_(at::Tensor& x, const at::Tensor& positions, const RopeTable& table) {
  turn(x, positions, table, 1);
}

void rope_backward_(at::Tensor& dx, const at::Tensor& positions, const RopeTable& table) {
  turn(dx, positions, table, -1);
}

}  // namespace decant
