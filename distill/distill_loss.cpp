#include "distill/distill_loss.h"

#include <ATen/ATen.h>

#include "core/kernels/gemm.h"
#include "core/kernels/head_cross_entropy.h"

namespace decant {

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
  const auto taught = [&](const at::Tensor& rows) {
    const auto h = teacher_hidden.index_select(0, rows);
    const auto& head = teacher.head().value;
    const double cap = teacher.config.logit_cap;
    return cap > 0 ? head_logits(h, head, /*decode=*/false, cap) : decant::linear(h, head, {});
  };
  const auto chunk_loss = [&](const at::Tensor& rows, at::Tensor& logits, bool with_gradients) {
    const at::Tensor teacher_logits =
        teacher_hidden.defined() ? taught(rows) : logits.clone();  // KL of equals: 0
    const DistillSums sums =
        cross_entropy_and_kl(logits, teacher_logits, targets.targets.index_select(0, rows),
                             targets.weights.index_select(0, rows), config, scale, with_gradients);
    part.cross_entropy += sums.cross_entropy;
    part.kl += sums.kl;
    return sums.sum;
  };
  const HeadLoss loss =
      head_loss(hidden, student.head(), targets.weights, gradients, chunk_loss, student.config.logit_cap);
  part.sum = loss.sum;
  part.weight = loss.weight;
  part.d_hidden = loss.d_hidden;
  return part;
}

}  // namespace decant
