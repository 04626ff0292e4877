#include "train/trainer.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <chrono>
#include <cmath>
#include <csignal>

#include "core/file.h"
#include "core/hash.h"
#include "core/log.h"
#include "core/progress.h"
#include "core/run_directory.h"
#include "train/checkpoint.h"
#include "train/event_file.h"
#include "train/line_file.h"
#include "train/stop_signal.h"

namespace decant {

namespace fs = std::filesystem;

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// What must be the same for a resume to give the same bytes.
CheckpointState identity(const std::vector<Parameter*>& parameters, const StepBatches& batches,
                         const TrainConfig& config, int64_t total) {
  CheckpointState state;
  state.config =
      config_key(config) + concat("total_steps: ", total, "\nsteps_per_epoch: ", batches.steps_per_epoch,
                                  "\ntokens_per_epoch: ", batches.tokens_per_epoch, "\n");
  state.machine = concat(machine_key(), ", ", at::get_num_threads(), " threads here");
  std::string text;
  for (const Parameter* p : parameters)
    text +=
        concat(p->name, " ", c10::toString(p->value.scalar_type()), " ", c10::str(p->value.sizes()), "\n");
  state.parameters = sha256_hex(text);
  return state;
}

bool finite(const at::Tensor& x) { return at::isfinite(x).all().item<bool>(); }

// Names the first tensor that holds a NaN or Inf: weights first, since bad gradients follow from them.
[[noreturn]] void fail_not_finite(Decoder& model, const std::vector<Parameter*>& parameters,
                                  const fs::path& folder, int64_t step, const std::string& what) {
  std::string first = "none of the weights or gradients: the loss itself overflowed";
  const auto find = [&] {
    for (const Parameter* p : model.parameters())
      if (!finite(p->value)) return "the weight '" + p->name + "'";
    for (const Parameter* p : model.adapter_parameters())
      if (!finite(p->value)) return "the weight '" + p->name + "'";
    for (const Parameter* p : parameters)
      if (!finite(p->grad)) return "the gradient of '" + p->name + "'";
    return first;
  };
  first = find();
  const auto last = find_checkpoint(folder);
  fail("train: step ", step, ": ", what, " is not finite; first bad tensor: ", first, "; ",
       last ? concat("the last good state is ", last->string()) : std::string("there is no checkpoint yet"),
       "; lower optimizer.learning_rate, or look at the data of this step");
}

struct StepSums {
  double loss = 0, weight = 0;
  int64_t tokens = 0;
  std::vector<std::pair<std::string, double>> parts;
};

// Forward and backward over all micro-batches of a step, in their order. Gradients are those of the step's
// mean loss.
StepSums run_step(Decoder& model, const std::vector<Parameter*>& parameters,
                  const std::vector<Batch>& micro_batches, const Objective& objective,
                  bool checkpoint_activations, int64_t step, const fs::path& folder) {
  StepSums sums;
  for (const Batch& batch : micro_batches) {
    sums.weight += batch.total_weight();
    sums.tokens += batch.size();
  }
  check(sums.weight > 0, "train: step ", step, ": no token of its ", sums.tokens,
        " has a loss weight; check the corpus' roles and template");
  clear_gradients(parameters);
  for (const Batch& batch : micro_batches) {
    if (batch.total_weight() == 0) continue;
    Saved saved;
    saved.checkpoint = checkpoint_activations;
    const at::Tensor hidden = forward(model, batch, &saved);
    ObjectiveResult result = objective(model, batch, hidden, 1.0 / sums.weight, true);
    if (!std::isfinite(result.loss.sum)) fail_not_finite(model, parameters, folder, step, "the loss");
    sums.loss += result.loss.sum;
    for (size_t i = 0; i < result.parts.size(); ++i) {
      if (i == sums.parts.size()) sums.parts.emplace_back(result.parts[i].first, 0.0);
      sums.parts[i].second += result.parts[i].second;
    }
    backward(model, batch, saved, result.loss.d_hidden);
  }
  return sums;
}

}  // namespace

