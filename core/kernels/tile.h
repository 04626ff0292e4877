// Products of small blocks that lie in the cache, with fp32 results: oneDNN's batch-reduce kernels through
// ATen (AVX-512 BF16 and AMX for bf16), or ATen's mm where those are missing. bf16 values are uint16_t, as in
// loops.h.
#pragma once

#include <cstdint>

namespace decant {

// Whether bf16 blocks can be multiplied; where not, callers convert to float.
bool bf16_tiles();

// c [m, n] = a [m, k] b (+ c with `add`). b as loops().pack_rows or pack_columns lay it out: float [k][n],
// bf16 [k / 2][n][2]. Every shape is compiled once: use few.
void tile_product(int64_t m, int64_t n, int64_t k, const uint16_t* a, int64_t a_stride, const uint16_t* b,
                  int64_t b_stride, float* c, int64_t c_stride, bool add);
void tile_product(int64_t m, int64_t n, int64_t k, const float* a, int64_t a_stride, const float* b,
                  int64_t b_stride, float* c, int64_t c_stride, bool add);

// At the end of a thread's products (gives the matrix unit's state back).
struct TileScope {
  TileScope() = default;
  TileScope(const TileScope&) = delete;
  TileScope& operator=(const TileScope&) = delete;
  ~TileScope();
};

}  // namespace decant
