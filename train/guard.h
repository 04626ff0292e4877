// What watches a training's loss and gradient norm: values that are not finite, and spikes, which are values
// far above those of the last steps. A spike is measured in standard deviations (z-score) over a window of
// accepted steps, of the loss as it is and of the logarithm of the gradient norm, whose changes are factors.
#pragma once

#include <cstdint>
#include <deque>
#include <string>

#include "core/config.h"
#include "core/json.h"

namespace decant {

enum class GuardAction { kStop, kSkip, kRewind };
template <>
struct EnumNames<GuardAction> {
  static constexpr std::pair<GuardAction, const char*> values[] = {
      {GuardAction::kStop, "stop"}, {GuardAction::kSkip, "skip"}, {GuardAction::kRewind, "rewind"}};
};

struct GuardConfig {
  GuardAction not_finite = GuardAction::kStop;
  GuardAction spike = GuardAction::kSkip;
  double loss_spike = 0, gradient_spike = 0;
  int64_t window = 50;
  int64_t most = 5;

  static void visit(auto& c, auto&& field) {
    field("not_finite", c.not_finite,
          "a loss or gradient that is NaN or Inf: stop, skip the step's update, or rewind to the last "
          "checkpoint and leave the step's data out");
    field("spike", c.spike, "the same for a spike");
    field("loss_spike", c.loss_spike,
          "standard deviations above the mean of the window that make a loss a spike; 0: not looked for");
    field("gradient_spike", c.gradient_spike, "the same for the logarithm of the gradient norm");
    field("window", c.window,
          "accepted steps that a spike is measured against; the first ones are never one");
    field("most", c.most,
          "steps in a row that may be skipped or rewound before the training stops after all");
  }
  void validate(const Place& place) const;
};

class Guard {
 public:
  explicit Guard(const GuardConfig& config) : config_(config) {}

  // What is wrong with a step's loss and gradient norm; empty when nothing is. `spike` tells a spike from a
  // value that is not finite.
  struct Finding {
    std::string what;
    bool spike = false;
  };
  Finding judge(double loss, double norm) const;
  GuardAction action(const Finding& finding) const {
    return finding.spike ? config_.spike : config_.not_finite;
  }

  void accept(double loss, double norm);  // the step was taken
  // The step was not taken; false when that was one too many in a row.
  bool refuse();
  int64_t in_a_row() const { return in_a_row_; }
  void set_in_a_row(int64_t refused) { in_a_row_ = refused; }  // a rewind does not forget

  // For checkpoints: what a resumed guard needs to judge alike.
  Json state() const;
  void load(const Json& state);

 private:
  GuardConfig config_;
  std::deque<double> losses_, norms_;  // of accepted steps; norms as logarithms
  int64_t in_a_row_ = 0;
};

}  // namespace decant
