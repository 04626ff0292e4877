#include "core/kernels/quantized_gemm.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>

#include "core/kernels/plain.h"
#include "core/kernels/quantized_loops.h"
#include "core/kernels/tensor_rows.h"
#include "core/kernels/tile.h"

namespace decant {

namespace {

// Blocks of the weight: kWide of the result's columns by kDeep summed ones; both stay in the second-level
// cache.
constexpr int64_t kWide = 256, kDeep = 512, kTile = 64;
constexpr int64_t kTokensAtOnce = 1024;  // a block is dequantised once for these
constexpr int64_t kDepthUnit = 32;
constexpr int64_t kPanelBytes = int64_t{1} << 21;  // where gemm.h multiplies

int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

int64_t outputs_of(const StackedWeights& weights) {
  int64_t rows = 0;
  for (const auto* w : weights) rows += w->outputs;
  return rows;
}

at::Tensor whole(const StackedWeights& weights, at::ScalarType dtype) {
  std::vector<at::Tensor> parts;
  for (const auto* w : weights) parts.push_back(dequantize(*w, dtype));
  return parts.size() == 1 ? parts[0] : at::cat(parts, 0);
}

// The stack with its absmax decoded, for one product.
class Stack {
 public:
  explicit Stack(const StackedWeights& weights) : weights_(weights) {
    for (const auto* w : weights) absmax_.push_back(absmax_of(*w));
  }

  // Rows and columns of the stack -> to.
  template <class T>
  void dequantize(int64_t row, int64_t rows, int64_t column, int64_t columns, T* to, int64_t stride) const {
    int64_t begin = 0;
    for (size_t i = 0; i < weights_.size(); ++i) {
      const auto& w = *weights_[i];
      const int64_t from = std::max(row, begin), end = std::min(row + rows, begin + w.outputs);
      if (from < end)
        dequantize_block(w, absmax_[i].const_data_ptr<float>(), from - begin, end - from, column, columns,
                         to + (from - row) * stride, stride);
      begin += w.outputs;
    }
  }

 private:
  const StackedWeights& weights_;
  std::vector<at::Tensor> absmax_;
};

// Room of a thread, kept from call to call.
template <class T, int which>
T* room(int64_t elements) {
  thread_local std::vector<T> values;
  if (values.size() < static_cast<size_t>(elements)) values.resize(static_cast<size_t>(elements));
  return values.data();
}

// y^T = w x^T, block by block of w's rows: so the weight is a left operand, which lies as it is dequantised,
// and the transposing is left to x and y, which are small.
void tile_linear(const at::Tensor& x, const Stack& stack, const at::Tensor& bias, int64_t tile,
                 at::Tensor y) {
  const int64_t rows = x.size(0), inputs = x.size(1), outputs = y.size(1);
  const int64_t tiles = round_up(rows, tile) / tile, deep = round_up(inputs, kDepthUnit);
  const auto packed = at::empty({tiles, deep * tile}, x.options());
  at::parallel_for(0, tiles, 1, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      loops()->bf16.pack_columns(words(x) + t * tile * x.stride(0), x.stride(0),
                                 std::min(tile, rows - t * tile), inputs, tile, deep,
                                 words(packed) + t * deep * tile);
  });
  at::parallel_for(0, round_up(outputs, kWide) / kWide, 1, [&](int64_t begin, int64_t end) {
    const TileScope scope;
    auto* w = room<uint16_t, 0>(kWide * kDeep);
    auto* c = room<float, 1>(tiles * kWide * tile);
    for (int64_t block = begin; block < end; ++block) {
      const int64_t first = block * kWide, wide = std::min(kWide, outputs - first),
                    high = round_up(wide, kTile);
      for (int64_t q = 0; q < inputs; q += kDeep) {
        const int64_t width = std::min(kDeep, inputs - q), depth = round_up(width, kDepthUnit);
        if (high != wide || depth != width) std::fill_n(w, high * depth, uint16_t{0});
        stack.dequantize(first, wide, q, width, w, depth);
        for (int64_t t = 0; t < tiles; ++t)
          for (int64_t r = 0; r < high; r += kTile)
            tile_product(kTile, tile, depth, w + r * depth, depth, words(packed) + (t * deep + q) * tile,
                         tile, c + (t * kWide + r) * tile, tile, q > 0);
      }
      for (int64_t t = 0; t < tiles; ++t)
        quantized_loops()->store_transposed(
            c + t * kWide * tile, tile, bias.defined() ? words(bias) + first : nullptr,
            std::min(tile, rows - t * tile), wide, words(y) + t * tile * y.stride(0) + first, y.stride(0));
    }
  });
}

// Block by block of w's columns; its rows, interleaved in pairs, are a right operand.
void tile_input_grad(const at::Tensor& dy, const Stack& stack, at::Tensor dx) {
  const int64_t rows = dx.size(0), inputs = dx.size(1), outputs = dy.size(1),
                tiles = round_up(rows, kTile) / kTile;
  at::parallel_for(0, round_up(inputs, kWide) / kWide, 1, [&](int64_t begin, int64_t end) {
    const TileScope scope;
    auto* w = room<uint16_t, 0>(kWide * kDeep);
    auto* pair = room<uint16_t, 2>(2 * kWide);
    auto* c = room<float, 1>(tiles * kTile * kWide);
    for (int64_t block = begin; block < end; ++block) {
      const int64_t first = block * kWide, width = std::min(kWide, inputs - first),
                    wide = round_up(width, kTile);
      for (int64_t p = 0; p < outputs; p += kDeep) {
        const int64_t depth = std::min(kDeep, outputs - p);  // even: dy is padded
        std::fill_n(pair, 2 * wide, uint16_t{0});
        for (int64_t r = 0; r < depth; r += 2) {
          // Rows beyond the weight's last one stay what they were: dy is 0 there.
          stack.dequantize(p + r, 2, first, width, pair, wide);
          loops()->bf16.pack_rows(pair, wide, 2, wide, 2, wide, w + r * wide);
        }
        for (int64_t t = 0; t < tiles; ++t)
          tile_product(kTile, wide, depth, words(dy) + t * kTile * dy.stride(0) + p, dy.stride(0), w, wide,
                       c + t * kTile * wide, wide, p > 0);
      }
      for (int64_t t = 0; t < tiles; ++t)
        loops()->bf16.store_block(c + t * kTile * wide, wide, false, std::min(kTile, rows - t * kTile), width,
                                  words(dx) + t * kTile * dx.stride(0) + first, dx.stride(0));
    }
  });
}

// x with zero rows and columns up to multiples of the units.
at::Tensor padded(const at::Tensor& x, int64_t row_unit, int64_t column_unit) {
  const int64_t rows = round_up(x.size(0), row_unit), columns = round_up(x.size(1), column_unit);
  if (rows == x.size(0) && columns == x.size(1)) return with_plain_rows(x);
  auto out = at::zeros({rows, columns}, x.options());
  out.narrow(0, 0, x.size(0)).narrow(1, 0, x.size(1)).copy_(x);
  return out;
}

at::Tensor dequantized(const Stack& stack, int64_t row, int64_t rows, int64_t column, int64_t columns,
                       const at::TensorOptions& options) {
  const auto out = at::empty({rows, columns}, options);
  at::parallel_for(0, rows, 16, [&](int64_t begin, int64_t end) {
    if (out.scalar_type() == at::kBFloat16)
      stack.dequantize(row + begin, end - begin, column, columns, words(out) + begin * columns, columns);
    else
      stack.dequantize(row + begin, end - begin, column, columns, out.data_ptr<float>() + begin * columns,
                       columns);
  });
  return out;
}

bool in_tiles(const at::Tensor& x) { return x.scalar_type() == at::kBFloat16 && bf16_tiles(); }

int64_t panel_of(int64_t other, const at::Tensor& x) {
  return std::max<int64_t>(kTile, kPanelBytes / (other * x.element_size()) / kTile * kTile);
}

}  // namespace

