// The search for a learning rate: the suggestion from given curves, and a search on a tiny model.
#include "train/rate_search.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/expect_error.h"
#include "tests/support/shared.h"
#include "tests/train/tiny_training.h"

namespace decant {
namespace {

std::vector<RatePoint> curve(int64_t count, double (*loss)(double)) {
  std::vector<RatePoint> points;
  for (int64_t i = 0; i < count; ++i) {
    const double at = static_cast<double>(i);
    points.push_back({i + 1, std::pow(10.0, -7 + 0.1 * at), loss(at), loss(at)});
  }
  return points;
}

TEST(SteepestRate, IsThatOfTheCurve) {
  // A logistic fall, whose middle is at step 40, before a rise.
  const auto falls =
      curve(80, [](double x) { return 3 / (1 + std::exp((x - 40) / 4)) + std::exp((x - 70) / 3); });
  EXPECT_DOUBLE_EQ(steepest_rate(falls).value(), falls[40].rate);
  // The first ten and the last one do not count.
  const auto early = curve(60, [](double x) {
    return x == 3 || x == 59 ? -100.0 : 5 - 0.01 * x - (x > 30 && x < 34 ? x - 30 : 0);
  });
  const double rate = steepest_rate(early).value();
  EXPECT_GE(rate, early[31].rate);
  EXPECT_LE(rate, early[32].rate);
  EXPECT_FALSE(steepest_rate(curve(60, [](double x) { return x; })).has_value());
  EXPECT_FALSE(steepest_rate(curve(12, [](double x) { return -x; })).has_value());
}

Decoder trainable() {
  Decoder model = random_decoder(test::tiny_model_config(), Dtype::kFp32, 1);
  make_trainable(model);
  return model;
}

TEST(RateSearch, RisesUntilTheLossBreaks) {
  RateSearchConfig search;
  search.steps = 60;
  search.smoothing = 0.8;
  search.lowest = 1e-5;
  search.highest = 30;
  const auto run = [&] {
    Decoder model = trainable();
    return search_rate(model, model.parameters(), test::tiny_batches(), next_token_loss, test::tiny_config(),
                       search);
  };
  const RateSearch found = run();
  ASSERT_TRUE(found.diverged);
  ASSERT_LT(found.points.size(), 60U);
  ASSERT_GT(found.points.size(), 20U);
  double mean = 0;
  for (size_t i = 0; i < found.points.size(); ++i) {
    const RatePoint& point = found.points[i];
    EXPECT_EQ(point.step, static_cast<int64_t>(i) + 1);
    EXPECT_NEAR(std::log(point.rate / 1e-5), std::log(3e6) * static_cast<double>(i) / 59, 1e-9);
    mean = 0.8 * mean + 0.2 * point.loss;
    EXPECT_NEAR(point.smoothed, mean / (1 - std::pow(0.8, static_cast<double>(i + 1))), 1e-12);
  }
  EXPECT_NEAR(found.points[0].loss, std::log(64.0), 0.2);  // a fresh start
  ASSERT_TRUE(found.steepest.has_value());
  EXPECT_GT(*found.steepest, 1e-5);
  EXPECT_LE(*found.steepest, found.points.back().rate);
  EXPECT_LT(found.lowest, found.points.back().rate);
  // A search is a pure function of its arguments.
  const RateSearch again = run();
  ASSERT_EQ(again.points.size(), found.points.size());
  for (size_t i = 0; i < found.points.size(); ++i) EXPECT_EQ(again.points[i].loss, found.points[i].loss);
}

// The first step of a search is the first step of a training with that rate.
TEST(RateSearch, StepsAsTrainingDoes) {
  RateSearchConfig search;
  search.steps = 15;
  search.lowest = 0.0099999999;
  search.highest = 0.01;
  Decoder model = trainable(), trained = trainable();
  const auto found = search_rate(model, model.parameters(), test::tiny_batches(), next_token_loss,
                                 test::tiny_config(), search);
  TrainConfig config = test::tiny_config();
  config.steps = 15;
  config.schedule.kind = ScheduleKind::kConstant;
  config.schedule.warmup_fraction = 0;
  const auto result = train(trained, trained.parameters(), test::tiny_batches(), next_token_loss, config,
                            test::scratch_folder());
  ASSERT_EQ(found.points.size(), 15U);
  EXPECT_NEAR(found.points.back().loss, result.last_loss, 1e-5);
}

TEST(RateSearch, RefusesWhatMakesNoSense) {
  RateSearchConfig search;
  search.lowest = 0;
  EXPECT_ERROR(search.validate(), "--lowest: must be above 0");
  search = {};
  search.highest = 1e-8;
  EXPECT_ERROR(search.validate(), "--highest: must be above --lowest");
  search = {};
  search.steps = 5;
  EXPECT_ERROR(search.validate(), "--steps: must lie in 15 .. 10000");
  Decoder model = trainable();
  EXPECT_ERROR(search_rate(model, {}, test::tiny_batches(), next_token_loss, test::tiny_config(), {}),
               "nothing is marked trainable");
  model.norm.value.fill_(std::nan(""));
  EXPECT_ERROR(
      search_rate(model, model.parameters(), test::tiny_batches(), next_token_loss, test::tiny_config(), {}),
      "lr-find: step 1: the loss or its gradient is not finite");
}

}  // namespace
}  // namespace decant
