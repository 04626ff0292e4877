#include "core/kernels/quantized_weight.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "core/instruction_set.h"
#include "core/kernels/plain.h"
#include "core/kernels/quantized_loops.h"
#include "core/kernels/tensor_rows.h"

namespace decant {

namespace {

constexpr int64_t kBlock = 64, kNestedBlock = 256;
constexpr int64_t kPanelBytes = int64_t{1} << 21;  // of dequantised weights: half of a usual core's share of the cache

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

template <class F>
auto with_quantized_loops(const at::Tensor& x, const F& f) {
  TORCH_INTERNAL_ASSERT(x.is_cpu() && quantized_loops() != nullptr);
  if (x.scalar_type() == at::kBFloat16) return f(quantized_loops()->bf16, words(x));
  TORCH_INTERNAL_ASSERT(x.scalar_type() == at::kFloat, "a kernel got ", x.scalar_type());
  return f(quantized_loops()->fp32, x.data_ptr<float>());
}

// bitsandbytes looks its 8-bit codes up by the whole number nearest to (x + 1) / 2 * 65535.
std::array<uint8_t, 65536> nearest_codes() {
  std::array<uint8_t, 65536> table{};
  const at::Tensor map = dynamic_map();
  const float* level = map.const_data_ptr<float>();
  int code = 0;
  for (int i = 0; i < 65536; ++i) {
    const double x = i / 65535.0 * 2 - 1;
    while (code < 255 && std::abs(level[code + 1] - x) < std::abs(level[code] - x)) ++code;
    table[static_cast<size_t>(i)] = static_cast<uint8_t>(code);
  }
  return table;
}

// Codes of `x` in blocks of 256 (bitsandbytes quantize_blockwise on the CPU).
void quantize_absmax(const at::Tensor& x, QuantizedWeight& weight) {
  static const auto table = nearest_codes();
  const int64_t count = x.numel(), blocks = ceil_div(count, kNestedBlock);
  weight.absmax = at::empty({count}, at::kByte);
  weight.nested_absmax = at::empty({blocks}, at::kFloat);
  const float* from = x.const_data_ptr<float>();
  uint8_t* to = weight.absmax.mutable_data_ptr<uint8_t>();
  float* most = weight.nested_absmax.mutable_data_ptr<float>();
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t begin = b * kNestedBlock, end = std::min(count, begin + kNestedBlock);
    float absmax = 0;
    for (int64_t i = begin; i < end; ++i) absmax = std::max(absmax, std::abs(from[i]));
    most[b] = absmax;
    const float factor = 1.0f / absmax;
    for (int64_t i = begin; i < end; ++i) {
      const float scaled = std::clamp(from[i] * factor, -1.0f, 1.0f);
      to[i] = absmax == 0 ? 0 : table[static_cast<size_t>((scaled + 1.0f) * 0.5f * 65535.0f + 0.5f)];
    }
  }
}

void quantize_int8(const at::Tensor& w, QuantizedWeight& out) {
  const int64_t rows = w.size(0), width = w.size(1);
  out.codes = at::empty({rows, width}, at::kChar);
  out.absmax = at::empty({rows}, at::kFloat);
  auto* codes = out.codes.mutable_data_ptr<int8_t>();
  auto* absmax = out.absmax.mutable_data_ptr<float>();
  with_quantized_loops(w, [&](const auto& loop, const auto* from) {
    at::parallel_for(0, rows, 16, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        absmax[r] = loop.largest(from + r * width, width);
        loop.to_int8(from + r * width, width, absmax[r] == 0 ? 0 : 127.0f / absmax[r], codes + r * width);
      }
    });
  });
}

void quantize_nf4(const at::Tensor& w, QuantizedWeight& out) {
  const int64_t count = w.numel(), blocks = ceil_div(count, kBlock);
  out.codes = at::empty({ceil_div(count, 2)}, at::kByte);
  out.absmax = at::empty({blocks}, at::kFloat);
  auto* packed = out.codes.mutable_data_ptr<uint8_t>();
  auto* absmax = out.absmax.mutable_data_ptr<float>();
  std::array<float, 15> bounds{};
  const at::Tensor levels = nf4_levels();
  for (size_t i = 0; i < 15; ++i)
    bounds[i] = (levels.const_data_ptr<float>()[i] + levels.const_data_ptr<float>()[i + 1]) / 2;
  constexpr float kLeast = 1e-38f;
  with_quantized_loops(w, [&](const auto& loop, const auto* from) {
    at::parallel_for(0, blocks, 256, [&](int64_t begin, int64_t end) {
      std::array<uint8_t, kBlock> codes{};
      for (int64_t b = begin; b < end; ++b) {
        const auto* x = from + b * kBlock;
        const int64_t n = std::min(kBlock, count - b * kBlock);
        // The last block of a weight that blocks do not divide is divided, the others are multiplied.
        absmax[b] = loop.largest(x, n);
        const float safe = std::max(absmax[b], kLeast);
        if (n < kBlock) absmax[b] = safe;
        loop.to_nf4(x, n, 1.0f / safe, n < kBlock ? safe : 0.0f, bounds.data(), codes.data());
        if (n % 2 == 1) codes[static_cast<size_t>(n)] = 7;  // a zero
        for (int64_t i = 0; i < n; i += 2)
          packed[(b * kBlock + i) / 2] = static_cast<uint8_t>(codes[static_cast<size_t>(i)] << 4 |
                                                              codes[static_cast<size_t>(i + 1)]);
      }
    });
  });
}