at::Tensor linear(const at::Tensor& x, const StackedWeights& weights, const at::Tensor& bias, Panel panel) {
  if (use_plain_kernels(x)) return plain::linear(x, whole(weights, x.scalar_type()), bias);
  const int64_t rows = x.size(0), inputs = weights.at(0)->inputs, outputs = outputs_of(weights);
  TORCH_INTERNAL_ASSERT(x.size(1) == inputs);
  const Stack stack(weights);
  auto y = at::empty({rows, outputs}, x.options());
  if (in_tiles(x)) {
    const auto in = with_plain_rows(x);
    for (int64_t row = 0; row < rows; row += kTokensAtOnce) {
      const int64_t some = std::min(kTokensAtOnce, rows - row);
      tile_linear(in.narrow(0, row, some), stack, bias, std::min(kTile, static_cast<int64_t>(panel)),
                  y.narrow(0, row, some));
    }
    return y;
  }
  const auto in = padded(x, static_cast<int64_t>(panel), 1);  // once, not for each panel of weights
  const int64_t step = panel_of(inputs, x);
  for (int64_t row = 0; row < outputs; row += step) {
    const int64_t some = std::min(step, outputs - row);
    const auto part = linear(in, dequantized(stack, row, some, 0, inputs, x.options()),
                             bias.defined() ? bias.narrow(0, row, some) : bias, panel);
    y.narrow(1, row, some).copy_(part.narrow(0, 0, rows));
  }
  return y;
}

at::Tensor linear_input_grad(const at::Tensor& dy, const StackedWeights& weights) {
  if (use_plain_kernels(dy)) return plain::linear_input_grad(dy, whole(weights, dy.scalar_type()));
  const int64_t rows = dy.size(0), inputs = weights.at(0)->inputs, outputs = outputs_of(weights);
  TORCH_INTERNAL_ASSERT(dy.size(1) == outputs);
  const Stack stack(weights);
  auto dx = at::empty({rows, inputs}, dy.options());
  if (in_tiles(dy)) {
    const auto in = padded(dy, kTile, kDepthUnit);
    for (int64_t row = 0; row < rows; row += kTokensAtOnce) {
      const int64_t some = std::min(kTokensAtOnce, rows - row);
      tile_input_grad(in.narrow(0, row, round_up(some, kTile)), stack, dx.narrow(0, row, some));
    }
    return dx;
  }
  const auto in = padded(dy, static_cast<int64_t>(Panel::kTraining), 1);
  const int64_t step = panel_of(outputs, dy);
  for (int64_t column = 0; column < inputs; column += step) {
    const int64_t some = std::min(step, inputs - column);
    const auto part = linear_input_grad(in, dequantized(stack, 0, outputs, column, some, dy.options()));
    dx.narrow(1, column, some).copy_(part.narrow(0, 0, rows));
  }
  return dx;
}

}  // namespace decant
