#include "core/kernels/block_codes.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "core/kernels/gemm.h"
#include "core/kernels/plain.h"

namespace decant {
namespace {

constexpr int64_t kGrain = 64;  // blocks

std::unique_ptr<const CodeTable> make_table(CodeMap map) {
  auto table = std::make_unique<CodeTable>();
  const at::Tensor levels = dynamic_map(map);
  std::copy_n(levels.const_data_ptr<float>(), 256, table->level);
  table->zero = static_cast<int32_t>(std::find(table->level, table->level + 256, 0.0f) - table->level);
  table->least = map == CodeMap::kUnsigned ? 1 : 0;
  std::vector<float> bounds;
  for (int i = table->zero; i < 255; ++i) bounds.push_back((table->level[i] + table->level[i + 1]) * 0.5f);
  size_t below = 0;
  for (int32_t i = 0; i < CodeTable::kBuckets; ++i) {
    const float end = std::bit_cast<float>((CodeTable::kFirst + i + 1) << 16);
    CodeTable::Bucket& bucket = table->buckets[i];
    bucket = {std::numeric_limits<int32_t>::max(), static_cast<int32_t>(below)};
    if (below == bounds.size() || bounds[below] >= end) continue;
    bucket.bound = std::bit_cast<int32_t>(bounds[below++]);
    TORCH_INTERNAL_ASSERT(below == bounds.size() || bounds[below] >= end, "two bounds in one bucket");
  }
  return table;
}

}  // namespace

// bitsandbytes functional.py, create_dynamic_map(): seven decades, each with twice the fractions of the one
// below; the sign's bit, where there is none, doubles them once more.
at::Tensor dynamic_map(CodeMap map) {
  const bool has_sign = map == CodeMap::kSigned;
  std::vector<float> values = {0.0f, 1.0f};
  for (int i = 0; i < 7; ++i) {
    const at::Tensor bounds = at::linspace(0.1, 1, (1 << (has_sign ? i : i + 1)) + 1, at::kFloat);
    const at::Tensor means = (bounds.slice(0, 0, -1) + bounds.slice(0, 1)) / 2.0;
    const at::Tensor scaled = means * std::pow(10.0, i - 6);
    for (int64_t j = 0; j < scaled.numel(); ++j) {
      values.push_back(scaled.const_data_ptr<float>()[j]);
      if (has_sign) values.push_back(-scaled.const_data_ptr<float>()[j]);
    }
  }
  std::sort(values.begin(), values.end());
  return at::tensor(values);
}

const CodeTable& code_table(CodeMap map) {
  static const auto with_sign = make_table(CodeMap::kSigned), without = make_table(CodeMap::kUnsigned);
  return map == CodeMap::kSigned ? *with_sign : *without;
}

BlockCodes zero_codes(at::IntArrayRef shape, CodeMap map) {
  const at::Tensor codes = at::full(shape, code_table(map).zero, at::kByte);
  return {codes, at::zeros({code_blocks(codes.numel())}, at::kFloat)};
}

BlockCodes encode_blocks(const at::Tensor& x, CodeMap map) {
  TORCH_INTERNAL_ASSERT(x.is_contiguous() && x.scalar_type() == at::kFloat);
  if (use_plain_kernels(x)) return plain::encode_blocks(x, map);
  const int64_t count = x.numel(), blocks = code_blocks(count);
  BlockCodes result{at::empty(x.sizes(), at::kByte), at::empty({blocks}, at::kFloat)};
  const auto* from = x.const_data_ptr<float>();
  auto* codes = result.codes.mutable_data_ptr<uint8_t>();
  auto* absmax = result.absmax.mutable_data_ptr<float>();
  at::parallel_for(0, blocks, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      const int64_t first = b * kCodeBlock;
      absmax[b] = loops()->encode_block(from + first, std::min(kCodeBlock, count - first), code_table(map),
                                        codes + first);
    }
  });
  return result;
}

at::Tensor decode_blocks(const BlockCodes& x, CodeMap map) {
  if (use_plain_kernels(x.absmax)) return plain::decode_blocks(x, map);
  const int64_t count = x.codes.numel();
  at::Tensor result = at::empty(x.codes.sizes(), at::kFloat);
  const auto* codes = x.codes.const_data_ptr<uint8_t>();
  const auto* absmax = x.absmax.const_data_ptr<float>();
  auto* to = result.mutable_data_ptr<float>();
  at::parallel_for(0, code_blocks(count), kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      const int64_t first = b * kCodeBlock;
      loops()->decode_block(codes + first, absmax[b], std::min(kCodeBlock, count - first), code_table(map),
                            to + first);
    }
  });
  return result;
}

}  // namespace decant
