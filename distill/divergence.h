// Divergences between a teacher's and a student's next-token distributions, as functions of logits with their
// gradients. Hinton et al., arXiv 1503.02531 (temperature); Agarwal et al., arXiv 2306.13649 (generalised
// JSD). Legend: n rows, V vocabulary.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

namespace decant {

// sum over rows of weight * KL(teacher || student) at temperature tau, times tau^2 when `tau_squared`.
// student, teacher fp32 [n, V] (float64 works too, for the tests); weights fp32 [n]. With `gradients`,
// `student` is overwritten by d sum / d student logits.
double forward_kl(at::Tensor& student, const at::Tensor& teacher, const at::Tensor& weights,
                  double temperature, bool tau_squared, bool gradients);

// a * cross-entropy of `targets` [n] int64 + b * tau^2 * forward KL, in one pass over the same chunk. The
// parts come back without a and b, the KL with its tau^2. With `gradients`, `student` is overwritten as
// above.
struct DistillSums {
  double sum = 0, cross_entropy = 0, kl = 0;
};
DistillSums cross_entropy_and_kl(at::Tensor& student, const at::Tensor& teacher, const at::Tensor& targets,
                                 const at::Tensor& weights, double a, double b, double temperature,
                                 bool gradients);

}  // namespace decant
