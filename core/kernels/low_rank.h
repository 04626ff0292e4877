// What low-rank terms (projection.h) add to a product of token rows.
//
// Legend: R rank.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

namespace decant {

// y[begin:end, column:column + N] += factor s b^T, where b lies as its adapter stores it.
struct LowRankAdd {
  int64_t begin = 0, end = 0;  // rows of y
  int64_t column = 0;          // first column of y
  at::Tensor s;                // [end - begin, R]
  at::Tensor b;                // [N, R] in a forward product (lora_B); [R, N] in an input gradient (lora_A)
  double factor = 1;
  at::Tensor dropped = {};  // elements that stay as they are (dropout.h); undefined: none

  int64_t rank() const { return s.size(1); }
};
using LowRankAdds = std::span<const LowRankAdd>;

enum class FactorLies { kTransposed, kAsIs };  // b is [N, R], or [R, N]

// The same after the product, in place: what products do that are not made in tiles (tile_linear.h). Sums in
// fp32 blocks, never at full width.
void add_low_rank(at::Tensor y, LowRankAdds adds, FactorLies lies);

}  // namespace decant