// absmax of the blocks [first, first + count) in fp32.
const float* block_absmax(const QuantizedWeight& w, int64_t first, int64_t count, std::vector<float>& room) {
  if (w.kind == Quantization::kNf4) return w.absmax.const_data_ptr<float>() + first;
  room.resize(static_cast<size_t>(count));
  const auto* codes = w.absmax.const_data_ptr<uint8_t>();
  for (int64_t i = 0; i < count;) {
    const int64_t nested = (first + i) / kNestedBlock, n = std::min(count - i, (nested + 1) * kNestedBlock - first - i);
    quantized_loops()->nested_absmax(codes + first + i, n, w.nested_map.const_data_ptr<float>(),
                                     w.nested_absmax.const_data_ptr<float>()[nested], w.offset,
                                     room.data() + i);
    i += n;
  }
  return room.data();
}

// Rows [row, row + rows) and columns [column, column + columns) -> to [rows, columns].
template <class Loop, class T>
void dequantize_block(const Loop& loop, const QuantizedWeight& w, int64_t row, int64_t rows, int64_t column,
                      int64_t columns, T* to) {
  at::parallel_for(0, rows, 16, [&](int64_t begin, int64_t end) {
    std::vector<float> room;
    for (int64_t r = begin; r < end; ++r) {
      const int64_t first = (row + r) * w.inputs + column;
      T* out = to + r * columns;
      if (w.kind == Quantization::kInt8) {
        loop.from_int8(w.codes.const_data_ptr<int8_t>() + first,
                       w.absmax.const_data_ptr<float>()[row + r] * (1.0f / 127.0f), columns, out);
      } else {
        const int64_t block = first / w.block, last = (first + columns - 1) / w.block;
        loop.from_nf4(w.codes.const_data_ptr<uint8_t>(), block_absmax(w, block, last - block + 1, room), w.block,
                      first, columns, out);
      }
    }
  });
}

// One after another the rows of the stack.
template <class Visit>
void each_part(const StackedWeights& weights, int64_t row, int64_t rows, const Visit& visit) {
  int64_t begin = 0;
  for (const auto* w : weights) {
    const int64_t from = std::max(row, begin), to = std::min(row + rows, begin + w->outputs);
    if (from < to) visit(*w, from - begin, to - from, from - row);
    begin += w->outputs;
  }
}

void dequantize_stack(const StackedWeights& weights, int64_t row, int64_t column, const at::Tensor& out) {
  const int64_t rows = out.size(0), columns = out.size(1);
  with_quantized_loops(out, [&](const auto& loop, auto* to) {
    each_part(weights, row, rows, [&](const QuantizedWeight& w, int64_t from, int64_t count, int64_t at) {
      dequantize_block(loop, w, from, count, column, columns, to + at * columns);
    });
  });
}

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

// Room of a thread for dequantised panels; grows to the largest.
at::Tensor scratch(int64_t rows, int64_t columns, at::ScalarType dtype) {
  thread_local at::Tensor room;
  const int64_t elements = rows * columns;
  if (!room.defined() || room.scalar_type() != dtype || room.numel() < elements)
    room = at::empty({elements}, dtype);
  return room.narrow(0, 0, elements).view({rows, columns});
}

// x with zero rows up to a whole number of panels, so that every product of a panel of weights takes it as it is.
at::Tensor whole_panels(const at::Tensor& x, Panel panel) {
  const int64_t step = static_cast<int64_t>(panel), rows = ceil_div(x.size(0), step) * step;
  if (rows == x.size(0) && x.is_contiguous()) return x;
  auto padded = at::zeros({rows, x.size(1)}, x.options());
  padded.narrow(0, 0, x.size(0)).copy_(x);
  return padded;
}

}  // namespace

const char* to_string(Quantization kind) {
  switch (kind) {
    case Quantization::kNone:
      return "none";
    case Quantization::kInt8:
      return "int8";
    case Quantization::kNf4:
      return "nf4";
    case Quantization::kNf4Dq:
      return "nf4_dq";
  }
  return "?";
}

const QuantizedLoops* quantized_loops() {
  static const QuantizedLoops chosen = instruction_set() >= InstructionSet::kAvx512 ? avx512::make_quantized_loops()
                                       : instruction_set() >= InstructionSet::kAvx2 ? avx2::make_quantized_loops()
                                                                                    : QuantizedLoops{};
  return chosen.nested_absmax != nullptr ? &chosen : nullptr;
}

