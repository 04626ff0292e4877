#include "train/training_run.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/file.h"
#include "core/hash.h"
#include "core/log.h"
#include "core/machine_memory.h"
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
  optimizer.load_state(TensorFile(*found / "optimizer.safetensors"), saved.updates);
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
                         const TrainConfig& config, fs::path folder, Probe probe)
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
      saved_step_(state_.step),
      probe_(std::move(probe)),
      guard_(config_.guard) {
  check(config_.probe.every == 0 || probe_, title_,
        ": 'probe.every' is set, but there is no held-out text to measure on");
  if (state_.step > 0) {
    guard_.load(state_.guard);
    probed_ = ProbeState::from_json(state_.probe);
  }
  // The newest ones, the best and the one being written.
  const int64_t checkpoints = config_.keep_checkpoints + 1 + (config_.probe.keep_best ? 1 : 0);
  if (config_.checkpoint_every > 0 && !finished())
    check_free_disk(folder_, checkpoint_bytes(optimizer_.state(), checkpoints));
}

bool TrainingRun::begin_step() {
  const auto left_out = [&] {
    return std::binary_search(state_.left_out.begin(), state_.left_out.end(), state_.step);
  };
  while (!finished() && left_out()) {
    clear_step();
    const double nothing = std::numeric_limits<double>::quiet_NaN();
    count_step(nullptr);
    write_metrics(nothing, nothing, 0, "left out after a rewind");
    save_in_time(false);
  }
  if (finished()) return false;
  clear_step();
  micro_batches_ = batches_.step(state_.step);
  for (Batch& batch : micro_batches_) {
    batch.training = {{0, batch.size(), state_.step, tokens_, config_.noise_alpha,
                       static_cast<uint64_t>(config_.batch.seed)}};
    weight_ += batch.total_weight();
    tokens_ += batch.size();
  }
  check(weight_ > 0, title_, ": step ", state_.step + 1, ": no token of its ", tokens_,
        " has a loss weight; check the corpus' roles and template");
  std::erase_if(micro_batches_, [](const Batch& batch) { return batch.total_weight() == 0; });
  clear_gradients(parameters_);
  return true;
}

bool TrainingRun::add(const Decoder& model, const ObjectiveResult& result) {
  loss_ += result.loss.sum;
  for (size_t i = 0; i < result.parts.size(); ++i) {
    if (i == parts_.size()) parts_.emplace_back(result.parts[i].first, 0.0);
    parts_[i].second += result.parts[i].second;
  }
  if (std::isfinite(result.loss.sum)) return true;
  if (config_.guard.not_finite == GuardAction::kStop) stop(model, {"the loss is not finite"});
  return false;
}

void TrainingRun::end_step(const Decoder& model) {
  const double loss = loss_ / weight_;
  const double norm = std::isfinite(loss) ? optimizer_.gradient_norm() : loss;
  if (const Guard::Finding finding = guard_.judge(loss, norm); !finding.what.empty())
    return refuse_step(model, loss, norm, finding);
  guard_.accept(loss, norm);
  const double rate =
      config_.optimizer.learning_rate * schedule_factor(config_.schedule, state_.step, total_);
  optimizer_.step(rate, norm);
  ++state_.updates;
  if (state_.updates == 1) state_.first_loss = loss;
  state_.last_loss = loss;
  count_step(&model);
  write_metrics(loss, norm, rate, "");
  bool best = false;
  if (config_.probe.every > 0 && (state_.step % config_.probe.every == 0 || state_.step == total_)) {
    measure();
    best = probed_.best_step == state_.step;
    state_.ended_early = state_.step < total_ && probed_.out_of_patience(config_.probe);
    if (state_.ended_early)
      log_info(title_, ": ends early after step ", state_.step, " of ", total_,
               ": no lower held-out loss in ", probed_.since_best, " measurements");
  }
  save_in_time(best && config_.probe.keep_best);
}

void TrainingRun::clear_step() {
  step_begin_ = Clock::now();
  loss_ = weight_ = 0;
  tokens_ = 0;
  parts_.clear();
}