TrainResult train(Decoder& model, const std::vector<Parameter*>& parameters, const StepBatches& batches,
                  const Objective& objective, const TrainConfig& config, const fs::path& folder) {
  check(!parameters.empty(), "train: nothing is marked trainable");
  const int64_t total = training_steps(config, batches);
  schedule_factor(config.schedule, 0, total);  // refuses a warm-up longer than the training before any work
  fs::create_directories(folder);
  CheckpointState state = identity(parameters, batches, config, total);
  Optimizer optimizer(parameters, config.optimizer);

  if (const auto found = find_checkpoint(folder)) {
    const CheckpointState saved = read_checkpoint_state(*found);
    check_same_training(saved, state, *found);
    check(saved.step <= total, found->string(), ": is at step ", saved.step, " of ", total);
    optimizer.load_state(TensorFile(*found / "optimizer.safetensors"), saved.step);
    state = saved;
    log_info("train: goes on after step ", state.step, " of ", total);
  }
  if (config.checkpoint_every > 0 && state.step < total)
    check_free_disk(folder, checkpoint_bytes(parameters));
  LineFile metrics(folder / "metrics.jsonl", state.metrics_bytes);
  EventFile events(folder / kEventFileName, state.event_bytes);
  LineFile timing(folder / "timing.jsonl");

  int64_t saved_step = state.step;
  const auto save = [&] {
    if (saved_step == state.step) return;
    metrics.sync();
    events.sync();
    state.metrics_bytes = metrics.bytes();
    state.event_bytes = events.bytes();
    save_checkpoint(folder, state, optimizer);
    saved_step = state.step;
  };

  const StopSignal stop_signal;
  Progress progress("train", total, "steps");
  const auto begin = Clock::now();
  int64_t tokens_here = 0;
  while (state.step < total) {
    const int64_t step = state.step;  // from 0; shown from 1
    const auto step_begin = Clock::now();
    const StepSums sums = run_step(model, parameters, batches.step(step), objective,
                                   config.checkpoint_activations, step + 1, folder);
    const double loss = sums.loss / sums.weight;
    const double norm = optimizer.gradient_norm();
    if (!std::isfinite(norm)) fail_not_finite(model, parameters, folder, step + 1, "the gradient norm");
    const double rate = config.optimizer.learning_rate * schedule_factor(config.schedule, step, total);
    optimizer.step(rate, norm);

    state.step = step + 1;
    state.tokens += sums.tokens;
    tokens_here += sums.tokens;
    if (step == 0) state.first_loss = loss;
    state.last_loss = loss;
    if (state.step % config.log_every == 0 || state.step == total) {
      Json line{{"step", state.step}, {"loss", loss}};
      std::vector<std::pair<std::string, double>> scalars{{"train/loss", loss}};
      for (const auto& [name, sum] : sums.parts) {
        line[name] = sum / sums.weight;
        scalars.emplace_back("train/" + name, sum / sums.weight);
      }
      line["grad_norm"] = norm;
      line["learning_rate"] = rate;
      line["weight"] = sums.weight;
      line["tokens"] = state.tokens;
      metrics.append(line.dump() + "\n");
      scalars.emplace_back("train/grad_norm", norm);
      scalars.emplace_back("train/learning_rate", rate);
      const auto now = std::chrono::system_clock::now().time_since_epoch();
      events.scalars(state.step, std::chrono::duration<double>(now).count(), scalars);
      const double seconds = seconds_since(step_begin);
      timing.append(Json{{"step", state.step},
                         {"seconds", seconds},
                         {"tokens_per_second", static_cast<double>(sums.tokens) / seconds}}
                        .dump() +
                    "\n");
    }
    progress.update(state.step, concat("loss ", loss));

    if (config.checkpoint_every > 0 && (state.step % config.checkpoint_every == 0 || state.step == total))
      save();
    if (const int number = StopSignal::caught(); number != 0 && state.step < total) {
      save();
      fail_try_again("train: stopped by ", number == SIGINT ? "SIGINT" : "SIGTERM", " after step ",
                     state.step, " of ", total, "; saved in ", (folder / "checkpoint").string(),
                     ", the same command goes on from there");
    }
  }

  TrainResult result;
  result.steps = state.step;
  result.tokens = state.tokens;
  result.first_loss = state.first_loss;
  result.last_loss = state.last_loss;
  if (tokens_here > 0) result.tokens_per_second = static_cast<double>(tokens_here) / seconds_since(begin);
  for (size_t i = 0; i < parameters.size(); ++i)
    if (!optimizer.master(i).is_same(parameters[i]->value))
      result.masters.emplace_back(parameters[i]->name, optimizer.master(i));
  return result;
}

void remove_checkpoints(const fs::path& folder) { fs::remove_all(folder / "checkpoint"); }

}  // namespace decant
