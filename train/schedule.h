// Learning-rate schedules, equal to transformers' optimization.py
// (get_{cosine,linear,constant}_schedule_with_warmup, get_cosine_with_min_lr_schedule_with_warmup,
// get_wsd_schedule).
#pragma once

#include <cstdint>
#include <optional>

#include "core/config.h"

namespace decant {

enum class ScheduleKind { kCosine, kLinear, kConstant, kWsd };
template <>
struct EnumNames<ScheduleKind> {
  static constexpr std::pair<ScheduleKind, const char*> values[] = {{ScheduleKind::kCosine, "cosine"},
                                                                    {ScheduleKind::kLinear, "linear"},
                                                                    {ScheduleKind::kConstant, "constant"},
                                                                    {ScheduleKind::kWsd, "wsd"}};
};

enum class DecayShape { kCosine, kLinear, kOneMinusSqrt };
template <>
struct EnumNames<DecayShape> {
  static constexpr std::pair<DecayShape, const char*> values[] = {{DecayShape::kCosine, "cosine"},
                                                                  {DecayShape::kLinear, "linear"},
                                                                  {DecayShape::kOneMinusSqrt, "1-sqrt"}};
};

struct ScheduleConfig {
  ScheduleKind kind = ScheduleKind::kCosine;
  double warmup_fraction = 0.03;
  std::optional<int64_t> warmup_steps;
  double decay_fraction = 0.1;
  DecayShape decay_shape = DecayShape::kCosine;
  double min_ratio = 0.0;
  bool first_step_zero = false;

  static void visit(auto& c, auto&& field) {
    field("kind", c.kind, "cosine, linear, constant or wsd (warm-up, stable, decay)");
    field("warmup_fraction", c.warmup_fraction, "of the steps, rising from 0; rounded up to whole steps");
    field("warmup_steps", c.warmup_steps, "instead of the fraction");
    field("decay_fraction", c.decay_fraction, "of the steps, for wsd's decay; rounded up to whole steps");
    field("decay_shape", c.decay_shape, "of wsd's decay: cosine, linear or 1-sqrt");
    field("min_ratio", c.min_ratio, "the lowest rate of cosine, linear and wsd as a share of the top");
    field("first_step_zero", c.first_step_zero,
          "true: as transformers, whose warm-up starts at 0 and so wastes the first step; false: starts at "
          "1/warmup");
  }
  void validate(const Place& place) const;
};

// Factor on the learning rate of optimizer step `step` (from 0) of `total` (at least 1). Error when warm-up
// and decay together are longer than `total`.
double schedule_factor(const ScheduleConfig& config, int64_t step, int64_t total);

}  // namespace decant
