#include "train/trainer.h"

#include <csignal>

#include "core/progress.h"
#include "train/stop_signal.h"
#include "train/training_run.h"

namespace decant {

namespace fs = std::filesystem;

TrainResult train(Decoder& model, const std::vector<Parameter*>& parameters, const StepBatches& batches,
                  const Objective& objective, const TrainConfig& config, const fs::path& folder,
                  const Probe& probe) {
  TrainingRun run("train", parameters, batches, config, folder, probe);
  const StopSignal stop_signal;
  const double rate = run.finished() ? 0 : product_rate(model);  // measured before the first step
  Progress progress("train", run.total(), "steps");
  while (run.begin_step()) {
    for (const Batch& batch : run.micro_batches()) {
      Saved saved;
      saved.checkpoint = config.checkpoint_activations == Recompute::kYes;
      const at::Tensor hidden = forward(model, batch, &saved);
      const ObjectiveResult result = objective(model, batch, hidden, run.scale(), true);
      if (!run.add(model, result)) break;
      backward(model, batch, saved, result.loss.d_hidden);
    }
    run.end_step(model);
    progress.update(run.step(), concat("loss ", run.last_loss(), ", ", speed_text(run.speed(), rate)));
    const int number = StopSignal::caught();
    if (run.finished() || (number == 0 && !run.time_is_up())) continue;
    run.save();
    fail_try_again("train: stopped by ",
                   number == 0        ? "most_minutes"
                   : number == SIGINT ? "SIGINT"
                                      : "SIGTERM",
                   " after step ", run.step(), " of ", run.total(), "; saved in ",
                   (folder / "checkpoint").string(), ", the same command goes on from there");
  }
  return run.result();
}

void remove_checkpoints(const fs::path& folder) { fs::remove_all(folder / "checkpoint"); }

}  // namespace decant
