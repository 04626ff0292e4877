#include "core/kernels/tile.h"

#include <ATen/ATen.h>
#include <ATen/native/CPUBlas.h>

#include "core/instruction_set.h"

namespace decant {
namespace {

namespace blas = at::native::cpublas;

// ATen says no by throwing; a product of ones is tried once.
template <class T>
bool works(T one) {
  constexpr int64_t kSize = 32;
  const std::vector<T> ones(kSize * kSize, one);
  std::vector<float> c(kSize * kSize, 0);
  try {
    blas::brgemm(kSize, kSize, kSize, kSize, kSize, kSize, false, ones.data(), ones.data(), c.data(),
                 sizeof(T) == 2);
    blas::brgemm_release(sizeof(T) == 2);
  } catch (const c10::Error&) {
    return false;
  }
  return std::all_of(c.begin(), c.end(), [](float x) { return x == static_cast<float>(kSize); });
}

bool float_tiles() {
  static const bool works_here = works(1.0F);
  return works_here;
}

}  // namespace

bool bf16_tiles() {
  static const bool works_here = instruction_set() >= InstructionSet::kAvx512 && works(at::BFloat16(1.0F));
  return works_here;
}

void tile_product(int64_t m, int64_t n, int64_t k, const uint16_t* a, int64_t a_stride, const uint16_t* b,
                  int64_t b_stride, float* c, int64_t c_stride, bool add) {
  blas::brgemm(m, n, k, a_stride, b_stride, c_stride, add, reinterpret_cast<const at::BFloat16*>(a),
               reinterpret_cast<const at::BFloat16*>(b), c, true);
}

void tile_product(int64_t m, int64_t n, int64_t k, const float* a, int64_t a_stride, const float* b,
                  int64_t b_stride, float* c, int64_t c_stride, bool add) {
  if (float_tiles()) {
    blas::brgemm(m, n, k, a_stride, b_stride, c_stride, add, a, b, c, false);
    return;
  }
  const auto view = [](const float* p, int64_t rows, int64_t columns, int64_t stride) {
    return at::from_blob(const_cast<float*>(p), {rows, columns}, {stride, 1}, at::kFloat);
  };
  auto out = view(c, m, n, c_stride);
  if (add)
    out.addmm_(view(a, m, k, a_stride), view(b, k, n, b_stride));
  else
    at::mm_out(out, view(a, m, k, a_stride), view(b, k, n, b_stride));
}

TileScope::~TileScope() {
  if (bf16_tiles()) blas::brgemm_release(true);
}

}  // namespace decant
