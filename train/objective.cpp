#include <cmath>

#include "train/trainer.h"

namespace decant {

ObjectiveResult next_token_loss(Decoder& model, const Batch& batch, const at::Tensor& hidden, double scale,
                                bool gradients) {
  const Targets targets = next_token_targets(batch);
  ObjectiveResult result;
  result.loss = head_cross_entropy(hidden, model.head(), targets.targets, targets.weights, scale, gradients,
                                   model.config.logit_cap);
  return result;
}

void TrainConfig::validate(const Place& place) const {
  check(steps >= 0, place("steps"), ": must not be negative, found ", steps);
  check(steps > 0 || (std::isfinite(epochs) && epochs > 0), place("epochs"),
        ": must be above 0 when steps is 0, found ", epochs);
  check(std::isfinite(noise_alpha) && noise_alpha >= 0, place("noise_alpha"),
        ": must not be negative, found ", noise_alpha);
  check(memory_mib >= 0, place("memory_mib"), ": must not be negative, found ", memory_mib);
  check(checkpoint_every >= 0, place("checkpoint_every"), ": must not be negative, found ", checkpoint_every);
  check(keep_checkpoints >= 1, place("keep_checkpoints"), ": must be at least 1, found ", keep_checkpoints);
  check(std::isfinite(most_minutes) && most_minutes >= 0, place("most_minutes"),
        ": must not be negative, found ", most_minutes);
  check(guard.not_finite != GuardAction::kRewind || checkpoint_every > 0, place("guard"),
        ": 'not_finite' is rewind, which needs checkpoints, but 'checkpoint_every' is 0");
  check(guard.spike != GuardAction::kRewind || checkpoint_every > 0, place("guard"),
        ": 'spike' is rewind, which needs checkpoints, but 'checkpoint_every' is 0");
  check(log_every >= 1, place("log_every"), ": must be at least 1, found ", log_every);
  check(!schedule.warmup_steps || steps == 0 || *schedule.warmup_steps <= steps, place("schedule"),
        ": 'warmup_steps' is ", schedule.warmup_steps.value_or(0), ", more than the ", steps, " steps");
}

int64_t training_steps(const TrainConfig& config, const StepBatches& batches) {
  if (config.steps > 0) return config.steps;
  check(batches.steps_per_epoch > 0, "train: the corpus has no steps; set train.steps or give it text");
  return std::max<int64_t>(1, std::llround(config.epochs * static_cast<double>(batches.steps_per_epoch)));
}

}  // namespace decant
