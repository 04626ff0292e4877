// What a preference loss can be told (train/preference.h).
#pragma once

#include <cmath>

#include "core/config.h"

namespace decant {

enum class ObjectiveKind { kSft, kDpo, kOrpo, kKto };
template <>
struct EnumNames<ObjectiveKind> {
  static constexpr std::pair<ObjectiveKind, const char*> values[] = {{ObjectiveKind::kSft, "sft"},
                                                                     {ObjectiveKind::kDpo, "dpo"},
                                                                     {ObjectiveKind::kOrpo, "orpo"},
                                                                     {ObjectiveKind::kKto, "kto"}};
};

enum class DpoLoss { kSigmoid, kIpo, kHinge, kRobust };
template <>
struct EnumNames<DpoLoss> {
  static constexpr std::pair<DpoLoss, const char*> values[] = {{DpoLoss::kSigmoid, "sigmoid"},
                                                               {DpoLoss::kIpo, "ipo"},
                                                               {DpoLoss::kHinge, "hinge"},
                                                               {DpoLoss::kRobust, "robust"}};
};

struct PreferenceConfig {
  double beta = 0.1;
  DpoLoss loss = DpoLoss::kSigmoid;
  double label_smoothing = 0;
  double likelihood_weight = 0;
  double desirable_weight = 1, undesirable_weight = 1;

  static void visit(auto& c, auto&& field) {
    field("beta", c.beta,
          "dpo, kto: how far the model may move from the reference; orpo: weight of the odds");
    field("loss", c.loss,
          "of dpo: sigmoid, ipo (by mean log-probabilities), hinge or robust (arXiv 2403.00409)");
    field("label_smoothing", c.label_smoothing,
          "of dpo with sigmoid or robust: share of pairs taken to be swapped");
    field("likelihood_weight", c.likelihood_weight,
          "of dpo: this much of the chosen answers' cross-entropy is added (trl's rpo_alpha)");
    field("desirable_weight", c.desirable_weight, "of kto: weight of wanted answers");
    field("undesirable_weight", c.undesirable_weight, "of kto: weight of unwanted answers");
  }
  void validate(const Place& place) const {
    const auto positive = [&](const char* key, double value) {
      check(std::isfinite(value) && value > 0, place(key), ": must be above 0, found ", value);
    };
    positive("beta", beta);
    positive("desirable_weight", desirable_weight);
    positive("undesirable_weight", undesirable_weight);
    check(label_smoothing >= 0 && label_smoothing < 0.5, place("label_smoothing"),
          ": must be at least 0 and below 0.5, found ", label_smoothing);
    check(label_smoothing == 0 || loss == DpoLoss::kSigmoid || loss == DpoLoss::kRobust,
          place("label_smoothing"), ": is for 'loss: sigmoid' and 'loss: robust' only");
    check(std::isfinite(likelihood_weight) && likelihood_weight >= 0, place("likelihood_weight"),
          ": must not be negative, found ", likelihood_weight);
  }
};

}  // namespace decant
