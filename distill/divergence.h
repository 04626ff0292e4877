// Divergences between a teacher's and a student's next-token distributions, as functions of logits with their gradients.
// Hinton et al., arXiv 1503.02531 (temperature); Agarwal et al., arXiv 2306.13649 (generalised JSD).
// Legend: n rows, V vocabulary.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

namespace decant {

// sum over rows of weight * KL(teacher || student) at temperature tau, times tau^2 when `tau_squared`. student, teacher fp32 [n, V];
// weights fp32 [n]. With `gradients`, `student` is overwritten by d sum / d student logits.
double forward_kl(at::Tensor& student, const at::Tensor& teacher, const at::Tensor& weights, double temperature,
                  bool tau_squared, bool gradients);

}  // namespace decant
