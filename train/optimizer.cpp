#include "train/optimizer.h"

#include <ATen/ATen.h>

#include <cmath>
#include <numeric>
#include <set>

#include "core/hash.h"
#include "core/kernels/block_codes.h"
#include "core/name_pattern.h"
#include "core/random.h"

namespace decant {

void OptimizerConfig::validate(const Place& place) const {
  check(std::isfinite(learning_rate) && learning_rate > 0, place("learning_rate"),
        ": must be above 0, found ", learning_rate);
  check(beta1 >= 0 && beta1 < 1, place("beta1"), ": must be at least 0 and below 1, found ", beta1);
  check(beta2 >= 0 && beta2 < 1, place("beta2"), ": must be at least 0 and below 1, found ", beta2);
  check(std::isfinite(epsilon) && epsilon > 0, place("epsilon"), ": must be above 0, found ", epsilon);
  check(std::isfinite(weight_decay) && weight_decay >= 0, place("weight_decay"),
        ": must not be negative, found ", weight_decay);
  check(std::isfinite(max_gradient_norm) && max_gradient_norm >= 0, place("max_gradient_norm"),
        ": must not be negative, found ", max_gradient_norm);
  check(average_decay >= 0 && average_decay < 1, place("average_decay"),
        ": must be at least 0 and below 1, found ", average_decay);
}

void ParameterGroup::validate(const Place& place) const {
  check(!parameters.empty(), place("parameters"), " is missing: such as '.*embed_tokens.*'");
  matches_whole(parameters, "", place("parameters"));
  check(std::isfinite(rate_ratio) && rate_ratio >= 0, place("rate_ratio"), ": must not be negative, found ",
        rate_ratio);
  check(!weight_decay || (std::isfinite(*weight_decay) && *weight_decay >= 0), place("weight_decay"),
        ": must not be negative, found ", weight_decay.value_or(0));
}

namespace {

bool coded(const std::string& name, int64_t elements, MomentState state) {
  return state == MomentState::kInt8 && elements >= kLeastCoded && !name.ends_with("embed_tokens.weight");
}

const char* stored_type(const at::Tensor& x) {
  return x.scalar_type() == at::kByte ? "U8" : x.scalar_type() == at::kFloat ? "F32" : "BF16";
}

}  // namespace

std::vector<int64_t> moment_sizes(const std::string& name, int64_t elements, MomentState state) {
  if (!coded(name, elements, state)) return {4 * elements, 4 * elements};
  return {elements, 4 * code_blocks(elements), elements, 4 * code_blocks(elements)};
}

int64_t moment_bytes(const std::string& name, int64_t elements, MomentState state) {
  const auto sizes = moment_sizes(name, elements, state);
  return std::accumulate(sizes.begin(), sizes.end(), int64_t{0});
}

Optimizer::Optimizer(std::vector<Parameter*> parameters, const OptimizerConfig& config)
    : parameters_(std::move(parameters)), config_(config) {
  std::set<std::string> names;
  std::vector<bool> used(config_.groups.size());
  for (const Parameter* p : parameters_) {
    check(names.insert(p->name).second, "optimizer: the parameter '", p->name, "' stands twice");
    check(p->trainable && p->grad.defined(), "optimizer: the parameter '", p->name, "' is not trainable");
    Slot slot;
    const bool rounds = p->value.scalar_type() == at::kBFloat16;
    if (!rounds || config_.masters == Masters::kStochastic)
      slot.master = p->value;  // one storage: what is computed with is what is trained
    else
      slot.master = p->value.to(at::kFloat);
    slot.moments = zero_moments(p->value.sizes(), coded(p->name, p->value.numel(), config_.state));
    if (averages()) slot.average = slot.master.to(at::kFloat, false, true);
    slot.weight_decay = p->value.dim() > 1 ? config_.weight_decay : 0;
    for (size_t g = 0; g < config_.groups.size(); ++g) {
      const ParameterGroup& group = config_.groups[g];
      if (!matches_whole(group.parameters, p->name, "optimizer.groups")) continue;
      slot.rate_ratio = group.rate_ratio;
      if (group.weight_decay) slot.weight_decay = *group.weight_decay;
      used[g] = true;
      break;
    }
    slots_.push_back(std::move(slot));
  }
  for (size_t g = 0; g < used.size(); ++g)
    check(used[g], "optimizer.groups: '", config_.groups[g].parameters,
          "' matches no parameter that trains (or those before it take them all); there is '",
          parameters_.empty() ? "" : parameters_[0]->name, "'");
}

double Optimizer::gradient_norm() const {
  std::vector<at::Tensor> gradients;
  for (const Parameter* p : parameters_) gradients.push_back(p->grad);
  return std::sqrt(sum_of_squares(gradients));
}

void Optimizer::step(double learning_rate, double norm) {
  AdamwStep adamw_step{learning_rate, config_.beta1, config_.beta2, config_.epsilon, 0, ++step_, 1.0};
  if (config_.max_gradient_norm > 0)
    adamw_step.gradient_scale = std::min(1.0, config_.max_gradient_norm / (norm + 1e-6));
  std::vector<AdamwTensor> tensors;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const Parameter& p = *parameters_[i];
    const Slot& slot = slots_[i];
    adamw_step.weight_decay = slot.weight_decay;
    adamw_step.learning_rate = learning_rate * slot.rate_ratio;
    const uint64_t index = xxh3_64(p.name, static_cast<uint64_t>(step_)) >> 8;
    tensors.push_back({slot.master, p.grad, p.value, slot.moments, adamw_step,
                       static_cast<uint64_t>(config_.seed), purpose_stream(Purpose::kRounding, index)});
  }
  adamw(tensors);
  for (Slot& slot : slots_)
    if (slot.average.defined()) slot.average.lerp_(slot.master.to(at::kFloat), 1 - config_.average_decay);
}