// `model` null: nothing was computed.
void TrainingRun::count_step(const Decoder* model) {
  last_ = {static_cast<double>(tokens_), 0,
           std::chrono::duration<double>(Clock::now() - step_begin_).count()};
  if (model != nullptr) {
    rate_ = product_rate(*model);
    for (const Batch& batch : micro_batches_) last_.flops += training_flops(*model, parameters_, batch);
  }
  here_.add(last_);
  micro_batches_.clear();
  state_.step += 1;
  state_.tokens += tokens_;
}

void TrainingRun::refuse_step(const Decoder& model, double loss, double norm, const Guard::Finding& finding) {
  const GuardAction action = guard_.action(finding);
  if (action == GuardAction::kStop || !guard_.refuse()) stop(model, finding);
  if (action == GuardAction::kRewind) return rewind(finding);
  log_warning(title_, ": step ", state_.step + 1, " is skipped: ", finding.what);
  count_step(&model);
  write_metrics(loss, norm, 0, finding.what);
  save_in_time(false);
}

// Back to the last checkpoint, from where the training goes on without this step's data.
void TrainingRun::rewind(const Guard::Finding& finding) {
  writer_.wait();
  micro_batches_.clear();
  const int64_t bad = state_.step;
  std::vector<int64_t> left_out = state_.left_out;
  left_out.insert(std::upper_bound(left_out.begin(), left_out.end(), bad), bad);
  const auto found = find_checkpoint(folder_);
  check(found.has_value(), title_, ": step ", bad + 1, ": ", finding.what,
        ", and there is no checkpoint yet to rewind to; set guard to skip, or checkpoint_every lower");
  const int64_t in_a_row = guard_.in_a_row();
  const CheckpointState identity = state_;
  state_ = read_checkpoint_state(*found);
  check_same_training(state_, identity, *found);
  optimizer_.load_state(TensorFile(*found / "optimizer.safetensors"), state_.updates);
  guard_.load(state_.guard);
  guard_.set_in_a_row(in_a_row);
  probed_ = ProbeState::from_json(state_.probe);
  state_.left_out = std::move(left_out);
  metrics_.cut(state_.metrics_bytes);
  events_.cut(state_.event_bytes);
  saved_step_ = state_.step;
  log_warning(title_, ": step ", bad + 1, ": ", finding.what, "; back to step ", state_.step,
              ", and on without the data of step ", bad + 1);
}

void TrainingRun::measure() {
  Json figures = probe_(state_.step);
  TORCH_INTERNAL_ASSERT(figures.contains("held_out_loss"), "a probe gives held_out_loss");
  const auto loss = figures["held_out_loss"].get<double>();
  const bool best = probed_.note(config_.probe, state_.step, loss);
  log_info(title_, ": held-out loss ", loss, " after step ", state_.step, best ? ", the lowest so far" : "");
  std::vector<std::pair<std::string, double>> scalars;
  const Json flat = figures.flatten();
  for (const auto& [path, value] : flat.items())
    if (value.is_number()) scalars.emplace_back("held_out" + path, value.get<double>());
  metrics_.append(Json{{"step", state_.step}, {"probe", std::move(figures)}}.dump() + "\n");
  write_scalars(scalars);
}

void TrainingRun::write_scalars(const std::vector<std::pair<std::string, double>>& scalars) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  events_.scalars(state_.step, std::chrono::duration<double>(now).count(), scalars);
}

void TrainingRun::write_metrics(double loss, double norm, double rate, const std::string& refused) {
  if (refused.empty() && state_.step % config_.log_every != 0 && state_.step != total_) return;
  const auto number = [](double x) { return std::isfinite(x) ? Json(x) : Json(nullptr); };
  Json line{{"step", state_.step}, {"loss", number(loss)}};
  std::vector<std::pair<std::string, double>> scalars{{"train/loss", loss}};
  for (const auto& [name, sum] : parts_) {
    line[name] = number(sum / weight_);
    scalars.emplace_back("train/" + name, sum / weight_);
  }
  line["grad_norm"] = number(norm);
  line["learning_rate"] = rate;
  line["weight"] = weight_;
  line["tokens"] = state_.tokens;
  if (!refused.empty()) line["refused"] = refused;
  metrics_.append(line.dump() + "\n");
  scalars.emplace_back("train/grad_norm", norm);
  scalars.emplace_back("train/learning_rate", rate);
  scalars.emplace_back("speed/tokens_per_second", last_.tokens_per_second());
  scalars.emplace_back("speed/mfu", last_.share_of(rate_));
  scalars.emplace_back("speed/resident_bytes", static_cast<double>(resident_memory()));
  write_scalars(scalars);
  timing_.append(Json{{"step", state_.step},
                      {"seconds", last_.seconds},
                      {"tokens_per_second", last_.tokens_per_second()},
                      {"mfu", last_.share_of(rate_)},
                      {"resident_bytes", resident_memory()}}
                     .dump() +
                 "\n");
}

