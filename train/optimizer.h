// AdamW over named parameters with fp32 masters, moments and decoupled weight decay (not on norms and biases,
// 1-D tensors).
//
// Moments are fp32 or 8-bit codes (core/kernels/block_codes.h; 2.03 bytes an element instead of 8). As in
// bitsandbytes, tensors below 4,096 elements keep fp32 moments, and so does the embedding, as its authors
// advise: its rows see gradients of very different sizes.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/config.h"
#include "core/kernels/adamw.h"
#include "core/kernels/parameter.h"
#include "core/tensor_file.h"

namespace decant {

enum class Masters { kFp32, kStochastic };
template <>
struct EnumNames<Masters> {
  static constexpr std::pair<Masters, const char*> values[] = {{Masters::kFp32, "fp32"},
                                                               {Masters::kStochastic, "stochastic_bf16"}};
};

enum class MomentState { kFp32, kInt8 };
template <>
struct EnumNames<MomentState> {
  static constexpr std::pair<MomentState, const char*> values[] = {{MomentState::kFp32, "fp32"},
                                                                   {MomentState::kInt8, "int8"}};
};
constexpr int64_t kLeastCoded = 4096;  // elements of a tensor whose moments int8 holds for

// Parameters that train otherwise than the rest.
struct ParameterGroup {
  std::string parameters;
  double rate_ratio = 1;
  std::optional<double> weight_decay;

  static void visit(auto& c, auto&& field) {
    field("parameters", c.parameters, "regular expression that matches whole names of parameters");
    field("rate_ratio", c.rate_ratio, "their learning rate over that of the rest");
    field("weight_decay", c.weight_decay, "theirs, norms and biases included; without it the rest's");
  }
  void validate(const Place& place) const;
};

struct OptimizerConfig {
  double learning_rate = 2e-4;
  double beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8, weight_decay = 0;
  double max_gradient_norm = 1.0;
  Masters masters = Masters::kFp32;
  MomentState state = MomentState::kFp32;
  std::vector<ParameterGroup> groups;
  double average_decay = 0;
  int64_t seed = 0;

  static void visit(auto& c, auto&& field) {
    field("learning_rate", c.learning_rate, "at the top of the schedule");
    field("beta1", c.beta1, "decay of the first moment");
    field("beta2", c.beta2, "decay of the second moment");
    field("epsilon", c.epsilon, "added to the root of the second moment");
    field("weight_decay", c.weight_decay, "decoupled; not on norms and biases");
    field("max_gradient_norm", c.max_gradient_norm,
          "gradients are scaled down to this norm; 0 for no clipping");
    field("masters", c.masters,
          "fp32, or stochastic_bf16: bf16 weights with stochastic rounding, less memory");
    field(
        "state", c.state,
        "of the moments: fp32, or int8: 8-bit codes in blocks of 256, a quarter of the memory; the embedding "
        "and tensors below 4096 elements keep fp32");
    field("groups", c.groups,
          "parameters with a rate or a weight decay of their own; the first that matches holds");
    field("average_decay", c.average_decay,
          "keep an exponential moving average of the weights with this decay a step (such as 0.99) and end "
          "with "
          "it; 0: end with the last weights");
    field("seed", c.seed, "of the stochastic rounding");
  }
  void validate(const Place& place) const;
};

// Bytes of each tensor of the moments of a parameter of this name and size, and of all of them.
std::vector<int64_t> moment_sizes(const std::string& name, int64_t elements, MomentState state);
int64_t moment_bytes(const std::string& name, int64_t elements, MomentState state);

class Optimizer {
 public:
  Optimizer(std::vector<Parameter*> parameters, const OptimizerConfig& config);
  // sqrt of the sum of squares of all gradients, in fp64 and fixed order.
  double gradient_norm() const;
  // Gradients are already those of the mean loss. Clips by the given norm (torch's clip_grad_norm_:
  // coefficient = min(1, max / (norm + 1e-6))) and steps.
  void step(double learning_rate, double gradient_norm);
  // The same with the norm computed here; returns it as it was before clipping.
  double step(double learning_rate);
  int64_t steps_done() const { return step_; }
  // Masters and moments by parameter name ("master.<name>", "m.<name>", "v.<name>", with codes
  // "m_absmax.<name>" and "v_absmax.<name>"; "average.<name>" when an average is kept).
  NamedTensors state() const;
  // Puts a saved state into the masters and the parameters' values. Error when names, shapes or dtypes
  // differ.
  void load_state(const TensorFile& file, int64_t steps_done);
  const std::vector<Parameter*>& parameters() const { return parameters_; }
  int64_t moment_bytes() const;
  // What the optimizer trains: the value itself for fp32 and stochastic_bf16, else its fp32 master.
  const at::Tensor& master(size_t index) const;
  bool averages() const { return config_.average_decay > 0; }
  // Puts the average into masters and values, for good: after the last step. Nothing without an average.
  void end_with_average();

 private:
  struct Slot {
    at::Tensor master;
    Moments moments;
    at::Tensor average;  // fp32; undefined when none is kept
    double rate_ratio = 1, weight_decay = 0;
  };
  std::vector<Parameter*> parameters_;
  OptimizerConfig config_;
  std::vector<Slot> slots_;
  int64_t step_ = 0;
};

}  // namespace decant
