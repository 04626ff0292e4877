// The output head and the loss as one kernel that walks chunks of tokens: logits [T, V] never exist. Backward
// of a chunk is done while its logits are at hand, so the logits are computed once (the idea of Apple's cut
// cross-entropy, arXiv 2411.09009, and Liger's fused linear cross-entropy). Softmax and sums in fp32; sums
// over tokens in fixed order.
//
// Where `cap` is not 0, logits are soft-capped (gemma2): z = cap tanh(z / cap).
//
// Legend: T tokens, D width, V vocabulary.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

#include "core/kernels/parameter.h"

namespace decant {

constexpr int64_t kHeadChunk = 256;  // tokens whose logits exist at one time

struct HeadLoss {
  double sum = 0;       // weighted sum of -log p(target)
  double weight = 0;    // sum of the weights
  at::Tensor d_hidden;  // [T, D] in hidden's dtype when gradients were asked for: d(sum * scale) / d hidden
};

// hidden [T, D]; head.value [V, D]; targets [T] int64 (ignored where weight is 0); weights [T] fp32. Rows
// with weight 0 cost nothing; weights may be negative (answers to unlearn). With `gradients`, d_hidden is
// filled and, if head.trainable, head.grad += d(sum
// * scale)/d head; the same for head.row_grad when the head has rows that train.
HeadLoss head_cross_entropy(const at::Tensor& hidden, Parameter& head, const at::Tensor& targets,
                            const at::Tensor& weights, double scale, bool gradients, double cap = 0);

// The same over a row of several segments (tenants), each with a scale and a sum of its own: the head is
// multiplied once over all rows, and each segment's numbers are the bits that head_cross_entropy() gives it
// alone. Segments follow each other in the row; rows outside of them count nowhere. The head is frozen, or
// has rows that train and there is one segment.
// d_hidden [T, D] when `gradients`; the returned d_hidden are rows of it.
struct HeadSegment {
  int64_t begin = 0, end = 0;  // rows
  double scale = 1;
};
std::vector<HeadLoss> segmented_cross_entropy(const at::Tensor& hidden, const Parameter& head,
                                              const at::Tensor& targets, const at::Tensor& weights,
                                              const std::vector<HeadSegment>& segments, bool gradients,
                                              double cap = 0);

// The same walk for any loss on logits (distillation): `chunk_loss` gets the rows' indices [n] int64, their
// logits [n, V] in hidden's type (fp32 at least with a cap), and returns the chunk's loss sum after replacing
// the logits, of any floating type, by d(sum * scale) / d logits (when `gradients`; the scale is its own).
// Rows are those with a weight other than 0, in order, in chunks of kHeadChunk.
using ChunkLoss = std::function<double(const at::Tensor& rows, at::Tensor& logits, bool gradients)>;
HeadLoss head_loss(const at::Tensor& hidden, Parameter& head, const at::Tensor& weights, bool gradients,
                   const ChunkLoss& chunk_loss, double cap = 0);

// log p(target) [T] fp32, without gradients; 0 where weight is 0. `most_likely`, when given, becomes the
// token with the largest logit of each of these rows [T] int64 (the first of equals), -1 where weight is 0.
at::Tensor head_log_probabilities(const at::Tensor& hidden, const at::Tensor& head, const at::Tensor& targets,
                                  const at::Tensor& weights, double cap = 0,
                                  at::Tensor* most_likely = nullptr);

// Plain logits [n, V] fp32 of the rows of hidden [n, D] (generation, tests).
at::Tensor head_logits(const at::Tensor& hidden, const at::Tensor& head, bool decode, double cap = 0);

}  // namespace decant
