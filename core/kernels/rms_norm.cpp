#include "core/kernels/rms_norm.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "core/kernels/gemm.h"
#include "core/kernels/plain.h"
#include "core/kernels/tensor_rows.h"

namespace decant {
namespace {

// Rows whose weight gradients one slice sums; slices are added in order.
constexpr int64_t kSlice = 128;

at::Tensor norm(const at::Tensor& given, const at::Tensor* delta, const at::Tensor& weight, double eps,
                at::Tensor* sum, RmsNormSaved* saved) {
  const auto x = given.contiguous();
  const auto width = x.size(-1), rows = width == 0 ? 0 : x.numel() / width;
  auto y = at::empty(x.sizes(), x.options());
  at::Tensor inverse;
  if (saved != nullptr)
    inverse = at::empty(x.sizes().slice(0, static_cast<size_t>(x.dim() - 1)), x.options().dtype(at::kFloat));
  const auto added = delta != nullptr ? delta->contiguous() : at::Tensor();
  if (delta != nullptr) *sum = at::empty(x.sizes(), x.options());
  with_loops(x, [&](const auto& loop, auto* px) {
    using T = std::remove_pointer_t<decltype(px)>;
    at::parallel_for(0, rows, kRowGrain, [&](int64_t begin, int64_t end) {
      const auto at = begin * width;
      loop.rms_norm(px + at, delta != nullptr ? values<T>(added) + at : nullptr, values<T>(weight),
                    end - begin, width, static_cast<float>(eps),
                    delta != nullptr ? values<T>(*sum) + at : nullptr, values<T>(y) + at,
                    saved != nullptr ? inverse.data_ptr<float>() + begin : nullptr);
    });
  });
  if (saved != nullptr) *saved = {delta != nullptr ? *sum : x, inverse};
  return y;
}

}  // namespace

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps, RmsNormSaved* saved) {
  if (use_plain_kernels(x)) return plain::rms_norm(x, weight, eps, saved);
  return norm(x, nullptr, weight, eps, nullptr, saved);
}

at::Tensor add_rms_norm(const at::Tensor& residual, const at::Tensor& delta, const at::Tensor& weight,
                        double eps, at::Tensor* sum, RmsNormSaved* saved) {
  if (use_plain_kernels(residual)) {
    *sum = residual + delta;
    return plain::rms_norm(*sum, weight, eps, saved);
  }
  at::Tensor total;
  auto y = norm(residual, &delta, weight, eps, &total, saved);
  *sum = total;
  return y;
}

at::Tensor rms_norm_backward(const at::Tensor& dy_given, const at::Tensor& weight, const RmsNormSaved& saved,
                             at::Tensor& weight_grad) {
  if (use_plain_kernels(dy_given)) return plain::rms_norm_backward(dy_given, weight, saved, weight_grad);
  const auto dy = dy_given.contiguous(), x = saved.x.contiguous();
  const auto width = x.size(-1), rows = width == 0 ? 0 : x.numel() / width,
             slices = (rows + kSlice - 1) / kSlice;
  auto dx = at::empty(x.sizes(), x.options());
  at::Tensor parts;
  if (weight_grad.defined()) parts = at::zeros({slices, width}, x.options().dtype(at::kFloat));
  with_loops(x, [&](const auto& loop, auto* px) {
    using T = std::remove_pointer_t<decltype(px)>;
    at::parallel_for(0, slices, 1, [&](int64_t begin, int64_t end) {
      for (int64_t slice = begin; slice < end; ++slice) {
        const auto row = slice * kSlice, at = row * width;
        loop.rms_norm_backward(values<T>(dy) + at, values<T>(weight), px + at,
                               saved.inverse.data_ptr<float>() + row, std::min(kSlice, rows - row), width,
                               values<T>(dx) + at,
                               parts.defined() ? parts.data_ptr<float>() + slice * width : nullptr);
      }
    });
  });
  if (parts.defined() && slices > 0) {
    loops()->fp32.add_columns(weight_grad.data_ptr<float>(), parts.data_ptr<float>(), width, slices, width);
  }
  return dx;
}

}  // namespace decant
