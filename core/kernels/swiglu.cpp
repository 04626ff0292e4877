#include "core/kernels/swiglu.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "core/kernels/gemm.h"
#include "core/kernels/plain.h"
#include "core/kernels/tensor_rows.h"

namespace decant {

at::Tensor swiglu(const at::Tensor& gate_up) {
  if (use_plain_kernels(gate_up)) return plain::swiglu(gate_up);
  const auto x = gate_up.contiguous();
  const auto rows = x.size(0), width = x.size(1) / 2;
  auto h = at::empty({rows, width}, x.options());
  with_loops(x, [&](const auto& loop, auto* p) {
    using T = std::remove_pointer_t<decltype(p)>;
    at::parallel_for(0, rows, kRowGrain, [&](int64_t begin, int64_t end) {
      loop.swiglu(p + begin * 2 * width, end - begin, width, values<T>(h) + begin * width);
    });
  });
  return h;
}

at::Tensor swiglu_backward(const at::Tensor& dh_given, const at::Tensor& gate_up) {
  if (use_plain_kernels(gate_up)) return plain::swiglu_backward(dh_given, gate_up);
  const auto x = gate_up.contiguous(), dh = dh_given.contiguous();
  const auto rows = x.size(0), width = x.size(1) / 2;
  auto dx = at::empty(x.sizes(), x.options());
  with_loops(x, [&](const auto& loop, auto* p) {
    using T = std::remove_pointer_t<decltype(p)>;
    at::parallel_for(0, rows, kRowGrain, [&](int64_t begin, int64_t end) {
      loop.swiglu_backward(values<T>(dh) + begin * width, p + begin * 2 * width, end - begin, width,
                           values<T>(dx) + begin * 2 * width);
    });
  });
  return dx;
}

}  // namespace decant
