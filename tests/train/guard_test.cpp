// Guards: what is judged, what a refused step changes, and that a rewound or resumed training is the same
// bytes.
#include "train/guard.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/file.h"
#include "tests/support/expect_error.h"
#include "tests/support/shared.h"
#include "tests/train/tiny_training.h"
#include "train/checkpoint.h"

namespace decant {
namespace {

namespace fs = std::filesystem;
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

GuardConfig watching(double loss, double gradient) {
  GuardConfig config;
  config.loss_spike = loss;
  config.gradient_spike = gradient;
  config.window = 10;
  return config;
}

TEST(Guard, JudgesAgainstTheWindow) {
  Guard guard(watching(4, 3));
  EXPECT_EQ(guard.judge(kNaN, 1).what, "the loss is not finite");
  EXPECT_EQ(guard.judge(1, kNaN).what, "the gradient norm is not finite");
  EXPECT_FALSE(guard.judge(kNaN, 1).spike);
  for (int i = 0; i < 4; ++i) guard.accept(2.0 + 0.1 * (i % 2), 1.0);
  EXPECT_TRUE(guard.judge(100, 1).what.empty()) << "four steps say little";
  for (int i = 0; i < 8; ++i) guard.accept(2.0 + 0.1 * (i % 2), 1.0 + 0.1 * (i % 2));
  // Mean 2.05, deviation 0.05.
  EXPECT_TRUE(guard.judge(2.24, 1).what.empty());
  const auto spike = guard.judge(2.26, 1);
  EXPECT_TRUE(spike.spike);
  EXPECT_NE(spike.what.find("standard deviations above the last 10 steps (guard.loss_spike is 4)"),
            std::string::npos)
      << spike.what;
  EXPECT_TRUE(guard.judge(2.0, 1.15).what.empty());
  EXPECT_TRUE(guard.judge(2.0, 1.4).spike);
  EXPECT_TRUE(guard.judge(0.1, 0.001).what.empty()) << "lower is no spike";
}

TEST(Guard, AFlatWindowIsNoReasonForAlarm) {
  Guard guard(watching(4, 4));
  for (int i = 0; i < 10; ++i) guard.accept(2.0, 1.0);
  EXPECT_TRUE(guard.judge(2.0 + 1e-6, 1.0 + 1e-6).what.empty());
  EXPECT_TRUE(guard.judge(2.5, 1).spike);
}

TEST(Guard, TheStateJudgesAlike) {
  Guard guard(watching(4, 3));
  for (int i = 0; i < 9; ++i) guard.accept(2 + 0.01 * i, 1 + 0.1 * (i % 3));
  guard.refuse();
  Guard again(watching(4, 3));
  again.load(Json::parse(guard.state().dump()));
  EXPECT_EQ(again.state().dump(), guard.state().dump());
  EXPECT_EQ(again.judge(2.2, 1).what, guard.judge(2.2, 1).what);
  EXPECT_ERROR(again.load(Json{{"losses", {1}}, {"log_norms", Json::array()}, {"in_a_row", 0}}),
               "equally long");
  EXPECT_ERROR(again.load(Json{{"losses", "x"}, {"log_norms", {1}}, {"in_a_row", 0}}), "list of numbers");
}

// The tiny training with a step whose gradients are spoilt; returns the weights.
struct Spoilt {
  int64_t bad_step = 7;  // from 0
  float factor = std::numeric_limits<float>::infinity();
  int64_t die_after = -1;  // throws when the step begins
};

std::vector<at::Tensor> run(const TrainConfig& config, const fs::path& folder, const Spoilt& spoilt,
                            TrainResult* result = nullptr) {
  Decoder model = random_decoder(test::tiny_model_config(), Dtype::kFp32, 1);
  make_trainable(model);
  int64_t now = -1;
  StepBatches batches = test::tiny_batches();
  batches.step = [&, inner = batches.step](int64_t step) {
    if (step == spoilt.die_after) fail_try_again("stopped by the test");
    now = step;
    return inner(step);
  };
  const Objective objective = [&](Decoder& m, const Batch& batch, const at::Tensor& hidden, double scale,
                                  bool gradients) {
    ObjectiveResult r = next_token_loss(m, batch, hidden, scale, gradients);
    if (now == spoilt.bad_step) r.loss.d_hidden.mul_(spoilt.factor);
    return r;
  };
  const TrainResult r = train(model, model.parameters(), batches, objective, config, folder);
  if (result != nullptr) *result = r;
  std::vector<at::Tensor> weights;
  for (const Parameter* p : model.parameters()) weights.push_back(p->value.clone());
  return weights;
}

bool same(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  for (size_t i = 0; i < a.size(); ++i)
    if (!at::equal(a[i], b[i])) return false;
  return a.size() == b.size();
}

TrainConfig acting(GuardAction action) {
  TrainConfig config = test::tiny_config();
  config.guard.not_finite = config.guard.spike = action;
  return config;
}

TEST(GuardedTraining, ASkippedStepLeavesTheWeightsAlone) {
  const auto folder = test::scratch_folder();
  TrainResult result;
  const auto skipped = run(acting(GuardAction::kSkip), folder / "skip", {}, &result);
  EXPECT_EQ(result.steps, 12);
  EXPECT_EQ(result.refused, 1);
  for (const auto& w : skipped) EXPECT_TRUE(at::isfinite(w).all().item<bool>());
  const std::string metrics = read_file(folder / "skip/metrics.jsonl");
  EXPECT_NE(metrics.find("\"refused\":\"the gradient norm is not finite\""), std::string::npos) << metrics;
  EXPECT_EQ(std::count(metrics.begin(), metrics.end(), '\n'), 12);
  // Killed and resumed on both sides of the skipped step: the same bytes.
  for (const int64_t stop : {7, 8, 10}) {
    Spoilt dying;
    dying.die_after = stop;
    EXPECT_ERROR(run(acting(GuardAction::kSkip), folder / "resumed", dying), "stopped by the test");
  }
  EXPECT_TRUE(same(run(acting(GuardAction::kSkip), folder / "resumed", {}), skipped));
  EXPECT_EQ(read_file(folder / "resumed/metrics.jsonl"), metrics);
  // And it is not the training without the bad step.
  Spoilt none;
  none.bad_step = -1;
  EXPECT_FALSE(same(run(acting(GuardAction::kSkip), folder / "none", none), skipped));
}

TEST(GuardedTraining, ARewindLeavesTheDataOut) {
  const auto folder = test::scratch_folder();
  TrainResult result;
  const auto rewound = run(acting(GuardAction::kRewind), folder / "rewind", {}, &result);
  EXPECT_EQ(result.refused, 1);
  const std::string metrics = read_file(folder / "rewind/metrics.jsonl");
  EXPECT_EQ(std::count(metrics.begin(), metrics.end(), '\n'), 12);
  const size_t eighth = metrics.find("{\"step\":8,");
  ASSERT_NE(eighth, std::string::npos) << metrics;
  const std::string line = metrics.substr(eighth, metrics.find('\n', eighth) - eighth);
  EXPECT_NE(line.find("\"refused\":\"left out after a rewind\""), std::string::npos) << line;
  for (const int64_t stop : {6, 8, 11}) {
    Spoilt dying;
    dying.die_after = stop;
    EXPECT_ERROR(run(acting(GuardAction::kRewind), folder / "resumed", dying), "stopped by the test");
  }
  EXPECT_TRUE(same(run(acting(GuardAction::kRewind), folder / "resumed", {}), rewound));
  EXPECT_EQ(read_file(folder / "resumed/metrics.jsonl"), metrics);
  // With nothing to rewind to it stops and says so.
  Spoilt first;
  first.bad_step = 1;
  EXPECT_ERROR(run(acting(GuardAction::kRewind), folder / "first", first),
               "there is no checkpoint yet to rewind to");
}

TEST(GuardedTraining, SpikesAreFoundAndTooManyStop) {
  const auto folder = test::scratch_folder();
  TrainConfig config = acting(GuardAction::kSkip);
  config.guard.gradient_spike = 6;
  config.guard.window = 8;
  Spoilt large;
  large.factor = 1e4F;
  TrainResult result;
  run(config, folder / "spike", large, &result);
  EXPECT_EQ(result.refused, 1);
  EXPECT_NE(read_file(folder / "spike/metrics.jsonl").find("guard.gradient_spike is 6"), std::string::npos);
  config.guard.spike = GuardAction::kStop;
  EXPECT_ERROR(run(config, folder / "stop", large), "standard deviations above the last");

  TrainConfig all = acting(GuardAction::kSkip);
  all.guard.most = 2;
  Decoder model = random_decoder(test::tiny_model_config(), Dtype::kFp32, 1);
  make_trainable(model);
  const Objective broken = [](Decoder& m, const Batch& batch, const at::Tensor& hidden, double scale,
                              bool gradients) {
    ObjectiveResult r = next_token_loss(m, batch, hidden, scale, gradients);
    r.loss.sum = kNaN;
    return r;
  };
  EXPECT_ERROR(train(model, model.parameters(), test::tiny_batches(), broken, all, folder / "all"),
               "train: step 3: the loss is not finite");
}

}  // namespace
}  // namespace decant
