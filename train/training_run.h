// The state of one training between its optimizer steps: what trains, its optimizer, its data position, its
// metrics and checkpoints. trainer.h drives one of them, grouped.h many that share a frozen base; a run's
// files are the same bytes either way.
//
//   while (!run.finished()) {
//     run.begin_step();
//     for (const Batch& batch : run.micro_batches()) { ... forward, loss(run.scale()), run.add(...), backward
//     } run.end_step();
//   }
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "train/checkpoint.h"
#include "train/event_file.h"
#include "train/line_file.h"
#include "train/optimizer.h"
#include "train/trainer.h"

namespace decant {

class TrainingRun {
 public:
  // Opens `folder` and goes on from the checkpoint in it; Error when that is of another training. The
  // parameters, and the tensors in them, must stay where they are. `title` begins every message.
  TrainingRun(std::string title, std::vector<Parameter*> parameters, StepBatches batches,
              const TrainConfig& config, std::filesystem::path folder);

  bool finished() const { return state_.step == total_; }
  int64_t step() const { return state_.step; }  // optimizer steps done
  int64_t total() const { return total_; }
  double last_loss() const { return state_.last_loss; }
  const std::string& title() const { return title_; }
  const TrainConfig& config() const { return config_; }
  const std::vector<Parameter*>& parameters() const { return parameters_; }

  // Takes the next step's micro-batches (those without a weighted token left out) and clears the gradients.
  void begin_step();
  const std::vector<Batch>& micro_batches() const { return micro_batches_; }
  double scale() const { return 1.0 / weight_; }  // of the losses: 1 / weight of the whole step

  // A micro-batch's loss. Error unless it is finite; `model` is searched for the first bad tensor.
  void add(const Decoder& model, const ObjectiveResult& result);
  // Clips, steps, writes metrics, and saves when it is time. Error unless the gradients are finite.
  void end_step(const Decoder& model);

  void save();  // a checkpoint of the steps done, unless there is one
  // After the last step: the average takes the weights' place when one is kept.
  TrainResult result();

 private:
  void write_metrics(double loss, double norm, double rate);
  [[noreturn]] void fail_not_finite(const Decoder& model, const std::string& what) const;

  using Clock = std::chrono::steady_clock;
  std::string title_;
  std::vector<Parameter*> parameters_;
  StepBatches batches_;
  TrainConfig config_;
  std::filesystem::path folder_;
  int64_t total_;
  Optimizer optimizer_;
  CheckpointState state_;
  LineFile metrics_, timing_;
  EventFile events_;
  int64_t saved_step_;

  // Of the step in progress.
  std::vector<Batch> micro_batches_;
  double loss_ = 0, weight_ = 0;
  int64_t tokens_ = 0;
  std::vector<std::pair<std::string, double>> parts_;
  Clock::time_point step_begin_;

  // Of this process.
  int64_t tokens_here_ = 0;
  double seconds_here_ = 0;
};

}  // namespace decant