double Optimizer::step(double learning_rate) {
  const double norm = gradient_norm();
  step(learning_rate, norm);
  return norm;
}

int64_t Optimizer::moment_bytes() const {
  int64_t bytes = 0;
  for (const Slot& slot : slots_)
    for (const at::Tensor& x : {slot.moments.m, slot.moments.v, slot.moments.m_absmax, slot.moments.v_absmax})
      if (x.defined()) bytes += static_cast<int64_t>(x.nbytes());
  return bytes;
}

NamedTensors Optimizer::state() const {
  NamedTensors tensors;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const std::string& name = parameters_[i]->name;
    const Moments& moments = slots_[i].moments;
    tensors.emplace_back("master." + name, slots_[i].master);
    tensors.emplace_back("m." + name, moments.m);
    tensors.emplace_back("v." + name, moments.v);
    if (moments.coded()) {
      tensors.emplace_back("m_absmax." + name, moments.m_absmax);
      tensors.emplace_back("v_absmax." + name, moments.v_absmax);
    }
    if (slots_[i].average.defined()) tensors.emplace_back("average." + name, slots_[i].average);
  }
  return tensors;
}

void Optimizer::load_state(const TensorFile& file, int64_t steps_done) {
  const std::string where = file.files().at(0).string();
  const auto names = file.names();
  NamedTensors now = state();
  check(names.size() == now.size(), where, ": holds ", names.size(), " tensors, expected ", now.size(),
        " (master, m", averages() ? ", v and average" : " and v", " of each of ", parameters_.size(),
        " parameters", config_.state == MomentState::kInt8 ? ", and the scales of codes)" : ")");
  // All is checked before anything is changed.
  for (const auto& [name, tensor] : now) {
    check(file.contains(name), where, ": the tensor '", name, "' is missing");
    const TensorEntry& entry = file.entry(name);
    check(at::IntArrayRef(entry.shape) == tensor.sizes() && entry.dtype == stored_type(tensor), where, ": '",
          name, "' is ", entry.dtype, " ", c10::str(at::IntArrayRef(entry.shape)), ", the model needs ",
          c10::toString(tensor.scalar_type()), " ", c10::str(tensor.sizes()));
  }
  for (auto& [name, tensor] : now) tensor.copy_(file.load(name));
  for (size_t i = 0; i < parameters_.size(); ++i)
    if (!slots_[i].master.is_same(parameters_[i]->value)) parameters_[i]->value.copy_(slots_[i].master);
  step_ = steps_done;
}

void Optimizer::end_with_average() {
  if (!averages()) return;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    slots_[i].master.copy_(slots_[i].average);
    if (!slots_[i].master.is_same(parameters_[i]->value)) parameters_[i]->value.copy_(slots_[i].average);
  }
}

const at::Tensor& Optimizer::master(size_t index) const { return slots_.at(index).master; }

}  // namespace decant
