#include "core/kernels/embedding.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>

#include "core/kernels/gemm.h"
#include "core/kernels/plain.h"
#include "core/kernels/tensor_rows.h"

namespace decant {

void add_embedding_gradient(at::Tensor& grad, const at::Tensor& tokens, const at::Tensor& dx) {
  TORCH_INTERNAL_ASSERT(tokens.numel() == dx.size(0) && grad.size(1) == dx.size(1));
  if (use_plain_kernels(dx) || grad.scalar_type() != at::kFloat || !grad.is_contiguous())
    return plain::add_embedding_gradient(grad, tokens, dx);
  constexpr int64_t kColumns = 64;     // whole cache lines of both
  constexpr int64_t kGrain = 1 << 15;  // additions worth a thread
  const auto ids = tokens.contiguous();
  const auto rows = with_plain_rows(dx);
  const auto* id = ids.const_data_ptr<int64_t>();
  auto* to = grad.mutable_data_ptr<float>();
  const auto count = ids.numel(), width = grad.size(1), stride = rows.stride(0);
  const auto stripes = (width + kColumns - 1) / kColumns;
  with_loops(rows, [&](const auto& loop, const auto* from) {
    at::parallel_for(0, stripes, std::max<int64_t>(1, kGrain / (kColumns * std::max<int64_t>(1, count))),
                     [&](int64_t begin, int64_t end) {
                       const auto first = begin * kColumns, columns = std::min(width, end * kColumns) - first;
                       for (int64_t t = 0; t < count; ++t)
                         loop.add_columns(to + id[t] * width + first, from + t * stride + first, stride, 1,
                                          columns);
                     });
  });
}

}  // namespace decant
