#include "train/training_run.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "core/file.h"
#include "core/hash.h"
#include "core/log.h"
#include "core/run_directory.h"

namespace decant {

namespace fs = std::filesystem;

namespace {

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

// The state to begin with: the checkpoint's, loaded into the optimizer, or a new one.
CheckpointState resumed(const std::string& title, CheckpointState state, Optimizer& optimizer, int64_t total,
                        const fs::path& folder) {
  const auto found = find_checkpoint(folder);
  if (!found) return state;
  const CheckpointState saved = read_checkpoint_state(*found);
  check_same_training(saved, state, *found);
  check(saved.step <= total, found->string(), ": is at step ", saved.step, " of ", total);
  optimizer.load_state(TensorFile(*found / "optimizer.safetensors"), saved.step);
  log_info(title, ": goes on after step ", saved.step, " of ", total);
  return saved;
}

int64_t checked_steps(const std::string& title, const std::vector<Parameter*>& parameters,
                      const TrainConfig& config, const StepBatches& batches, const fs::path& folder) {
  check(!parameters.empty(), title, ": nothing is marked trainable");
  const int64_t total = training_steps(config, batches);
  schedule_factor(config.schedule, 0, total);  // refuses a warm-up longer than the training before any work
  fs::create_directories(folder);
  return total;
}

bool finite(const at::Tensor& x) { return at::isfinite(x).all().item<bool>(); }

}  // namespace

TrainingRun::TrainingRun(std::string title, std::vector<Parameter*> parameters, StepBatches batches,
                         const TrainConfig& config, fs::path folder)
    : title_(std::move(title)),
      parameters_(std::move(parameters)),
      batches_(std::move(batches)),
      config_(config),
      folder_(std::move(folder)),
      total_(checked_steps(title_, parameters_, config_, batches_, folder_)),
      optimizer_(parameters_, config_.optimizer),
      state_(resumed(title_, identity(parameters_, batches_, config_, total_), optimizer_, total_, folder_)),
      metrics_(folder_ / "metrics.jsonl", state_.metrics_bytes),
      timing_(folder_ / "timing.jsonl"),
      events_(folder_ / kEventFileName, state_.event_bytes),
      saved_step_(state_.step) {
  if (config_.checkpoint_every > 0 && !finished())
    check_free_disk(folder_, checkpoint_bytes(parameters_, optimizer_.averages()));
}

void TrainingRun::begin_step() {
  step_begin_ = Clock::now();
  micro_batches_ = batches_.step(state_.step);
  loss_ = weight_ = 0;
  tokens_ = 0;
  parts_.clear();
  for (Batch& batch : micro_batches_) {
    if (config_.noise_alpha > 0)
      batch.noise = {{0, batch.size(), config_.noise_alpha, static_cast<uint64_t>(config_.batch.seed),
                      state_.step, tokens_}};
    weight_ += batch.total_weight();
    tokens_ += batch.size();
  }
  check(weight_ > 0, title_, ": step ", state_.step + 1, ": no token of its ", tokens_,
        " has a loss weight; check the corpus' roles and template");
  std::erase_if(micro_batches_, [](const Batch& batch) { return batch.total_weight() == 0; });
  clear_gradients(parameters_);
}

void TrainingRun::add(const Decoder& model, const ObjectiveResult& result) {
  if (!std::isfinite(result.loss.sum)) fail_not_finite(model, "the loss");
  loss_ += result.loss.sum;
  for (size_t i = 0; i < result.parts.size(); ++i) {
    if (i == parts_.size()) parts_.emplace_back(result.parts[i].first, 0.0);
    parts_[i].second += result.parts[i].second;
  }
}

void TrainingRun::end_step(const Decoder& model) {
  const double loss = loss_ / weight_;
  const double norm = optimizer_.gradient_norm();
  if (!std::isfinite(norm)) fail_not_finite(model, "the gradient norm");
  const double rate =
      config_.optimizer.learning_rate * schedule_factor(config_.schedule, state_.step, total_);
  optimizer_.step(rate, norm);

  micro_batches_.clear();
  if (state_.step == 0) state_.first_loss = loss;
  state_.step += 1;
  state_.tokens += tokens_;
  state_.last_loss = loss;
  if (state_.step % config_.log_every == 0 || finished()) write_metrics(loss, norm, rate);
  tokens_here_ += tokens_;
  seconds_here_ += std::chrono::duration<double>(Clock::now() - step_begin_).count();
  if (config_.checkpoint_every > 0 && (state_.step % config_.checkpoint_every == 0 || finished())) save();
}

void TrainingRun::write_metrics(double loss, double norm, double rate) {
  Json line{{"step", state_.step}, {"loss", loss}};
  std::vector<std::pair<std::string, double>> scalars{{"train/loss", loss}};
  for (const auto& [name, sum] : parts_) {
    line[name] = sum / weight_;
    scalars.emplace_back("train/" + name, sum / weight_);
  }
  line["grad_norm"] = norm;
  line["learning_rate"] = rate;
  line["weight"] = weight_;
  line["tokens"] = state_.tokens;
  metrics_.append(line.dump() + "\n");
  scalars.emplace_back("train/grad_norm", norm);
  scalars.emplace_back("train/learning_rate", rate);
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  events_.scalars(state_.step, std::chrono::duration<double>(now).count(), scalars);
  const double seconds = std::chrono::duration<double>(Clock::now() - step_begin_).count();
  timing_.append(Json{{"step", state_.step},
                      {"seconds", seconds},
                      {"tokens_per_second", static_cast<double>(tokens_) / seconds}}
                     .dump() +
                 "\n");
}

void TrainingRun::save() {
  if (saved_step_ == state_.step) return;
  metrics_.sync();
  events_.sync();
  state_.metrics_bytes = metrics_.bytes();
  state_.event_bytes = events_.bytes();
  save_checkpoint(folder_, state_, optimizer_);
  saved_step_ = state_.step;
}

TrainResult TrainingRun::result() {
  optimizer_.end_with_average();
  TrainResult result;
  result.steps = state_.step;
  result.tokens = state_.tokens;
  result.first_loss = state_.first_loss;
  result.last_loss = state_.last_loss;
  if (tokens_here_ > 0) result.tokens_per_second = static_cast<double>(tokens_here_) / seconds_here_;
  for (size_t i = 0; i < parameters_.size(); ++i)
    if (!optimizer_.master(i).is_same(parameters_[i]->value))
      result.masters.emplace_back(parameters_[i]->name, optimizer_.master(i));
  return result;
}

// Names the first tensor that holds a NaN or Inf: weights first, since bad gradients follow from them.
void TrainingRun::fail_not_finite(const Decoder& model, const std::string& what) const {
  const auto first = [&]() -> std::string {
    for (const Parameter* p : model.parameters())
      if (!finite(p->value)) return "the weight '" + p->name + "'";
    for (const Parameter* p : parameters_)
      if (!finite(p->value)) return "the weight '" + p->name + "'";
    for (const Parameter* p : parameters_)
      if (!finite(p->grad)) return "the gradient of '" + p->name + "'";
    return "none of the weights or gradients: the loss itself overflowed";
  }();
  const auto last = find_checkpoint(folder_);
  fail(title_, ": step ", state_.step + 1, ": ", what, " is not finite; first bad tensor: ", first, "; ",
       last ? concat("the last good state is ", last->string()) : std::string("there is no checkpoint yet"),
       "; lower optimizer.learning_rate, or look at the data of this step");
}

}  // namespace decant
