// Measurements while training: what the best step is, early stopping, checkpoints that stay, the wall clock.
#include "train/probe.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "core/file.h"
#include "tests/support/expect_error.h"
#include "tests/support/shared.h"
#include "tests/train/tiny_training.h"
#include "train/checkpoint.h"

namespace decant {
namespace {

namespace fs = std::filesystem;

struct Trained {
  TrainResult result;
  std::vector<at::Tensor> weights;
  int measured = 0;
};

// Held-out losses that are given; `stop_at`: throws as that step begins.
Trained run(const TrainConfig& config, const fs::path& folder, const std::map<int64_t, double>& losses,
            int64_t stop_at = -1) {
  Decoder model = random_decoder(test::tiny_model_config(), Dtype::kFp32, 1);
  make_trainable(model);
  Trained trained;
  int64_t now = 0;
  StepBatches batches = test::tiny_batches();
  batches.step = [&, inner = batches.step](int64_t step) {
    if (step == stop_at) fail_try_again("stopped by the test");
    now = step + 1;
    return inner(step);
  };
  trained.result =
      train(model, model.parameters(), batches, next_token_loss, config, folder, [&](int64_t step) {
        EXPECT_EQ(step, now);
        ++trained.measured;
        return Json{{"held_out_loss", losses.at(now)}, {"sources", {{"chat", 1.5}}}};
      });
  for (const Parameter* p : model.parameters()) trained.weights.push_back(p->value.clone());
  return trained;
}

bool same(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  for (size_t i = 0; i < a.size(); ++i)
    if (!at::equal(a[i], b[i])) return false;
  return a.size() == b.size();
}

TEST(Probe, NotesTheBestAndCountsPatience) {
  ProbeConfig config;
  config.every = 1;
  config.patience = 2;
  config.min_delta = 0.1;
  ProbeState state;
  EXPECT_TRUE(state.note(config, 1, 2.0));
  EXPECT_FALSE(state.note(config, 2, 1.95)) << "not lower by min_delta";
  EXPECT_TRUE(state.note(config, 3, 1.5));
  EXPECT_FALSE(state.note(config, 4, 1.6));
  EXPECT_FALSE(state.out_of_patience(config));
  EXPECT_FALSE(state.note(config, 5, 1.45));
  EXPECT_TRUE(state.out_of_patience(config));
  EXPECT_EQ(ProbeState::from_json(Json::parse(state.to_json().dump())).to_json().dump(),
            state.to_json().dump());
  EXPECT_EQ(state.best_step, 3);
  EXPECT_ERROR(state.note(config, 6, std::nan("")), "held-out loss after step 6 is not finite");
}

TEST(Probe, TrainingEndsEarlyWithTheBestStepsWeights) {
  const auto folder = test::scratch_folder();
  TrainConfig config = test::tiny_config();
  config.probe.every = 2;
  config.probe.patience = 2;
  config.probe.keep_best = true;
  const std::map<int64_t, double> losses = {{2, 3.0}, {4, 2.0}, {6, 2.5}, {8, 2.1}, {10, 1.0}, {12, 1.0}};
  const Trained early = run(config, folder / "early", losses);
  EXPECT_EQ(early.result.steps, 8);
  EXPECT_TRUE(early.result.ended_early);
  EXPECT_EQ(early.result.best_step, 4);
  EXPECT_EQ(early.result.best_loss, 2.0);
  EXPECT_EQ(early.measured, 4);
  EXPECT_EQ(fs::read_symlink(folder / "early/checkpoint/best"), "step-0000000004");
  EXPECT_EQ(fs::read_symlink(folder / "early/checkpoint/latest"), "step-0000000008");
  const std::string metrics = read_file(folder / "early/metrics.jsonl");
  EXPECT_NE(metrics.find("{\"step\":4,\"probe\":{\"held_out_loss\":2.0,\"sources\":{\"chat\":1.5}}}"),
            std::string::npos)
      << metrics;

  // The weights are those after four steps.
  TrainConfig four = config;
  four.probe = {};
  four.steps = 4;
  four.schedule.kind = config.schedule.kind = ScheduleKind::kConstant;
  four.schedule.warmup_steps = config.schedule.warmup_steps = 0;
  const Trained constant = run(config, folder / "constant", losses);
  EXPECT_TRUE(same(constant.weights, run(four, folder / "four", losses).weights));

  // Stopped at any step and resumed: the same.
  for (const int64_t stop : {3, 5, 7})
    EXPECT_ERROR(run(config, folder / "resumed", losses, stop), "by the test");
  const Trained resumed = run(config, folder / "resumed", losses);
  EXPECT_TRUE(same(resumed.weights, constant.weights));
  EXPECT_EQ(read_file(folder / "resumed/metrics.jsonl"), read_file(folder / "constant/metrics.jsonl"));
  // Finished: nothing is trained or measured again, the result is the same.
  const Trained again = run(config, folder / "resumed", losses, 0);
  EXPECT_EQ(again.measured, 0);
  EXPECT_TRUE(same(again.weights, constant.weights));
}

TEST(Probe, NeedsHeldOutText) {
  TrainConfig config = test::tiny_config();
  config.probe.every = 1;
  Decoder model = random_decoder(test::tiny_model_config(), Dtype::kFp32, 1);
  make_trainable(model);
  EXPECT_ERROR(
      train(model, model.parameters(), test::tiny_batches(), next_token_loss, config, test::scratch_folder()),
      "there is no held-out text to measure on");
}

TEST(Checkpoints, TheNewestStay) {
  const auto folder = test::scratch_folder();
  TrainConfig config = test::tiny_config();
  config.checkpoint_every = 2;
  config.keep_checkpoints = 3;
  run(config, folder, {});
  for (const int64_t step : {2, 4, 6}) EXPECT_FALSE(checkpoint_of_step(folder, step)) << step;
  for (const int64_t step : {8, 10, 12}) EXPECT_TRUE(checkpoint_of_step(folder, step)) << step;
}

TEST(WallClock, SavesAndAsksToTryAgain) {
  const auto folder = test::scratch_folder();
  TrainConfig config = test::tiny_config();
  const Trained whole = run(config, folder / "whole", {});
  config.most_minutes = 1e-9;
  int stops = 0;
  for (; stops < 20; ++stops) {
    try {
      const Trained last = run(config, folder / "slices", {});
      EXPECT_TRUE(same(last.weights, whole.weights));
      break;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), Exit::kTryAgain);
      EXPECT_NE(std::string(e.what()).find("stopped by most_minutes"), std::string::npos) << e.what();
    }
  }
  EXPECT_EQ(stops, 11) << "a step a time, the last one finishes";
  EXPECT_EQ(read_file(folder / "slices/metrics.jsonl"), read_file(folder / "whole/metrics.jsonl"));
}

}  // namespace
}  // namespace decant