bool TrainingRun::time_is_up() const {
  return config_.most_minutes > 0 &&
         std::chrono::duration<double>(Clock::now() - begin_).count() >= 60 * config_.most_minutes;
}

// `wanted`: whatever the interval says.
void TrainingRun::save_in_time(bool wanted) {
  const bool due =
      config_.checkpoint_every > 0 && (state_.step % config_.checkpoint_every == 0 || finished());
  if (due || wanted) begin_save();
}

void TrainingRun::begin_save() {
  if (saved_step_ == state_.step) return;
  metrics_.sync();
  events_.sync();
  state_.metrics_bytes = metrics_.bytes();
  state_.event_bytes = events_.bytes();
  state_.guard = guard_.state();
  state_.probe = probed_.to_json();
  writer_.wait();  // before there are copies: never two of them
  NamedTensors copies = optimizer_.state();
  for (auto& [name, tensor] : copies) tensor = tensor.clone();
  writer_.write(folder_, state_, std::move(copies), config_.keep_checkpoints,
                config_.probe.keep_best ? probed_.best_step : 0);
  saved_step_ = state_.step;
}

void TrainingRun::save() {
  begin_save();
  writer_.wait();
}

TrainResult TrainingRun::result() {
  writer_.wait();
  if (finished() && config_.probe.keep_best && probed_.best_step > 0 && probed_.best_step != state_.step) {
    const auto best = checkpoint_of_step(folder_, probed_.best_step);
    check(best.has_value(), folder_.string(), ": the checkpoint of the best step, ", probed_.best_step,
          ", is gone; it was there when step ", state_.step, " ended");
    optimizer_.load_state(TensorFile(*best / "optimizer.safetensors"), read_checkpoint_state(*best).updates);
    log_info(title_, ": the result is step ", probed_.best_step, ", which has the lowest held-out loss");
  }
  optimizer_.end_with_average();
  TrainResult result;
  result.steps = state_.step;
  result.tokens = state_.tokens;
  result.first_loss = state_.first_loss;
  result.last_loss = state_.last_loss;
  result.refused = state_.step - state_.updates;
  result.best_loss = probed_.best_loss;
  result.best_step = probed_.best_step;
  result.ended_early = state_.ended_early;
  result.tokens_per_second = here_.tokens_per_second();
  result.product_rate = rate_;
  result.mfu = here_.share_of(rate_);
  for (size_t i = 0; i < parameters_.size(); ++i)
    if (!optimizer_.master(i).is_same(parameters_[i]->value))
      result.masters.emplace_back(parameters_[i]->name, optimizer_.master(i));
  return result;
}

// Names the first tensor that holds a NaN or Inf: weights first, since bad gradients follow from them.
void TrainingRun::stop(const Decoder& model, const Guard::Finding& finding) {
  writer_.wait();
  const auto last = find_checkpoint(folder_);
  const std::string kept =
      last ? concat("the last good state is ", last->string()) : std::string("there is no checkpoint yet");
  if (finding.spike)
    fail(title_, ": step ", state_.step + 1, ": ", finding.what, "; ", kept,
         "; lower optimizer.learning_rate, look at the data of this step, or set guard.spike to skip or "
         "rewind");
  const auto first = [&]() -> std::string {
    for (const Parameter* p : model.parameters())
      if (!finite(p->value)) return "the weight '" + p->name + "'";
    for (const Parameter* p : parameters_)
      if (!finite(p->value)) return "the weight '" + p->name + "'";
    for (const Parameter* p : parameters_)
      if (!finite(p->grad)) return "the gradient of '" + p->name + "'";
    return "none of the weights or gradients: the loss itself overflowed";
  }();
  fail(title_, ": step ", state_.step + 1, ": ", finding.what, "; first bad tensor: ", first, "; ", kept,
       "; lower optimizer.learning_rate, or look at the data of this step");
}

}  // namespace decant
