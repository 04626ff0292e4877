// One trainer for full fine-tuning, LoRA and distillation: what trains is what is marked trainable, the loss
// is a function. The loss of a step is (weighted sum over all its tokens) / (sum of all its weights),
// whatever the split into micro-batches.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/config.h"
#include "core/kernels/head_cross_entropy.h"
#include "core/model/decoder.h"
#include "data_pipeline/batch_source.h"
#include "train/guard.h"
#include "train/optimizer.h"
#include "train/preference_config.h"
#include "train/probe.h"
#include "train/schedule.h"

namespace decant {

// hidden [T, D] of `batch` -> loss sum, and with gradients d(sum * scale)/d hidden; adds to the head's
// gradient if it trains.
struct ObjectiveResult {
  HeadLoss loss;                                      // what is minimised
  std::vector<std::pair<std::string, double>> parts;  // sums to log beside it: "cross_entropy", "kl"
};
using Objective = std::function<ObjectiveResult(Decoder& model, const Batch& batch, const at::Tensor& hidden,
                                                double scale, bool gradients)>;

// Cross-entropy of the next token.
ObjectiveResult next_token_loss(Decoder& model, const Batch& batch, const at::Tensor& hidden, double scale,
                                bool gradients);

// Whether layers run again in backward. The results are the same bits either way.
enum class Recompute { kAuto, kNo, kYes };
template <>
struct EnumNames<Recompute> {
  static constexpr std::pair<Recompute, const char*> values[] = {
      {Recompute::kAuto, "auto"}, {Recompute::kNo, "false"}, {Recompute::kYes, "true"}};
};

struct TrainConfig {
  ObjectiveKind objective = ObjectiveKind::kSft;
  PreferenceConfig preference;
  int64_t steps = 0;
  double epochs = 1;
  BatchConfig batch;
  OptimizerConfig optimizer;
  ScheduleConfig schedule;
  double noise_alpha = 0;
  GuardConfig guard;
  ProbeConfig probe;
  SampleConfig samples;
  int64_t memory_mib = 0;
  Recompute checkpoint_activations = Recompute::kAuto;
  int64_t checkpoint_every = 50;
  int64_t keep_checkpoints = 1;
  double most_minutes = 0;
  int64_t log_every = 1;

  static void visit(auto& c, auto&& field) {
    field("objective", c.objective,
          "sft: the corpus as it is; dpo, orpo: pairs of a chosen and a rejected answer; kto: answers judged "
          "alone (corpus.preference: pairs)");
    field("preference", c.preference, "what dpo, orpo and kto can be told");
    field("steps", c.steps, "optimizer steps; 0 takes epochs instead");
    field("epochs", c.epochs, "passes over the corpus when steps is 0");
    field("batch", c.batch, "how packed rows become steps");
    field("optimizer", c.optimizer, "AdamW");
    field("schedule", c.schedule, "learning rate over the steps");
    field(
        "noise_alpha", c.noise_alpha,
        "noise on the embeddings of each document, uniform in +-alpha / sqrt(length * width) (NEFTune; 5 is "
        "usual); drawn from batch.seed; 0: none");
    field("guard", c.guard, "what happens to steps that look wrong");
    field("probe", c.probe, "measurements on held-out text while training");
    field(
        "memory_mib", c.memory_mib,
        "most memory that the whole program may take at its peak, in MiB: micro-batches become smaller, "
        "then layers run again in backward, until it is enough, or the step is refused; 0: what the machine "
        "has available, and micro-batches stay as they are",
        kDoesNotAffectResults);
    field("samples", c.samples, "answers to held-out questions before and after", kDoesNotAffectResults);
    field("checkpoint_activations", c.checkpoint_activations,
          "keep layer inputs only and run each layer again in backward: auto (when memory is short), true or "
          "false",
          kDoesNotAffectResults);
    field("checkpoint_every", c.checkpoint_every, "steps between checkpoints on disk; 0 for none",
          kDoesNotAffectResults);
    field("keep_checkpoints", c.keep_checkpoints, "the newest ones that stay, beside the best",
          kDoesNotAffectResults);
    field("most_minutes", c.most_minutes,
          "of wall clock, after which the training saves and ends with exit status 75; 0: any number",
          kDoesNotAffectResults);
    field("log_every", c.log_every, "steps between lines of metrics.jsonl");
  }
  void validate(const Place& place) const;
};

struct TrainResult {
  int64_t steps = 0, tokens = 0;         // of the whole training, resumed parts included
  double first_loss = 0, last_loss = 0;  // per unit of weight, nats
  // Of this process's share; 0 when nothing was left to do. `mfu` is the share of `product_rate` (speed.h).
  double tokens_per_second = 0, mfu = 0, product_rate = 0;
  int64_t refused = 0;              // steps that a guard kept from changing the weights
  std::optional<double> best_loss;  // held-out, when it was measured
  int64_t best_step = 0;
  bool ended_early = false;
  // The fp32 masters of parameters whose values are bf16 copies, by name (what collect_adapter() saves); the
  // others train in place.
  std::vector<std::pair<std::string, at::Tensor>> masters;
};

// Trains in place. Into `folder`: metrics.jsonl (no times), timing.jsonl (seconds, tokens/s, MFU and resident
// memory of the same steps), the TensorBoard file
// (train/event_file.h), checkpoint/. A checkpoint found in `folder` is resumed, bit-identically; one of
// another configuration, thread count or instruction set is refused. After the last step a checkpoint stays,
// so that a kill before the caller has saved the result costs nothing; remove_checkpoints() takes it away.
// With config.guard.not_finite at `stop`, NaN or Inf in the loss or the gradient norm stops with an Error
// that names step and first bad tensor; the last checkpoint stays. SIGINT, SIGTERM and the wall-clock limit:
// saves and throws Error with exit status 75. `probe` is needed when config.probe.every is not 0.
TrainResult train(Decoder& model, const std::vector<Parameter*>& parameters, const StepBatches& batches,
                  const Objective& objective, const TrainConfig& config, const std::filesystem::path& folder,
                  const Probe& probe = {});

// Optimizer steps of a training over these batches: `steps`, or `epochs` of them, at least 1.
int64_t training_steps(const TrainConfig& config, const StepBatches& batches);

void remove_checkpoints(const std::filesystem::path& folder);

}  // namespace decant