at::Tensor nf4_levels() {
  return at::tensor({-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
                     -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
                     0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
                     0.7229568362236023, 1.0},
                    at::kFloat);
}

// bitsandbytes functional.py, create_dynamic_map(): seven decades, each with twice the fractions of the one below.
at::Tensor dynamic_map() {
  std::vector<float> values = {0.0f, 1.0f};
  for (int i = 0; i < 7; ++i) {
    const at::Tensor bounds = at::linspace(0.1, 1, (1 << i) + 1, at::kFloat);
    const at::Tensor means = (bounds.slice(0, 0, -1) + bounds.slice(0, 1)) / 2.0;
    const at::Tensor scaled = means * std::pow(10.0, i - 6);
    for (int64_t j = 0; j < scaled.numel(); ++j) {
      values.push_back(scaled.const_data_ptr<float>()[j]);
      values.push_back(-scaled.const_data_ptr<float>()[j]);
    }
  }
  std::sort(values.begin(), values.end());
  return at::tensor(values);
}

int64_t QuantizedWeight::bytes() const {
  int64_t sum = kind == Quantization::kNf4Dq ? static_cast<int64_t>(sizeof offset) : 0;
  for (const auto* t : {&codes, &absmax, &nested_absmax, &nested_map})
    if (t->defined()) sum += static_cast<int64_t>(t->nbytes());
  return sum;
}

int64_t quantized_bytes(int64_t outputs, int64_t inputs, Quantization kind) {
  const int64_t count = outputs * inputs, blocks = ceil_div(count, kBlock);
  if (kind == Quantization::kInt8) return count + 4 * outputs;
  if (kind == Quantization::kNf4) return ceil_div(count, 2) + 4 * blocks;
  if (kind == Quantization::kNf4Dq)
    return ceil_div(count, 2) + blocks + 4 * ceil_div(blocks, kNestedBlock) + 256 * 4 + 4;
  return 2 * count;
}

QuantizedWeight quantize_weight(const at::Tensor& w, Quantization kind) {
  TORCH_INTERNAL_ASSERT(w.dim() == 2 && w.numel() > 0 && kind != Quantization::kNone);
  QuantizedWeight out;
  out.kind = kind;
  out.outputs = w.size(0);
  out.inputs = w.size(1);
  const at::Tensor rows = w.contiguous();
  if (kind == Quantization::kInt8) {
    quantize_int8(rows, out);
    return out;
  }
  quantize_nf4(rows, out);
  if (kind == Quantization::kNf4) return out;
  const at::Tensor mean = out.absmax.mean();
  out.offset = mean.item<float>();
  out.nested_map = dynamic_map();
  quantize_absmax(out.absmax - mean, out);
  return out;
}

at::Tensor dequantize(const QuantizedWeight& weight, at::ScalarType dtype) {
  if (dtype == at::kDouble || quantized_loops() == nullptr) return plain::dequantize(weight, dtype);
  const auto out = at::empty({weight.outputs, weight.inputs}, dtype);
  dequantize_stack({&weight}, 0, 0, out);
  return out;
}

at::Tensor linear(const at::Tensor& x, const StackedWeights& weights, const at::Tensor& bias, Panel panel) {
  if (use_plain_kernels(x)) return plain::linear(x, whole(weights, x.scalar_type()), bias);
  const int64_t outputs = outputs_of(weights), inputs = weights.at(0)->inputs;
  const auto in = whole_panels(x, panel);
  auto y = at::empty({x.size(0), outputs}, x.options());
  const int64_t step = std::max<int64_t>(64, kPanelBytes / (inputs * x.element_size()) / 64 * 64);
  for (int64_t row = 0; row < outputs; row += step) {
    const auto w = scratch(std::min(step, outputs - row), inputs, x.scalar_type());
    dequantize_stack(weights, row, 0, w);
    const auto part = linear(in, w, bias.defined() ? bias.narrow(0, row, w.size(0)) : bias, panel);
    y.narrow(1, row, w.size(0)).copy_(part.narrow(0, 0, x.size(0)));
  }
  return y;
}

at::Tensor linear_input_grad(const at::Tensor& dy, const StackedWeights& weights, Panel panel) {
  if (use_plain_kernels(dy)) return plain::linear_input_grad(dy, whole(weights, dy.scalar_type()));
  const int64_t outputs = outputs_of(weights), inputs = weights.at(0)->inputs;
  const auto in = whole_panels(dy, panel);
  auto dx = at::empty({dy.size(0), inputs}, dy.options());
  const int64_t step = std::max<int64_t>(64, kPanelBytes / (outputs * dy.element_size()) / 64 * 64);
  for (int64_t column = 0; column < inputs; column += step) {
    const auto w = scratch(outputs, std::min(step, inputs - column), dy.scalar_type());
    dequantize_stack(weights, 0, column, w);
    const auto part = linear_input_grad(in, w, panel);
    dx.narrow(1, column, w.size(1)).copy_(part.narrow(0, 0, dy.size(0)));
  }
  return dx;
}

}  // namespace decant
