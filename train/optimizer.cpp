#include "train/optimizer.h"

#include <ATen/ATen.h>

#include <cmath>
#include <set>

#include "core/hash.h"
#include "core/kernels/adamw.h"
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
}

Optimizer::Optimizer(std::vector<Parameter*> parameters, const OptimizerConfig& config)
    : parameters_(std::move(parameters)), config_(config) {
  std::set<std::string> names;
  for (const Parameter* p : parameters_) {
    check(names.insert(p->name).second, "optimizer: the parameter '", p->name, "' stands twice");
    check(p->trainable && p->grad.defined(), "optimizer: the parameter '", p->name, "' is not trainable");
    Slot slot;
    const bool rounds = p->value.scalar_type() == at::kBFloat16;
    if (!rounds || config_.masters == Masters::kStochastic)
      slot.master = p->value;  // one storage: what is computed with is what is trained
    else
      slot.master = p->value.to(at::kFloat);
    slot.m = at::zeros(p->value.sizes(), at::kFloat);
    slot.v = at::zeros(p->value.sizes(), at::kFloat);
    slot.decays = p->value.dim() > 1;
    slots_.push_back(std::move(slot));
  }
}

double Optimizer::gradient_norm() const {
  double sum = 0;
  for (const Parameter* p : parameters_) sum += sum_of_squares(p->grad);
  return std::sqrt(sum);
}

void Optimizer::step(double learning_rate, double norm) {
  AdamwStep adamw_step{learning_rate, config_.beta1, config_.beta2, config_.epsilon, 0, ++step_, 1.0};
  if (config_.max_gradient_norm > 0)
    adamw_step.gradient_scale = std::min(1.0, config_.max_gradient_norm / (norm + 1e-6));
  for (size_t i = 0; i < parameters_.size(); ++i) {
    Parameter& p = *parameters_[i];
    Slot& slot = slots_[i];
    adamw_step.weight_decay = slot.decays ? config_.weight_decay : 0;
    if (slot.master.scalar_type() == at::kBFloat16) {
      const uint64_t index = xxh3_64(p.name, static_cast<uint64_t>(step_)) >> 8;
      adamw_stochastic(slot.master, slot.m, slot.v, p.grad, adamw_step, static_cast<uint64_t>(config_.seed),
                       purpose_stream(Purpose::kRounding, index));
    } else {
      adamw(slot.master, slot.m, slot.v, p.grad, p.value, adamw_step);
    }
  }
}

double Optimizer::step(double learning_rate) {
  const double norm = gradient_norm();
  step(learning_rate, norm);
  return norm;
}

NamedTensors Optimizer::state() const {
  NamedTensors tensors;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const std::string& name = parameters_[i]->name;
    tensors.emplace_back("master." + name, slots_[i].master);
    tensors.emplace_back("m." + name, slots_[i].m);
    tensors.emplace_back("v." + name, slots_[i].v);
  }
  return tensors;
}

void Optimizer::load_state(const TensorFile& file, int64_t steps_done) {
  const std::string where = file.files().at(0).string();
  const auto names = file.names();
  check(names.size() == 3 * parameters_.size(), where, ": holds ", names.size(), " tensors, expected ",
        3 * parameters_.size(), " (master, m and v of each of ", parameters_.size(), " parameters)");
  NamedTensors now = state();
  // All is checked before anything is changed.
  for (const auto& [name, tensor] : now) {
    check(file.contains(name), where, ": the tensor '", name, "' is missing");
    const TensorEntry& entry = file.entry(name);
    check(at::IntArrayRef(entry.shape) == tensor.sizes() &&
              entry.dtype == (tensor.scalar_type() == at::kFloat ? "F32" : "BF16"),
          where, ": '", name, "' is ", entry.dtype, " ", c10::str(at::IntArrayRef(entry.shape)),
          ", the model needs ", c10::toString(tensor.scalar_type()), " ", c10::str(tensor.sizes()));
  }
  for (auto& [name, tensor] : now) tensor.copy_(file.load(name));
  for (size_t i = 0; i < parameters_.size(); ++i)
    if (!slots_[i].master.is_same(parameters_[i]->value)) parameters_[i]->value.copy_(slots_[i].master);
  step_ = steps_done;
}

const at::Tensor& Optimizer::master(size_t index) const { return slots_.at(index).master; }

}  // namespace decant
