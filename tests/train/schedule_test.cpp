// Schedules against transformers' own series (conformance/golden/schedules/lr.json).
#include "train/schedule.h"

#include <gtest/gtest.h>

#include <vector>

#include "core/json.h"
#include "tests/support/expect_error.h"
#include "tests/support/shared.h"

namespace decant {
namespace {

ScheduleConfig like_transformers(ScheduleKind kind) {
  ScheduleConfig config;
  config.kind = kind;
  config.warmup_steps = 10;
  config.decay_fraction = 0.2;
  config.first_step_zero = true;
  return config;
}

TEST(Schedule, EqualsTransformers) {
  DECANT_NEEDS_SHARED("conformance/golden/schedules/lr.json");
  const Json golden = read_json(test::shared_folder() / "conformance/golden/schedules/lr.json");
  std::vector<std::pair<std::string, ScheduleConfig>> cases;
  cases.emplace_back("cosine", like_transformers(ScheduleKind::kCosine));
  cases.emplace_back("linear", like_transformers(ScheduleKind::kLinear));
  cases.emplace_back("constant_with_warmup", like_transformers(ScheduleKind::kConstant));
  cases.emplace_back("wsd_cosine_decay20", like_transformers(ScheduleKind::kWsd));
  cases.emplace_back("wsd_linear_decay20", like_transformers(ScheduleKind::kWsd));
  cases.back().second.decay_shape = DecayShape::kLinear;
  cases.emplace_back("wsd_1sqrt_decay20_min0_1", like_transformers(ScheduleKind::kWsd));
  cases.back().second.decay_shape = DecayShape::kOneMinusSqrt;
  cases.back().second.min_ratio = 0.1;
  cases.emplace_back("cosine_with_min_lr_0_1", like_transformers(ScheduleKind::kCosine));
  cases.back().second.min_ratio = 0.1;
  cases.emplace_back("cosine_no_warmup", like_transformers(ScheduleKind::kCosine));
  cases.back().second.warmup_steps = 0;
  for (const auto& [name, config] : cases) {
    const Json& series = golden.at(name);
    ASSERT_EQ(series.size(), 101U) << name;
    for (size_t i = 0; i < series.size(); ++i) {
      const double expected = series[i].get<double>();
      EXPECT_NEAR(schedule_factor(config, static_cast<int64_t>(i), 100) * 1e-3, expected,
                  1e-12 * expected + 1e-18)
          << name << " step " << i;
    }
  }
}

TEST(Schedule, WarmUpDoesNotWasteTheFirstStep) {
  ScheduleConfig config;
  config.warmup_steps = 4;
  EXPECT_DOUBLE_EQ(schedule_factor(config, 0, 10), 0.25);
  EXPECT_DOUBLE_EQ(schedule_factor(config, 3, 10), 1.0);
  EXPECT_DOUBLE_EQ(schedule_factor(config, 4, 10), 1.0);
  EXPECT_GT(schedule_factor(config, 9, 10), 0.0);
}

TEST(Schedule, FractionsAreRoundedUpAndShortRunsWork) {
  for (const auto kind :
       {ScheduleKind::kCosine, ScheduleKind::kLinear, ScheduleKind::kConstant, ScheduleKind::kWsd})
    for (int64_t total = 1; total < 40; ++total)
      for (int64_t step = 0; step < total; ++step) {
        ScheduleConfig config;
        config.kind = kind;
        config.warmup_fraction = 0.5;
        config.decay_fraction = 0.5;
        const double factor = schedule_factor(config, step, total);
        EXPECT_GE(factor, 0.0);
        EXPECT_LE(factor, 1.0);
        if (step == 0) {
          EXPECT_GT(factor, 0.0) << "total " << total;
        }
      }
}

TEST(Schedule, RefusesWhatDoesNotFit) {
  ScheduleConfig config;
  config.warmup_steps = 11;
  EXPECT_ERROR(schedule_factor(config, 0, 10), "11 steps of warm-up do not fit into 10 steps");
  const Setting section;
  config = {};
  config.min_ratio = 1.5;
  EXPECT_ERROR(config.validate(Place(&section, "train.schedule")), "must lie in 0 .. 1, found 1.5");
  config = {};
  config.kind = ScheduleKind::kWsd;
  config.warmup_fraction = 0.6;
  config.decay_fraction = 0.6;
  EXPECT_ERROR(config.validate(Place(&section, "train.schedule")), "warm-up and decay must fit");
}

}  // namespace
}  // namespace decant
