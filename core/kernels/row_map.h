// An elementwise ATen function of a transcendental kind, row by row. ATen's vector loops end in scalar code
// whose exp and tanh differ in the last bit, and threads cut a tensor anywhere: over a whole tensor an
// element's bits depend on its place. By rows they depend on its column alone.
#pragma once

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>

namespace decant {

// x [n, w]; f(out, in) writes the function of `in` to `out` (at::tanh_out). Returns [n, w].
template <class F>
at::Tensor map_rows(const at::Tensor& given, const F& f) {
  const auto x = given.contiguous();
  auto y = at::empty(x.sizes(), x.options());
  if (!x.is_cpu()) {
    f(y, x);
    return y;
  }
  constexpr int64_t kPiece = 16384;  // below what ATen gives to several threads
  const auto width = x.size(1);
  at::parallel_for(0, x.size(0), std::max<int64_t>(1, kPiece / std::max<int64_t>(width, 1)),
                   [&](int64_t begin, int64_t end) {
                     for (int64_t row = begin; row < end; ++row)
                       for (int64_t first = 0; first < width; first += kPiece) {
                         const auto last = std::min(first + kPiece, width);
                         auto out = y.select(0, row).slice(0, first, last);
                         f(out, x.select(0, row).slice(0, first, last));
                       }
                   });
  return y;
}

}  // namespace decant
