#include "core/kernels/low_rank.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>

#include "core/kernels/dropout.h"
#include "core/kernels/tensor_rows.h"
#include "core/kernels/tile.h"

namespace decant {
namespace {

// bf16, where the machine cannot multiply it.
void add_wide(at::Tensor y, const LowRankAdd& add, bool transposed) {
  const auto b = add.b.to(at::kFloat);
  auto sum = y.to(at::kFloat).add_(at::mm(add.s.to(at::kFloat), transposed ? b.t() : b), add.factor);
  if (add.dropped.defined()) sum = at::where(dropped_elements(add.dropped, y.size(1)), y, sum);
  y.copy_(sum);
}

void add_one(at::Tensor y, const LowRankAdd& add, bool transposed) {
  if (y.scalar_type() == at::kBFloat16) return add_wide(y, add, transposed);
  constexpr int64_t kRows = 64, kColumns = 256;
  const auto& loop = loops()->fp32;
  const auto rows = y.size(0), columns = y.size(1), rank = add.rank(), deep = (rank + 31) / 32 * 32;
  const auto row_blocks = (rows + kRows - 1) / kRows, column_blocks = (columns + kColumns - 1) / kColumns;
  const auto right = at::empty({column_blocks, deep * kColumns}, y.options());
  const auto s = with_plain_rows(add.s), b = with_plain_rows(add.b);
  const auto factor = static_cast<float>(add.factor);
  auto* to = y.data_ptr<float>();
  for (int64_t c = 0; c < column_blocks; ++c) {
    const auto first = c * kColumns, n = std::min(kColumns, columns - first);
    auto* packed = right.data_ptr<float>() + c * deep * kColumns;
    if (transposed)
      loop.pack_columns(b.data_ptr<float>() + first * b.stride(0), b.stride(0), n, rank, kColumns, deep,
                        packed);
    else
      loop.pack_rows(b.data_ptr<float>() + first, b.stride(0), rank, n, deep, kColumns, packed);
  }
  at::parallel_for(0, row_blocks, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> left(static_cast<size_t>(kRows * deep)), delta(static_cast<size_t>(kRows * kColumns));
    for (int64_t block = begin; block < end; ++block) {
      const auto row = block * kRows, m = std::min(kRows, rows - row);
      loop.copy_block(s.data_ptr<float>() + row * s.stride(0), s.stride(0), m, rank, kRows, deep,
                      left.data());
      for (int64_t c = 0; c < column_blocks; ++c) {
        tile_product(kRows, kColumns, deep, left.data(), deep, right.data_ptr<float>() + c * deep * kColumns,
                     kColumns, delta.data(), kColumns, false);
        auto* here = to + row * y.stride(0) + c * kColumns;
        const auto n = std::min(kColumns, columns - c * kColumns);
        if (add.dropped.defined())
          loop.add_scaled_kept(
              here, y.stride(0), delta.data(), kColumns,
              add.dropped.const_data_ptr<uint8_t>() + row * add.dropped.size(1) + c * kColumns / 8,
              add.dropped.size(1), m, n, factor);
        else
          loop.add_scaled(here, y.stride(0), delta.data(), kColumns, m, n, factor);
      }
    }
  });
}

}  // namespace

void add_low_rank(at::Tensor y, LowRankAdds adds, FactorLies lies) {
  const bool transposed = lies == FactorLies::kTransposed;
  for (const auto& add : adds)
    add_one(y.slice(0, add.begin, add.end).narrow(1, add.column, add.b.size(transposed ? 0 : 1)), add,
            transposed);
}

}  // namespace decant
