#include "distill/divergence.h"

#include <ATen/ATen.h>

#include "core/error.h"

namespace decant {

namespace {

void check_shapes(const at::Tensor& student, const at::Tensor& teacher, const at::Tensor& weights) {
  check(student.dim() == 2 && teacher.sizes() == student.sizes(),
        "divergence: the student's logits have the shape ", c10::str(student.sizes()), ", the teacher's ",
        c10::str(teacher.sizes()), "; both models need one vocabulary");
  check(weights.dim() == 1 && weights.size(0) == student.size(0), "divergence: ", student.size(0),
        " rows of logits, weights of shape ", c10::str(weights.sizes()));
}

// Sum in double, row by row in order, so that it does not depend on how a reduction is split.
double ordered_sum(const at::Tensor& values) {
  const at::Tensor v = values.to(at::kDouble).contiguous();
  double sum = 0;
  for (int64_t i = 0; i < v.numel(); ++i) sum += v.const_data_ptr<double>()[i];
  return sum;
}

struct Kl {
  at::Tensor rows, q, p;  // [n]; softmax of student and teacher at the temperature
};

// KL_i = sum_v p (log p - log q). Its gradient by the student's logits is (q - p) / tau.
Kl kl_rows(const at::Tensor& student, const at::Tensor& teacher, double temperature, bool gradients) {
  const auto log_softmax = [temperature](const at::Tensor& x) {
    return at::log_softmax(temperature == 1 ? x : x / temperature, -1);
  };
  at::Tensor log_q = log_softmax(student), log_p = log_softmax(teacher);
  Kl kl;
  kl.p = log_p.exp();
  // A teacher that rules a token out (-inf) adds 0, not NaN: 0 log 0 = 0.
  kl.rows = log_p.sub_(log_q).masked_fill_(kl.p == 0, 0).mul_(kl.p).sum(-1);
  if (gradients) kl.q = log_q.exp_();
  return kl;
}

}  // namespace

double forward_kl(at::Tensor& student, const at::Tensor& teacher, const at::Tensor& weights,
                  double temperature, bool tau_squared, bool gradients) {
  check_shapes(student, teacher, weights);
  const double factor = tau_squared ? temperature * temperature : 1.0;
  Kl kl = kl_rows(student, teacher, temperature, gradients);
  if (gradients)
    at::mul_out(student, kl.q.sub_(kl.p),
                (weights * (factor / temperature)).to(student.scalar_type()).unsqueeze(1));
  return ordered_sum(kl.rows * weights) * factor;
}

DistillSums cross_entropy_and_kl(at::Tensor& student, const at::Tensor& teacher, const at::Tensor& targets,
                                 const at::Tensor& weights, double a, double b, double temperature,
                                 bool gradients) {
  check_shapes(student, teacher, weights);
  DistillSums sums;
  const at::Tensor w = weights.to(student.scalar_type());
  const at::Tensor target_column = targets.unsqueeze(1);
  const double squared = temperature * temperature;
  at::Tensor log_probabilities = at::log_softmax(student, -1);
  sums.cross_entropy = -ordered_sum(log_probabilities.gather(1, target_column).squeeze(1) * w);
  Kl kl = kl_rows(student, teacher, temperature, gradients);
  sums.kl = ordered_sum(kl.rows * w) * squared;
  sums.sum = a * sums.cross_entropy + b * sums.kl;
  if (gradients) {
    // a (softmax - onehot) + b tau (q - p), each row times its weight
    at::Tensor gradient = kl.q.sub_(kl.p).mul_(b * temperature);
    gradient.add_(log_probabilities.exp_(), a);
    gradient.scatter_add_(1, target_column, at::full_like(target_column, -a, student.options()));
    at::mul_out(student, gradient, w.unsqueeze(1));
  }
  return sums;
}

}  // namespace decant
