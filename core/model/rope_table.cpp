#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <cmath>
#include <numbers>

#include "core/error.h"
#include "core/model/model_config.h"

namespace decant {

namespace {

double yarn_mscale(double scale, double mscale) {
  return scale <= 1 ? 1.0 : 0.1 * mscale * std::log(scale) + 1.0;
}

at::Tensor llama3_frequencies(const RopeConfig& rope, const at::Tensor& plain) {
  const double low = rope.low_freq_factor, high = rope.high_freq_factor;
  const double length = rope.original_max_position_embeddings;
  const auto wavelength = 2 * std::numbers::pi / plain;
  const auto slowed = at::where(wavelength > length / low, plain / rope.factor, plain);
  const auto smooth = (length / wavelength - low) / (high - low);
  const auto between = (1 - smooth) * slowed / rope.factor + smooth * slowed;
  const auto is_between = wavelength.ge(length / high).logical_and(wavelength.le(length / low));
  return at::where(is_between, between, slowed);
}

at::Tensor yarn_frequencies(const RopeConfig& rope, const at::Tensor& powers, int64_t width) {
  // The channel that turns `rotations` times over the original length.
  const auto channel = [&](double rotations) {
    return static_cast<double>(width) *
           std::log(rope.original_max_position_embeddings / (rotations * 2 * std::numbers::pi)) /
           (2 * std::log(rope.theta));
  };
  double low = channel(rope.beta_fast), high = channel(rope.beta_slow);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(width - 1));
  if (low == high) high += 0.001;
  const auto ramp = at::clamp((at::arange(width / 2, at::kFloat) - low) / (high - low), 0, 1);
  const auto keep = 1 - ramp;
  return 1.0 / (rope.factor * powers) * (1 - keep) + 1.0 / powers * keep;
}

}  // namespace

// In fp32 with transformers' operations and order, since an ulp of a frequency is a visible angle at position
// 100,000.
RopeTable rope_table(const ModelConfig& config, int64_t positions, bool long_context) {
  check(positions >= 0 && positions <= config.max_position_embeddings, "position ", positions - 1,
        " is beyond the model's 'max_position_embeddings' (", config.max_position_embeddings, ")");
  const auto& rope = config.rope;
  const auto width = config.rotary_width();
  const auto exponents = at::arange(0, width, 2, at::kLong).to(at::kFloat) / static_cast<double>(width);
  const auto powers = at::pow(rope.theta, exponents);
  auto frequencies = 1.0 / powers;
  double factor = 1;
  if (rope.kind == RopeConfig::Kind::kLinear) frequencies = frequencies / rope.factor;
  if (rope.kind == RopeConfig::Kind::kLlama3) frequencies = llama3_frequencies(rope, frequencies);
  if (rope.kind == RopeConfig::Kind::kLongrope) {
    const auto divisors = at::tensor(long_context ? rope.long_factor : rope.short_factor, at::kFloat);
    frequencies = 1.0 / (divisors * powers);
    if (rope.attention_factor != 0)
      factor = rope.attention_factor;
    else if (rope.factor > 1)
      factor = std::sqrt(1 + std::log(rope.factor) / std::log(rope.original_max_position_embeddings));
  }
  if (rope.kind == RopeConfig::Kind::kYarn) {
    frequencies = yarn_frequencies(rope, powers, width);
    if (rope.attention_factor != 0)
      factor = rope.attention_factor;
    else if (rope.mscale != 0 && rope.mscale_all_dim != 0)
      factor = yarn_mscale(rope.factor, rope.mscale) / yarn_mscale(rope.factor, rope.mscale_all_dim);
    else
      factor = yarn_mscale(rope.factor, 1);
  }

  // Scalar functions: an entry is the same bits whatever the size of the table.
  const auto half = width / 2;
  RopeTable table{at::empty({positions, half}, at::kFloat), at::empty({positions, half}, at::kFloat)};
  const float* f = frequencies.const_data_ptr<float>();
  float* cos = table.cos.mutable_data_ptr<float>();
  float* sin = table.sin.mutable_data_ptr<float>();
  at::parallel_for(0, positions, 256, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p)
      for (int64_t i = 0; i < half; ++i) {
        const double angle = static_cast<float>(p) * f[i];  // rounded to fp32, as the reference does
        cos[p * half + i] = static_cast<float>(std::cos(angle)) * static_cast<float>(factor);
        sin[p * half + i] = static_cast<float>(std::sin(angle)) * static_cast<float>(factor);
      }
  });
  return table;
}

}  // namespace decant
