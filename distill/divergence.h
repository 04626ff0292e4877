// Distillation's loss as a function of logits, with its gradient: cross-entropy on the text and the forward
// KL divergence from the teacher's next-token distribution at a temperature (Hinton et al., arXiv
// 1503.02531). Legend: n rows, V vocabulary.
#pragma once

#include <ATen/core/Tensor.h>

#include "core/config.h"

namespace decant {

struct DistillLossConfig {
  double cross_entropy = 0.5;
  double kl = 0.5;
  double temperature = 1.0;

  static void visit(auto& c, auto&& field) {
    field("cross_entropy", c.cross_entropy, "weight of the next-token loss on the text");
    field("kl", c.kl, "weight of KL(teacher || student)");
    field("temperature", c.temperature, "softens both distributions; the KL is multiplied by its square");
  }
  void validate(const Place& place) const;
};

// Sums over rows of weight * (...), the KL with the square of the temperature.
struct DistillSums {
  double sum = 0;  // cross_entropy and kl times their weights in the config
  double cross_entropy = 0, kl = 0;
};

// student, teacher [n, V] bf16 or fp32 (float64 runs the plain form); targets [n] int64; weights [n] fp32
// (float64 where the logits are). With `gradients`, `student` becomes d(sum * scale) / d student logits. fp32
// within; sums over rows in double, in order. Error when the shapes differ or a target is outside the
// vocabulary.
DistillSums cross_entropy_and_kl(at::Tensor& student, const at::Tensor& teacher, const at::Tensor& targets,
                                 const at::Tensor& weights, const DistillLossConfig& config, double scale,
                                 bool gradients);

}  // namespace decant
