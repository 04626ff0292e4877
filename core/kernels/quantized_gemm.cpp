#include "core/kernels/quantized_gemm.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>

#include "core/kernels/plain.h"
#include "core/kernels/quantized_loops.h"
#include "core/kernels/tensor_rows.h"
#include "core/kernels/tile_linear.h"

namespace decant {

namespace {

constexpr int64_t kPanelBytes = int64_t{1} << 21;  // where gemm.h multiplies

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

// The stack with its absmax decoded, for one product. Blocks of kWide rows by kDeep columns stay in the
// second-level cache.
class Stack {
 public:
  static constexpr int64_t kWide = 128, kDeep = 1024, kTokens = kQuantizedTokens;
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

  // As tile_linear.h reads a weight.
  LeftOperand left(int64_t row, int64_t rows, int64_t column, int64_t columns) const {
    const int64_t deep = padded_depth(columns);
    auto* to = room<uint16_t, 0>(rows * deep);
    if (deep != columns) std::fill_n(to, rows * deep, uint16_t{0});
    dequantize(row, rows, column, columns, to, deep);
    return {to, deep};
  }
  void right(int64_t row, int64_t rows, int64_t column, int64_t columns, int64_t n, uint16_t* out) const {
    constexpr int64_t kRows = 16;  // that stay in the first cache
    auto* some = room<uint16_t, 5>(kRows * columns);
    const int64_t deep = padded_depth(rows);
    for (int64_t r = 0; r < rows; r += kRows) {
      const auto high = std::min(kRows, rows - r);
      dequantize(row + r, high, column, columns, some, columns);
      for (int64_t c = 0; c < columns; c += n)
        loops()->bf16.pack_rows(some + c, columns, high, std::min(n, columns - c), round_up(high, 2), n,
                                out + c * deep + r * n);
    }
    for (int64_t c = 0, r = round_up(rows, 2); c < columns; c += n)
      std::fill_n(out + c * deep + r * n, (deep - r) * n, uint16_t{0});
  }

 private:
  const StackedWeights& weights_;
  std::vector<at::Tensor> absmax_;
};

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

int64_t panel_of(int64_t other, const at::Tensor& x) {
  return std::max<int64_t>(kTile, kPanelBytes / (other * x.element_size()) / kTile * kTile);
}

}  // namespace

at::Tensor linear(const at::Tensor& x, const StackedWeights& weights, const at::Tensor& bias, Panel panel,
                  LowRankAdds adds) {
  if (use_plain_kernels(x)) {
    TORCH_INTERNAL_ASSERT(adds.empty());
    return plain::linear(x, whole(weights, x.scalar_type()), bias);
  }
  const int64_t rows = x.size(0), inputs = weights.at(0)->inputs, outputs = outputs_of(weights);
  TORCH_INTERNAL_ASSERT(x.size(1) == inputs);
  const Stack stack(weights);
  auto y = at::empty({rows, outputs}, x.options());
  if (in_tiles(x)) {
    tile_linear(x, stack, bias, tile_of(panel), adds, y);
    return y;
  }
  const auto unit = static_cast<int64_t>(panel);
  const auto in = padded_block(x, round_up(rows, unit), inputs);  // once, not for each panel of weights
  const int64_t step = panel_of(inputs, x);
  for (int64_t row = 0; row < outputs; row += step) {
    const int64_t some = std::min(step, outputs - row);
    const auto part = linear(in, dequantized(stack, row, some, 0, inputs, x.options()),
                             bias.defined() ? bias.narrow(0, row, some) : bias, panel);
    y.narrow(1, row, some).copy_(part.narrow(0, 0, rows));
  }
  add_low_rank(y, adds, FactorLies::kTransposed);
  return y;
}

at::Tensor linear_input_grad(const at::Tensor& dy, const StackedWeights& weights, LowRankAdds adds) {
  if (use_plain_kernels(dy)) {
    TORCH_INTERNAL_ASSERT(adds.empty());
    return plain::linear_input_grad(dy, whole(weights, dy.scalar_type()));
  }
  const int64_t rows = dy.size(0), inputs = weights.at(0)->inputs, outputs = outputs_of(weights);
  TORCH_INTERNAL_ASSERT(dy.size(1) == outputs);
  const Stack stack(weights);
  auto dx = at::empty({rows, inputs}, dy.options());
  if (in_tiles(dy)) {
    tile_rows(dy, stack, {}, kTile, adds, dx);
    return dx;
  }
  const auto in = padded_block(dy, round_up(rows, static_cast<int64_t>(Panel::kTraining)), outputs);
  const int64_t step = panel_of(outputs, dy);
  for (int64_t column = 0; column < inputs; column += step) {
    const int64_t some = std::min(step, inputs - column);
    const auto part = linear_input_grad(in, dequantized(stack, 0, outputs, column, some, dy.options()));
    dx.narrow(1, column, some).copy_(part.narrow(0, 0, rows));
  }
  add_low_rank(dx, adds, FactorLies::kAsIs);
  return dx;
}

}  // namespace decant
