// The way from tensors to the loops of loops.h.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>

#include "core/kernels/loops.h"

namespace decant {

inline uint16_t* words(const at::Tensor& x) {
  return reinterpret_cast<uint16_t*>(x.data_ptr<at::BFloat16>());
}

template <class T>
T* values(const at::Tensor& x) {
  if constexpr (sizeof(T) == 2)
    return words(x);
  else
    return x.data_ptr<T>();
}

// The last dimension contiguous.
inline at::Tensor with_plain_rows(const at::Tensor& x) { return x.stride(-1) == 1 ? x : x.contiguous(); }

// Calls f(loops for x's type, pointer to x's values). x is bf16 or fp32 on the CPU.
template <class F>
auto with_loops(const at::Tensor& x, const F& f) {
  TORCH_INTERNAL_ASSERT(x.is_cpu());
  if (x.scalar_type() == at::kBFloat16) return f(loops()->bf16, words(x));
  TORCH_INTERNAL_ASSERT(x.scalar_type() == at::kFloat, "a kernel got ", x.scalar_type());
  return f(loops()->fp32, x.data_ptr<float>());
}

constexpr int64_t kRowGrain = 16;  // rows a thread takes at a time

}  // namespace decant
