// The state of one training between its optimizer steps: what trains, its optimizer, its data position, its
// metrics and checkpoints. trainer.h drives one of them, grouped.h many that share a frozen base; a run's
// files are the same bytes either way.
//
//   while (run.begin_step()) {
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
#include "train/guard.h"
#include "train/line_file.h"
#include "train/optimizer.h"
#include "train/probe.h"
#include "train/speed.h"
#include "train/trainer.h"

namespace decant {

class TrainingRun {
 public:
  // Opens `folder` and goes on from the checkpoint in it; Error when that is of another training. The
  // parameters, and the tensors in them, must stay where they are. `title` begins every message.
  TrainingRun(std::string title, std::vector<Parameter*> parameters, StepBatches batches,
              const TrainConfig& config, std::filesystem::path folder, Probe probe = {});

  bool finished() const { return state_.step == total_ || state_.ended_early; }
  int64_t step() const { return state_.step; }  // optimizer steps done
  int64_t total() const { return total_; }
  double last_loss() const { return state_.last_loss; }
  const std::string& title() const { return title_; }
  const TrainConfig& config() const { return config_; }
  const Speed& speed() const { return here_; }  // of this process's steps
  const std::vector<Parameter*>& parameters() const { return parameters_; }

  // Takes the next step's micro-batches (those without a weighted token left out) and clears the gradients.
  // False when there is none: the training is finished.
  bool begin_step();
  const std::vector<Batch>& micro_batches() const { return micro_batches_; }
  double scale() const { return 1.0 / weight_; }  // of the losses: 1 / weight of the whole step

  // A micro-batch's loss. False when it is not finite and the rest of the step is not worth computing:
  // end_step() may be called at once. Error when the guard says stop; `model` is searched for the first bad
  // tensor.
  bool add(const Decoder& model, const ObjectiveResult& result);
  // Judges, clips, steps, writes metrics, measures, and saves when it is time. Error when the guard says
  // stop.
  void end_step(const Decoder& model);

  bool time_is_up() const;  // config().most_minutes
  void save();              // a checkpoint of the steps done, unless there is one; on disk when it returns
  // Once finished: puts the best step's weights in place when the config wants those, then the average when
  // one is kept.
  TrainResult result();

 private:
  void clear_step();
  void count_step(const Decoder* model);
  void write_scalars(const std::vector<std::pair<std::string, double>>& scalars);
  void write_metrics(double loss, double norm, double rate, const std::string& refused);
  void refuse_step(const Decoder& model, double loss, double norm, const Guard::Finding& finding);
  void rewind(const Guard::Finding& finding);
  void measure();
  void save_in_time(bool wanted);
  void begin_save();
  [[noreturn]] void stop(const Decoder& model, const Guard::Finding& finding);

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
  Probe probe_;
  Guard guard_;
  ProbeState probed_;
  CheckpointWriter writer_;

  // Of the step in progress.
  std::vector<Batch> micro_batches_;
  double loss_ = 0, weight_ = 0;
  int64_t tokens_ = 0;
  std::vector<std::pair<std::string, double>> parts_;
  Clock::time_point step_begin_;

  // Of the last step and of all of this process.
  Speed last_, here_;
  double rate_ = 0;  // product_rate()
  Clock::time_point begin_ = Clock::now();
};

}  // namespace decant
