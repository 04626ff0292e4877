#include "core/kernels/dropout.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "core/hash.h"
#include "core/kernels/gemm.h"
#include "core/kernels/loops.h"
#include "core/random.h"

namespace decant {

namespace {

constexpr uint32_t kParts = 65536;  // a draw has sixteen bits

uint32_t dropped_parts(double probability) {
  return std::min<uint32_t>(kParts - 1, static_cast<uint32_t>(std::lround(probability * kParts)));
}

}  // namespace

Dropout Dropout::of(const std::string& module, double probability, uint64_t seed) {
  return {probability, seed, xxh3_64(module + ".dropout") >> 8};
}

double Dropout::scale() const {
  return static_cast<double>(kParts) / static_cast<double>(kParts - dropped_parts(probability));
}

at::Tensor dropout_mask(const Dropout& dropout, std::span<const TrainingRows> training, int64_t begin,
                        int64_t end, int64_t columns) {
  if (!dropout.on() || training.empty() || begin == end) return {};
  const int64_t bytes = (columns + 7) / 8;
  at::Tensor mask = at::empty({end - begin, bytes}, at::kByte);
  auto* out = mask.mutable_data_ptr<uint8_t>();
  const uint32_t below = dropped_parts(dropout.probability);
  const bool fast = !use_plain_kernels(mask);
  int64_t covered = 0;
  for (const TrainingRows& rows : training) {
    const int64_t first = std::max(begin, rows.begin), last = std::min(end, rows.end);
    if (first >= last) continue;
    covered += last - first;
    const uint64_t stream =
        purpose_stream(Purpose::kAdapterDropout, dropout.module ^ static_cast<uint64_t>(rows.step));
    at::parallel_for(first, last, 8, [&](int64_t from, int64_t to) {
      for (int64_t row = from; row < to; ++row) {
        // Eight elements a draw; 2^20 draws are kept for a token.
        const auto token = static_cast<uint64_t>(rows.first_token + row - rows.begin) << 20;
        if (fast) {
          loops()->draw_bits(dropout.seed, stream, token, bytes, below, out + (row - begin) * bytes);
          continue;
        }
        for (int64_t byte = 0; byte < bytes; ++byte) {
          const auto draw = philox(dropout.seed, stream, token | static_cast<uint64_t>(byte));
          uint32_t bits = 0;
          for (uint32_t i = 0; i < 8; ++i)
            bits |= static_cast<uint32_t>(((draw[i / 2] >> (16 * (i % 2))) & 0xffff) < below) << i;
          out[(row - begin) * bytes + byte] = static_cast<uint8_t>(bits);
        }
      }
    });
  }
  TORCH_INTERNAL_ASSERT(covered == end - begin, "rows ", begin, " to ", end, ": ", covered, " train");
  return mask;
}

at::Tensor dropped_elements(const at::Tensor& mask, int64_t columns) {
  at::Tensor dropped = at::empty({mask.size(0), columns}, at::kBool);
  auto* out = dropped.mutable_data_ptr<bool>();
  const auto* bits = mask.const_data_ptr<uint8_t>();
  const int64_t bytes = mask.size(1);
  at::parallel_for(0, mask.size(0), 16, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      for (int64_t i = 0; i < columns; ++i)
        out[row * columns + i] = ((bits[row * bytes + i / 8] >> (i % 8)) & 1) != 0;
  });
  return dropped;
}

}  // namespace decant
