// The distillation objective: a * cross-entropy + b * forward KL on the teacher's logits, chunk by chunk, so
// that no [T, V] tensor of either model exists.
#pragma once

#include <cstdint>
#include <memory>

#include "core/model/decoder.h"
#include "distill/divergence.h"

namespace decant {

// What train() takes as an Objective (train/trainer.h); distill and train are siblings, so the type is
// spelled out. `teacher` must outlive it and share the student's vocabulary (Error if sizes differ).
struct DistillPart {
  double sum = 0, weight = 0, cross_entropy = 0, kl = 0;
  at::Tensor d_hidden;
};
DistillPart distill_loss(const Decoder& teacher, const DistillLossConfig& config, Decoder& student,
                         const Batch& batch, const at::Tensor& hidden, double scale, bool gradients);

}  // namespace decant
