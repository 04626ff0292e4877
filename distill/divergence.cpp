#include "distill/divergence.h"

#include <ATen/ATen.h>

#include <cmath>

#include "core/error.h"
#include "core/kernels/gemm.h"
#include "core/kernels/plain.h"
#include "core/kernels/tensor_rows.h"
#include "core/threads.h"

namespace decant {

void DistillLossConfig::validate(const Place& place) const {
  check(std::isfinite(cross_entropy) && cross_entropy >= 0, place("cross_entropy"),
        ": must not be negative, found ", cross_entropy);
  check(std::isfinite(kl) && kl >= 0, place("kl"), ": must not be negative, found ", kl);
  check(cross_entropy + kl > 0, place("kl"), ": 'cross_entropy' and 'kl' must not both be 0");
  check(std::isfinite(temperature) && temperature > 0, place("temperature"), ": must be above 0, found ",
        temperature);
}

namespace {

struct Sums {
  at::Tensor cross_entropy, kl;  // of each row, float64 [n]
};

// Of one matrix operation after the other, in fp32 or float64: what the kernel is tested against.
Sums plain_sums(at::Tensor& student, const at::Tensor& given, const at::Tensor& targets,
                const at::Tensor& weights, const DistillLossConfig& config, double scale, bool gradients) {
  student = plain::wide(student);
  const auto teacher = given.to(student.scalar_type());
  const auto log_softmax = [&](const at::Tensor& x) {
    return at::log_softmax(config.temperature == 1 ? x : x / config.temperature, -1);
  };
  const auto target = targets.unsqueeze(1);
  const auto log_probabilities = at::log_softmax(student, -1), log_q = log_softmax(student),
             log_p = log_softmax(teacher), p = log_p.exp();
  Sums sums;
  sums.cross_entropy = -log_probabilities.gather(1, target).squeeze(1).to(at::kDouble);
  // A token that the teacher rules out (-inf) adds 0, not NaN: 0 log 0 = 0.
  sums.kl = log_p.sub(log_q).masked_fill(p == 0, 0).mul(p).sum(-1).to(at::kDouble);
  if (!gradients) return sums;
  auto gradient = log_q.exp().sub(p).mul(config.kl * config.temperature) +
                  log_probabilities.exp().mul(config.cross_entropy);
  gradient.scatter_add_(1, target, at::full_like(target, -config.cross_entropy, student.options()));
  student = gradient.mul(weights.to(student.scalar_type()).mul(scale).unsqueeze(1));
  return sums;
}

// In place, in one walk through each row after its two or three logarithms of sums.
Sums fused_sums(at::Tensor& student, const at::Tensor& given, const at::Tensor& targets,
                const at::Tensor& weights, const DistillLossConfig& config, double scale, bool gradients) {
  const auto common = at::promote_types(student.scalar_type(), given.scalar_type());
  student = student.to(common).contiguous();
  const auto teacher = given.to(common).contiguous();
  const auto rows = student.size(0), vocabulary = student.size(1);
  Sums sums{at::empty({rows}, at::kDouble), at::empty({rows}, at::kDouble)};
  const auto* target = targets.const_data_ptr<int64_t>();
  const auto* weight = weights.const_data_ptr<float>();
  auto *cross_entropy = sums.cross_entropy.data_ptr<double>(), *kl = sums.kl.data_ptr<double>();
  const auto cooled = static_cast<float>(1 / config.temperature);
  with_loops(student, [&](const auto& loop, auto* all) {
    const auto* all_taught = values<std::remove_pointer_t<decltype(all)>>(teacher);
    for_threads(0, rows, 1, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) {
        auto* s = all + i * vocabulary;
        const auto* t = all_taught + i * vocabulary;
        DivergenceNumbers k{};
        k.inverse_temperature = cooled;
        k.log_sum = loop.log_sum_exp(s, vocabulary, 1);
        k.student_log_sum = config.temperature == 1 ? k.log_sum : loop.log_sum_exp(s, vocabulary, cooled);
        k.teacher_log_sum = loop.log_sum_exp(t, vocabulary, cooled);
        const double factor = scale * weight[i], of_kl = factor * config.kl * config.temperature,
                     of_cross_entropy = factor * config.cross_entropy;
        k.kl = static_cast<float>(of_kl);
        k.cross_entropy = static_cast<float>(of_cross_entropy);
        const auto of_target = [&](const at::Tensor& x) { return x[i][target[i]].template item<float>(); };
        const double log_p = of_target(student) - k.log_sum,
                     log_q = of_target(student) * cooled - k.student_log_sum,
                     log_taught = of_target(teacher) * cooled - k.teacher_log_sum;
        cross_entropy[i] = -log_p;
        kl[i] = loop.divergence(s, t, vocabulary, k, gradients);
        if (gradients && config.cross_entropy > 0)  // p - 1 without cancellation
          student[i][target[i]].fill_(of_kl * (std::exp(log_q) - std::exp(log_taught)) +
                                      of_cross_entropy * std::expm1(log_p));
      }
    });
  });
  return sums;
}

// In order, so that it does not depend on how a reduction is split.
double weighted_sum(const at::Tensor& values, const at::Tensor& weights) {
  const auto w = weights.to(at::kDouble).cpu().contiguous(), v = values.cpu();
  double sum = 0;
  for (int64_t i = 0; i < v.numel(); ++i)
    sum += v.const_data_ptr<double>()[i] * w.const_data_ptr<double>()[i];
  return sum;
}

}  // namespace

DistillSums cross_entropy_and_kl(at::Tensor& student, const at::Tensor& teacher, const at::Tensor& targets,
                                 const at::Tensor& weights, const DistillLossConfig& config, double scale,
                                 bool gradients) {
  check(student.dim() == 2 && teacher.sizes() == student.sizes(),
        "distill: the student's logits have the shape ", c10::str(student.sizes()), ", the teacher's ",
        c10::str(teacher.sizes()), "; both models need one vocabulary");
  check(weights.dim() == 1 && weights.size(0) == student.size(0) && targets.sizes() == weights.sizes(),
        "distill: ", student.size(0), " rows of logits, weights of shape ", c10::str(weights.sizes()),
        ", targets of shape ", c10::str(targets.sizes()));
  check(!(targets < 0).logical_or(targets >= student.size(1)).any().item<bool>(),
        "distill: a target is outside the vocabulary of ", student.size(1), " tokens");
  const bool plain = use_plain_kernels(student) || teacher.scalar_type() == at::kDouble;
  const Sums rows = (plain ? plain_sums : fused_sums)(student, teacher, targets.contiguous(),
                                                      weights.contiguous(), config, scale, gradients);
  DistillSums sums;
  sums.cross_entropy = weighted_sum(rows.cross_entropy, weights);
  sums.kl = weighted_sum(rows.kl, weights) * config.temperature * config.temperature;
  sums.sum = config.cross_entropy * sums.cross_entropy + config.kl * sums.kl;
  return sums;
}

}  // namespace decant
