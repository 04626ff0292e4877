#include "core/kernels/gemm.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <atomic>
#include <cstdlib>
#include <string_view>

#include "core/kernels/loops.h"
#include "core/kernels/plain.h"
#include "core/kernels/tensor_rows.h"
#include "core/kernels/tile.h"
#include "core/kernels/tile_linear.h"

namespace decant {
namespace {

bool plain_in_environment() {
  const char* kernels = std::getenv("DECANT_KERNELS");
  return kernels != nullptr && std::string_view(kernels) == "plain";
}

std::atomic<bool>& plain_flag() {
  static std::atomic<bool> flag = plain_in_environment();
  return flag;
}

// MKL computes a float product of fewer than 9 columns as dot products whose order follows the alignment of a
// row; 16 columns never do.
constexpr int64_t kLeastColumns = 16;

// Elements of a weight that are widened to fp32 at one time: a large head as a whole would be more than a
// 4-bit model can spare.
constexpr int64_t kWidened = int64_t{1} << 26;

// x [T, A] times b [A, B] (+ bias) in panels.
at::Tensor panel_product(const at::Tensor& x, const at::Tensor& b, const at::Tensor& bias, Panel panel) {
  TORCH_INTERNAL_ASSERT(x.dim() == 2 && b.dim() == 2 && x.size(1) == b.size(0), "sizes ", x.sizes(), " and ",
                        b.sizes());
  TORCH_INTERNAL_ASSERT(x.scalar_type() == b.scalar_type(), "types ", x.scalar_type(), " and ",
                        b.scalar_type());
  const auto rows = x.size(0), columns = b.size(1), step = static_cast<int64_t>(panel);
  if (columns < kLeastColumns && x.scalar_type() == at::kFloat) {
    const auto wide_b = at::constant_pad_nd(b, {0, kLeastColumns - columns}, 0);
    const auto wide_bias = bias.defined() ? at::constant_pad_nd(bias, {0, kLeastColumns - columns}, 0) : bias;
    return panel_product(x, wide_b, wide_bias, panel).narrow(1, 0, columns).contiguous();
  }
  if (x.scalar_type() == at::kBFloat16) {
    // Without bf16 instructions ATen's bf16 product is many times slower than fp32's.
    if (b.numel() > kWidened) {
      auto y = at::empty({rows, columns}, x.options());
      const auto wide = x.to(at::kFloat);
      const auto block = std::max(kLeastColumns, kWidened / b.size(0));
      for (int64_t column = 0; column < columns; column += block) {
        const auto count = std::min(block, columns - column);
        y.narrow(1, column, count)
            .copy_(panel_product(wide, b.narrow(1, column, count).to(at::kFloat),
                                 bias.defined() ? bias.narrow(0, column, count).to(at::kFloat) : bias,
                                 panel));
      }
      return y;
    }
    return panel_product(x.to(at::kFloat), b.to(at::kFloat), bias.defined() ? bias.to(at::kFloat) : bias,
                         panel)
        .to(at::kBFloat16);
  }
  auto y = at::empty({rows, columns}, x.options());
  const auto multiply = [&](at::Tensor out, const at::Tensor& in) {
    if (bias.defined())
      at::addmm_out(out, bias, in, b);
    else
      at::mm_out(out, in, b);
  };
  int64_t row = 0;
  for (; row + step <= rows; row += step) multiply(y.narrow(0, row, step), x.narrow(0, row, step));
  if (row < rows) {
    auto in = at::zeros({step, x.size(1)}, x.options());
    auto out = at::empty({step, columns}, x.options());
    in.narrow(0, 0, rows - row).copy_(x.narrow(0, row, rows - row));
    multiply(out, in);
    y.narrow(0, row, rows - row).copy_(out.narrow(0, 0, rows - row));
  }
  return y;
}

// A weight [N, K] in bf16, as tiles' operand.
class PlainWeight {
 public:
  static constexpr int64_t kWide = 256, kDeep = 1024, kTokens = kPlainTokens;
  explicit PlainWeight(const at::Tensor& w) : w_(with_plain_rows(w)) {}
  LeftOperand left(int64_t row, int64_t rows, int64_t column, int64_t columns) const {
    const auto* from = words(w_) + row * w_.stride(0) + column;
    if (columns == padded_depth(columns)) return {from, w_.stride(0)};
    auto* to = room<uint16_t, 0>(rows * padded_depth(columns));
    loops()->bf16.copy_block(from, w_.stride(0), rows, columns, rows, padded_depth(columns), to);
    return {to, padded_depth(columns)};
  }
  void right(int64_t row, int64_t rows, int64_t column, int64_t columns, int64_t n, uint16_t* out) const {
    for (int64_t c = 0; c < columns; c += n)
      loops()->bf16.pack_rows(words(w_) + row * w_.stride(0) + column + c, w_.stride(0), rows,
                              std::min(n, columns - c), padded_depth(rows), n, out + c * padded_depth(rows));
  }

