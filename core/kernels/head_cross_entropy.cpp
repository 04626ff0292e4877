#include "core/kernels/head_cross_entropy.h"

#include <ATen/ATen.h>

#include "core/error.h"
#include "core/kernels/gemm.h"
#include "core/kernels/plain.h"

namespace decant {
namespace {

// Rows with weight > 0, in order.
at::Tensor weighted_rows(const at::Tensor& weights) { return at::nonzero(weights > 0).flatten(); }

// Calls visit(rows [n], their hidden states [n, D]) in chunks of kHeadChunk.
template <class Visit>
void for_chunks(const at::Tensor& hidden, const at::Tensor& weights, const Visit& visit) {
  const auto rows = weighted_rows(weights).to(hidden.device());
  for (int64_t begin = 0; begin < rows.numel(); begin += kHeadChunk) {
    const auto chunk = rows.slice(0, begin, std::min(begin + kHeadChunk, rows.numel()));
    visit(chunk, hidden.index_select(0, chunk));
  }
}

}  // namespace

HeadLoss head_loss(const at::Tensor& hidden, Parameter& head, const at::Tensor& weights, double scale,
                   bool gradients, const ChunkLoss& chunk_loss) {
  HeadLoss loss;
  loss.weight = weights.to(at::kDouble).sum().item<double>();
  if (gradients) loss.d_hidden = at::zeros(hidden.sizes(), hidden.options());
  for_chunks(hidden, weights, [&](const at::Tensor& rows, const at::Tensor& h) {
    auto logits = plain::wide(decant::linear(h, head.value, {}));
    loss.sum += chunk_loss(rows, logits, gradients);
    if (!gradients) return;
    const auto d = logits.mul_(scale).to(hidden.scalar_type());
    loss.d_hidden.index_copy_(0, rows, linear_input_grad(d, head.value));
    if (head.trainable) add_weight_grad(head.grad, d, h);
  });
  return loss;
}

HeadLoss head_cross_entropy(const at::Tensor& hidden, Parameter& head, const at::Tensor& targets,
                            const at::Tensor& weights, double scale, bool gradients) {
  return head_loss(hidden, head, weights, scale, gradients,
                   [&](const at::Tensor& rows, at::Tensor& logits, bool with_gradients) {
                     const auto target = targets.index_select(0, rows);
                     const auto weight = weights.index_select(0, rows).to(logits.scalar_type());
                     const auto losses = plain::cross_entropy(logits, target);
                     if (with_gradients) {
                       logits.copy_(at::softmax(logits, 1));
                       logits.scatter_add_(1, target.unsqueeze(1),
                                           at::full_like(target, -1, logits.options()).unsqueeze(1));
                       logits.mul_(weight.unsqueeze(1));
                     }
                     return (losses * weight).to(at::kDouble).sum().item<double>();
                   });
}

at::Tensor head_log_probabilities(const at::Tensor& hidden, const at::Tensor& head, const at::Tensor& targets,
                                  const at::Tensor& weights) {
  auto out = at::zeros({hidden.size(0)}, hidden.options().dtype(at::kFloat));
  for_chunks(hidden, weights, [&](const at::Tensor& rows, const at::Tensor& h) {
    const auto losses = plain::cross_entropy(decant::linear(h, head, {}), targets.index_select(0, rows));
    out.index_copy_(0, rows, losses.neg().to(at::kFloat));
  });
  return out;
}

at::Tensor head_logits(const at::Tensor& hidden, const at::Tensor& head, bool decode) {
  return decant::linear(hidden, head, {}, decode ? Panel::kDecode : Panel::kTraining).to(at::kFloat);
}

}  // namespace decant
