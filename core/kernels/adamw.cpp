#include "core/kernels/adamw.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <cmath>

#include "core/kernels/gemm.h"
#include "core/kernels/plain.h"
#include "core/kernels/tensor_rows.h"
#include "core/random.h"

namespace decant {
namespace {

constexpr int64_t kGrain = 1 << 14;
constexpr int64_t kSlice = 1 << 16;  // elements that one partial sum covers

AdamwNumbers numbers(const AdamwStep& step) {
  const auto n = static_cast<double>(step.step);
  const double c1 = 1 - std::pow(step.beta1, n), c2 = 1 - std::pow(step.beta2, n);
  const auto f = [](double x) { return static_cast<float>(x); };
  return {f(step.gradient_scale),
          f(1 - step.learning_rate * step.weight_decay),
          f(step.beta1),
          f(step.beta2),
          f(1 - step.beta1),
          f(1 - step.beta2),
          f(step.learning_rate / c1),
          f(1 / std::sqrt(c2)),
          f(step.epsilon)};
}

void check_state(const at::Tensor& master, const at::Tensor& m, const at::Tensor& v, const at::Tensor& grad) {
  for (const auto* x : {&master, &m, &v, &grad})
    TORCH_INTERNAL_ASSERT(x->is_contiguous() && x->numel() == master.numel(),
                          "AdamW needs contiguous tensors of one shape");
}

}  // namespace

void adamw(at::Tensor& master, at::Tensor& m, at::Tensor& v, const at::Tensor& grad, at::Tensor& compute,
           const AdamwStep& step) {
  check_state(master, m, v, grad);
  if (use_plain_kernels(master)) return plain::adamw(master, m, v, grad, compute, step);
  const auto k = numbers(step);
  auto* w = master.data_ptr<float>();
  const bool rounded = compute.defined() && compute.scalar_type() == at::kBFloat16 && compute.is_contiguous();
  at::parallel_for(0, master.numel(), kGrain, [&](int64_t begin, int64_t end) {
    loops()->adamw(w + begin, m.data_ptr<float>() + begin, v.data_ptr<float>() + begin,
                   grad.data_ptr<float>() + begin, rounded ? words(compute) + begin : nullptr, end - begin,
                   k);
  });
  if (compute.defined() && !rounded && compute.data_ptr() != master.data_ptr()) compute.copy_(master);
}

void adamw_stochastic(at::Tensor& weight_bf16, at::Tensor& m, at::Tensor& v, const at::Tensor& grad,
                      const AdamwStep& step, uint64_t seed, uint64_t stream) {
  check_state(weight_bf16, m, v, grad);
  if (use_plain_kernels(weight_bf16))
    return plain::adamw_stochastic(weight_bf16, m, v, grad, step, seed, stream);
  const auto k = numbers(step);
  const auto n = weight_bf16.numel();
  constexpr int64_t kBlock = 1024;  // one Philox draw serves eight elements
  at::parallel_for(0, (n + kBlock - 1) / kBlock, kGrain / kBlock, [&](int64_t begin, int64_t end) {
    uint16_t noise[kBlock];
    for (int64_t block = begin; block < end; ++block) {
      const auto first = block * kBlock, count = std::min(kBlock, n - first);
      for (int64_t i = 0; i < count; i += 8) {
        const auto draw = philox(seed, stream, static_cast<uint64_t>((first + i) / 8));
        for (size_t j = 0; j < 8; ++j)
          noise[static_cast<size_t>(i) + j] = static_cast<uint16_t>(draw[j / 2] >> (16 * (j % 2)));
      }
      loops()->adamw_stochastic(words(weight_bf16) + first, m.data_ptr<float>() + first,
                                v.data_ptr<float>() + first, grad.data_ptr<float>() + first, noise, count, k);
    }
  });
}

double sum_of_squares(const at::Tensor& x) {
  if (use_plain_kernels(x) || x.scalar_type() != at::kFloat || !x.is_contiguous())
    return plain::sum_of_squares(x);
  const auto n = x.numel(), slices = (n + kSlice - 1) / kSlice;
  std::vector<double> sums(static_cast<size_t>(slices));
  at::parallel_for(0, slices, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      sums[static_cast<size_t>(i)] =
          loops()->sum_of_squares(x.data_ptr<float>() + i * kSlice, std::min(kSlice, n - i * kSlice));
  });
  double total = 0;
  for (const double sum : sums) total += sum;
  return total;
}

}  // namespace decant