 private:
  at::Tensor w_;
};

// The same transposed, [K, N], for weights of few rows.
class TurnedWeight {
 public:
  static constexpr int64_t kWide = kTile, kDeep = 1024, kTokens = kPlainTokens;
  explicit TurnedWeight(const at::Tensor& w) : w_(with_plain_rows(w)) {}
  void right(int64_t row, int64_t rows, int64_t column, int64_t columns, int64_t n, uint16_t* out) const {
    for (int64_t c = 0; c < columns; c += n)
      loops()->bf16.pack_columns(words(w_) + (column + c) * w_.stride(0) + row, w_.stride(0),
                                 std::min(n, columns - c), rows, n, padded_depth(rows),
                                 out + c * padded_depth(rows));
  }

 private:
  at::Tensor w_;
};

void check_operands(const at::Tensor& x, const at::Tensor& w, int64_t inner) {
  TORCH_INTERNAL_ASSERT(x.dim() == 2 && w.dim() == 2 && x.size(1) == inner, "sizes ", x.sizes(), " and ",
                        w.sizes());
  TORCH_INTERNAL_ASSERT(x.scalar_type() == w.scalar_type(), "types ", x.scalar_type(), " and ",
                        w.scalar_type());
}

constexpr int64_t kSlice = 256;    // tokens summed by one block product
constexpr int64_t kGradRows = 64;  // block of the gradient
constexpr int64_t kGradColumns = 256;

int64_t blocks_of(int64_t n, int64_t block) { return (n + block - 1) / block; }

// grad [N, K] += factor a^T b for a [T, N], b [T, K], or with `transposed` grad [K, N] += factor b^T a. The
// block of a is what gets transposed, so the narrower operand is a.
void add_product(at::Tensor& grad, const at::Tensor& a, const at::Tensor& b, double factor, bool transposed) {
  using T = uint16_t;
  const auto& loop = loops()->bf16;
  const auto tokens = a.size(0), outputs = a.size(1), inputs = b.size(1);
  const auto height = std::min(kGradRows, round_up(outputs, 16)), width = block_width(inputs, kGradColumns);
  const auto slices = blocks_of(tokens, kSlice), row_blocks = blocks_of(outputs, height),
             column_blocks = blocks_of(inputs, width);
  // Blocks of b that are read once are packed where they are read.
  const auto packed_blocks = row_blocks == 1 ? 0 : column_blocks;
  auto packed_a = at::empty({row_blocks, slices, height * kSlice}, at::kBFloat16);
  auto packed_b = at::empty({packed_blocks, slices, width * kSlice}, at::kBFloat16);
  const auto* from_a = words(a);
  const auto* from_b = words(b);
  auto* to_a = words(packed_a);
  auto* to_b = words(packed_b);
  const auto pack_b = [&](int64_t block, int64_t slice, T* to) {
    const auto row = slice * kSlice, column = block * width;
    loop.pack_rows(from_b + row * b.stride(0) + column, b.stride(0), std::min(kSlice, tokens - row),
                   std::min(width, inputs - column), kSlice, width, to);
  };
  at::parallel_for(0, (row_blocks + packed_blocks) * slices, 4, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const auto block = i / slices, slice = i % slices, row = slice * kSlice, column = block * height;
      if (block < row_blocks)
        loop.transpose_block(from_a + row * a.stride(0) + column, a.stride(0), std::min(kSlice, tokens - row),
                             std::min(height, outputs - column), kSlice, height, to_a + i * height * kSlice);
      else
        pack_b(block - row_blocks, slice, to_b + (i - row_blocks * slices) * width * kSlice);
    }
  });
  auto* to = grad.data_ptr<float>();
  const auto stride = grad.stride(0);
  at::parallel_for(0, row_blocks * column_blocks, 1, [&](int64_t begin, int64_t end) {
    const TileScope scope;
    std::vector<float> tile(static_cast<size_t>(height * width)), turned;
    if (transposed) turned.resize(tile.size());
    for (int64_t i = begin; i < end; ++i) {
      const auto row = i / column_blocks, column = i % column_blocks;
      for (int64_t slice = 0; slice < slices; ++slice) {
        const T* left = to_a + (row * slices + slice) * height * kSlice;
        const T* right = to_b + (column * slices + slice) * width * kSlice;
        if (packed_blocks == 0) {
          auto* here = room<uint16_t, 6>(width * kSlice);
          pack_b(column, slice, here);
          right = here;
        }
        tile_product(height, width, kSlice, left, kSlice, right, width, tile.data(), width, slice > 0);
      }
      const auto first = row * height, second = column * width;
      const auto height_here = std::min(height, outputs - first),
                 width_here = std::min(width, inputs - second);
      if (transposed) {
        loops()->fp32.transpose_block(tile.data(), width, height_here, width_here, height, width,
                                      turned.data());
        loops()->fp32.add_scaled(to + second * stride + first, stride, turned.data(), height, width_here,
                                 height_here, static_cast<float>(factor));
      } else {
        loops()->fp32.add_scaled(to + first * stride + second, stride, tile.data(), width, height_here,
                                 width_here, static_cast<float>(factor));
      }
    }
  });
}

}  // namespace

