#include "distill/distill_loss.h"

#include <ATen/ATen.h>

#include <cmath>

#include "core/kernels/head_cross_entropy.h"
#include "distill/divergence.h"

namespace decant {

void DistillLossConfig::validate(const Place& place) const {
  check(std::isfinite(cross_entropy) && cross_entropy >= 0, place("cross_entropy"),
        ": must not be negative, found ", cross_entropy);
  check(std::isfinite(kl) && kl >= 0, place("kl"), ": must not be negative, found ", kl);
  check(cross_entropy + kl > 0, place("kl"), ": 'cross_entropy' and 'kl' must not both be 0");
  check(std::isfinite(temperature) && temperature > 0, place("temperature"), ": must be above 0, found ",
        temperature);
}

DistillPart distill_loss(const Decoder& teacher, const DistillLossConfig& config, Decoder& student,
                         const Batch& batch, const at::Tensor& hidden, double scale, bool gradients) {
  check(teacher.config.vocab_size == student.config.vocab_size, "distill: the teacher's vocabulary has ",
        teacher.config.vocab_size, " tokens, the student's ", student.config.vocab_size,
        "; the KL needs one vocabulary: take a teacher and a student with the same tokenizer, or set "
        "distill.loss.kl to 0");
  const Targets targets = next_token_targets(batch);
  DistillPart part;
  // Nothing is kept of the teacher's forward but its last hidden states [T, D]; the student's noise is not
  // its.
  Batch undisturbed = batch;
  undisturbed.training.clear();
  const at::Tensor teacher_hidden = config.kl > 0 ? forward(teacher, undisturbed) : at::Tensor();
  const auto chunk_loss = [&](const at::Tensor& rows, at::Tensor& logits, bool with_gradients) {
    const at::Tensor teacher_logits =
        teacher_hidden.defined()
            ? head_logits(teacher_hidden.index_select(0, rows), teacher.head().value, /*decode=*/false,
                          teacher.config.logit_cap)
            : logits.clone();  // KL of equals: 0
    const DistillSums sums = cross_entropy_and_kl(
        logits, teacher_logits, targets.targets.index_select(0, rows), targets.weights.index_select(0, rows),
        config.cross_entropy, config.kl, config.temperature, with_gradients);
    part.cross_entropy += sums.cross_entropy;
    part.kl += sums.kl;
    return sums.sum;
  };
  const HeadLoss loss = head_loss(hidden, student.head(), targets.weights, scale, gradients, chunk_loss,
                                  student.config.logit_cap);
  part.sum = loss.sum;
  part.weight = loss.weight;
  part.d_hidden = loss.d_hidden;
  return part;
}

}  // namespace decant
