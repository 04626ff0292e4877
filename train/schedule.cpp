#include "train/schedule.h"

#include <cmath>
#include <numbers>

namespace decant {

namespace {

int64_t share_of(double fraction, int64_t total) {
  return static_cast<int64_t>(std::ceil(fraction * static_cast<double>(total)));
}

double falling(DecayShape shape, double progress) {
  switch (shape) {
    case DecayShape::kCosine:
      return 0.5 * (1 + std::cos(std::numbers::pi * progress));
    case DecayShape::kLinear:
      return 1 - progress;
    case DecayShape::kOneMinusSqrt:
      return 1 - std::sqrt(progress);
  }
  return 1;
}

}  // namespace

void ScheduleConfig::validate(const Place& place) const {
  check(warmup_fraction >= 0 && warmup_fraction <= 1, place("warmup_fraction"),
        ": must lie in 0 .. 1, found ", warmup_fraction);
  check(!warmup_steps || *warmup_steps >= 0, place("warmup_steps"), ": must not be negative, found ",
        warmup_steps.value_or(0));
  check(decay_fraction >= 0 && decay_fraction <= 1, place("decay_fraction"), ": must lie in 0 .. 1, found ",
        decay_fraction);
  check(min_ratio >= 0 && min_ratio <= 1, place("min_ratio"), ": must lie in 0 .. 1, found ", min_ratio);
  check(kind != ScheduleKind::kWsd || warmup_steps || warmup_fraction + decay_fraction <= 1,
        place("decay_fraction"),
        ": warm-up and decay must fit into the steps: warmup_fraction + decay_fraction ", "at most 1, found ",
        warmup_fraction, " + ", decay_fraction);
}

double schedule_factor(const ScheduleConfig& config, int64_t step, int64_t total) {
  const bool wsd = config.kind == ScheduleKind::kWsd;
  const int64_t warmup = config.warmup_steps.value_or(share_of(config.warmup_fraction, total));
  // Both are rounded up, so that together they may exceed the total by one.
  const int64_t room = config.warmup_steps ? total - warmup : std::max<int64_t>(total - warmup, 0);
  const int64_t decay = wsd ? (config.warmup_steps ? share_of(config.decay_fraction, total)
                                                   : std::min(share_of(config.decay_fraction, total), room))
                            : 0;
  check(warmup + decay <= total, "schedule: ", warmup, " steps of warm-up",
        decay > 0 ? concat(" and ", decay, " of decay") : "", " do not fit into ", total,
        " steps; lower schedule.warmup_steps or train longer");
  const double low = config.min_ratio;
  const auto above_low = [low](double factor) { return factor * (1 - low) + low; };
  if (step < warmup) {
    const double factor =
        static_cast<double>(config.first_step_zero ? step : step + 1) / static_cast<double>(warmup);
    return wsd ? above_low(factor) : factor;  // as transformers: only wsd's warm-up starts at the lowest rate
  }
  const auto progress = [step](int64_t begin, int64_t end) {
    return std::min(
        1.0, static_cast<double>(step - begin) / static_cast<double>(std::max<int64_t>(1, end - begin)));
  };
  switch (config.kind) {
    case ScheduleKind::kConstant:
      return 1;
    case ScheduleKind::kCosine:
      return above_low(falling(DecayShape::kCosine, progress(warmup, total)));
    case ScheduleKind::kLinear:
      return above_low(falling(DecayShape::kLinear, progress(warmup, total)));
    case ScheduleKind::kWsd:
      return step < total - decay ? 1
                                  : above_low(falling(config.decay_shape, progress(total - decay, total)));
  }
  return 1;
}

}  // namespace decant
