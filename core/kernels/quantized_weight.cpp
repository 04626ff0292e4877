#include "core/kernels/quantized_weight.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "core/instruction_set.h"
#include "core/kernels/block_codes.h"
#include "core/kernels/plain.h"
#include "core/kernels/quantized_loops.h"
#include "core/kernels/tensor_rows.h"

namespace decant {

namespace {

constexpr int64_t kBlock = 64, kNestedBlock = 256;

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
  const at::Tensor map = dynamic_map(CodeMap::kSigned);
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
      to[i] =
          !std::isfinite(factor) ? 0 : table[static_cast<size_t>((scaled + 1.0f) * 0.5f * 65535.0f + 0.5f)];
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
          packed[(b * kBlock + i) / 2] =
              static_cast<uint8_t>(codes[static_cast<size_t>(i)] << 4 | codes[static_cast<size_t>(i + 1)]);
      }
    });
  });
}

template <class T>
void dequantize_rows(const QuantizedLoopsOf<T>& loop, const QuantizedWeight& w, const float* absmax,
                     int64_t row, int64_t rows, int64_t column, int64_t columns, T* to, int64_t stride) {
  // Rows of a block lie apart, which the processor's own prefetching does not see.
  constexpr int64_t kRowsAhead = 8, kLine = 64;
  const int64_t line = w.kind == Quantization::kInt8 ? kLine : 2 * kLine;
  const auto* codes = static_cast<const char*>(w.codes.const_data_ptr());
  for (int64_t r = row; r < row + rows; ++r, to += stride) {
    const int64_t first = r * w.inputs + column;
    if (r + kRowsAhead < w.outputs)
      for (int64_t c = 0; c < columns; c += line)
        __builtin_prefetch(codes + (first + kRowsAhead * w.inputs + c) * kLine / line);
    if (w.kind == Quantization::kInt8)
      loop.from_int8(w.codes.const_data_ptr<int8_t>() + first, absmax[r] * (1.0f / 127.0f), columns, to);
    else
      loop.from_nf4(w.codes.const_data_ptr<uint8_t>(), absmax + first / w.block, w.block, first, columns, to);
  }
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
  static const QuantizedLoops chosen =
      instruction_set() >= InstructionSet::kAvx512Bf16 ? avx512_bf16::make_quantized_loops()
      : instruction_set() >= InstructionSet::kAvx512   ? avx512::make_quantized_loops()
      : instruction_set() >= InstructionSet::kAvx2     ? avx2::make_quantized_loops()
                                                       : QuantizedLoops{};
  return chosen.nested_absmax != nullptr ? &chosen : nullptr;
}

at::Tensor nf4_levels() {
  return at::tensor({-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
                     -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
                     0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
                     0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0},
                    at::kFloat);
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
  out.nested_map = dynamic_map(CodeMap::kSigned);
  quantize_absmax(out.absmax - mean, out);
  return out;
}

at::Tensor dequantize(const QuantizedWeight& weight, at::ScalarType dtype) {
  if (dtype == at::kDouble || quantized_loops() == nullptr) return plain::dequantize(weight, dtype);
  const auto out = at::empty({weight.outputs, weight.inputs}, dtype);
  const auto absmax = absmax_of(weight);
  with_quantized_loops(out, [&](const auto& loop, auto* to) {
    at::parallel_for(0, weight.outputs, 16, [&](int64_t begin, int64_t end) {
      dequantize_rows(loop, weight, absmax.const_data_ptr<float>(), begin, end - begin, 0, weight.inputs,
                      to + begin * weight.inputs, weight.inputs);
    });
  });
  return out;
}

void dequantize_block(const QuantizedWeight& weight, const float* absmax, int64_t row, int64_t rows,
                      int64_t column, int64_t columns, uint16_t* to, int64_t stride) {
  dequantize_rows(quantized_loops()->bf16, weight, absmax, row, rows, column, columns, to, stride);
}
void dequantize_block(const QuantizedWeight& weight, const float* absmax, int64_t row, int64_t rows,
                      int64_t column, int64_t columns, float* to, int64_t stride) {
  dequantize_rows(quantized_loops()->fp32, weight, absmax, row, rows, column, columns, to, stride);
}

at::Tensor absmax_of(const QuantizedWeight& weight) {
  if (weight.kind != Quantization::kNf4Dq) return weight.absmax;
  const int64_t count = weight.absmax.numel();
  auto out = at::empty({count}, at::kFloat);
  const auto* codes = weight.absmax.const_data_ptr<uint8_t>();
  auto* to = out.mutable_data_ptr<float>();
  at::parallel_for(0, weight.nested_absmax.numel(), 64, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      const int64_t first = b * kNestedBlock;
      quantized_loops()->nested_absmax(
          codes + first, std::min(kNestedBlock, count - first), weight.nested_map.const_data_ptr<float>(),
          weight.nested_absmax.const_data_ptr<float>()[b], weight.offset, to + first);
    }
  });
  return out;
}

}  // namespace decant