bool use_plain_kernels(const at::Tensor& x) {
  return plain_flag() || !x.is_cpu() || x.scalar_type() == at::kDouble || loops() == nullptr;
}

void set_plain_kernels(bool plain) { plain_flag() = plain; }

at::Tensor linear(const at::Tensor& x, const at::Tensor& w, const at::Tensor& bias, Panel panel,
                  LowRankAdds adds) {
  if (use_plain_kernels(x)) {
    TORCH_INTERNAL_ASSERT(adds.empty());
    return plain::linear(x, w, bias);
  }
  if (!in_tiles(x)) {
    auto y = panel_product(x, w.t(), bias, panel);
    add_low_rank(y, adds, FactorLies::kTransposed);
    return y;
  }
  check_operands(x, w, w.size(1));
  auto y = at::empty({x.size(0), w.size(0)}, x.options());
  if (w.size(0) <= kTile && adds.empty() && panel != Panel::kDecode)
    tile_rows(x, TurnedWeight(w), bias, tile_of(panel), {}, y);
  else
    tile_linear(x, PlainWeight(w), bias, tile_of(panel), adds, y);
  return y;
}

at::Tensor linear_input_grad(const at::Tensor& dy, const at::Tensor& w, Panel panel, LowRankAdds adds) {
  if (use_plain_kernels(dy)) {
    TORCH_INTERNAL_ASSERT(adds.empty());
    return plain::linear_input_grad(dy, w);
  }
  if (!in_tiles(dy)) {
    auto dx = panel_product(dy, w, {}, panel);
    add_low_rank(dx, adds, FactorLies::kAsIs);
    return dx;
  }
  check_operands(dy, w, w.size(0));
  auto dx = at::empty({dy.size(0), w.size(1)}, dy.options());
  tile_rows(dy, PlainWeight(w), {}, tile_of(panel), adds, dx);
  return dx;
}

void add_weight_grad(at::Tensor& grad, const at::Tensor& dy, const at::Tensor& x, double factor) {
  TORCH_INTERNAL_ASSERT(grad.size(0) == dy.size(1) && grad.size(1) == x.size(1) && dy.size(0) == x.size(0));
  if (dy.size(0) == 0) return;
  if (use_plain_kernels(dy)) {
    plain::add_weight_grad(grad, factor == 1 ? dy : dy * factor, x);
  } else if (dy.scalar_type() == at::kBFloat16 && bf16_tiles()) {
    const auto left = with_plain_rows(dy), right = with_plain_rows(x);
    if (x.size(1) < dy.size(1) && x.size(1) <= 64)
      add_product(grad, right, left, factor, true);
    else
      add_product(grad, left, right, factor, false);
  } else {
    for (int64_t row = 0; row < dy.size(0); row += kSlice) {
      const auto end = std::min(row + kSlice, dy.size(0));
      grad.addmm_(dy.slice(0, row, end).to(at::kFloat).t(), x.slice(0, row, end).to(at::kFloat), 1, factor);
    }
  }
}

void add_bias_grad(at::Tensor& grad, const at::Tensor& dy) {
  if (use_plain_kernels(dy)) return plain::add_bias_grad(grad, dy);
  const auto rows = with_plain_rows(dy);
  with_loops(rows, [&](const auto& loop, auto* p) {
    loop.add_columns(grad.data_ptr<float>(), p, rows.stride(0), rows.size(0), rows.size(1));
  });
}

}  // namespace decant
