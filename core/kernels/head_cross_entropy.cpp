#include "core/kernels/head_cross_entropy.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <cmath>

#include "core/error.h"
#include "core/kernels/gemm.h"
#include "core/kernels/plain.h"
#include "core/kernels/row_map.h"
#include "core/kernels/tensor_rows.h"

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

at::Tensor capped(const at::Tensor& logits, double cap) {
  if (cap <= 0) return logits;
  return map_rows(logits / cap, [](at::Tensor& out, const at::Tensor& in) { at::tanh_out(out, in); }) * cap;
}

}  // namespace

HeadLoss head_loss(const at::Tensor& hidden, Parameter& head, const at::Tensor& weights, double scale,
                   bool gradients, const ChunkLoss& chunk_loss, double cap) {
  HeadLoss loss;
  loss.weight = weights.to(at::kDouble).sum().item<double>();
  if (gradients) loss.d_hidden = at::zeros(hidden.sizes(), hidden.options());
  for_chunks(hidden, weights, [&](const at::Tensor& rows, const at::Tensor& h) {
    auto logits = capped(plain::wide(decant::linear(h, head.value, {})), cap);
    at::Tensor slope;
    if (gradients && cap > 0) slope = 1 - (logits / cap).square();
    loss.sum += chunk_loss(rows, logits, gradients);
    if (!gradients) return;
    if (slope.defined()) logits.mul_(slope);
    const auto d = logits.mul_(scale).to(hidden.scalar_type());
    loss.d_hidden.index_copy_(0, rows, linear_input_grad(d, head.value));
    if (head.trainable) add_weight_grad(head.grad, d, h);
  });
  return loss;
}

namespace {

HeadLoss plain_cross_entropy(const at::Tensor& hidden, Parameter& head, const at::Tensor& targets,
                             const at::Tensor& weights, double scale, bool gradients, double cap) {
  return head_loss(
      hidden, head, weights, scale, gradients,
      [&](const at::Tensor& rows, at::Tensor& logits, bool with_gradients) {
        const auto target = targets.index_select(0, rows);
        const auto weight = weights.index_select(0, rows).to(logits.scalar_type());
        const auto losses = plain::cross_entropy(logits, target);
        if (with_gradients) {
          logits.copy_(at::softmax(logits, 1));
          logits.scatter_add_(1, target.unsqueeze(1), at::full({target.numel(), 1}, -1, logits.options()));
          logits.mul_(weight.unsqueeze(1));
        }
        return (losses * weight).to(at::kDouble).sum().item<double>();
      },
      cap);
}

// Log-probabilities of the targets of a chunk's logits [n, V] (bf16 or fp32). With `factors` [n], the logits
// become factor * (softmax - one hot) in their own type.
std::vector<double> chunk_log_probabilities(at::Tensor& logits, const at::Tensor& rows,
                                            const at::Tensor& targets, const std::vector<double>* factors) {
  const auto n = rows.numel(), vocabulary = logits.size(1);
  const auto* row = rows.data_ptr<int64_t>();
  const auto* target = targets.data_ptr<int64_t>();
  std::vector<double> result(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i)
    check(target[row[i]] >= 0 && target[row[i]] < vocabulary, "target ", target[row[i]], " of row ", row[i],
          " is outside the vocabulary of ", vocabulary);
  const auto of_target = [&](int64_t i) { return logits[i][target[row[i]]]; };
  with_loops(logits, [&](const auto& loop, auto* p) {
    at::parallel_for(0, n, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        auto* z = p + i * vocabulary;
        const float log_sum = loop.log_sum_exp(z, vocabulary);
        const double log_p = of_target(i).template item<double>() - log_sum;
        result[static_cast<size_t>(i)] = log_p;
        if (factors == nullptr) continue;
        const double factor = (*factors)[static_cast<size_t>(i)];
        loop.softmax_gradient(z, vocabulary, log_sum, static_cast<float>(factor));
        of_target(i).fill_(factor * std::expm1(log_p));  // p - 1 without cancellation
      }
    });
  });
  return result;
}

}  // namespace

HeadLoss head_cross_entropy(const at::Tensor& hidden, Parameter& head, const at::Tensor& targets,
                            const at::Tensor& weights, double scale, bool gradients, double cap) {
  if (use_plain_kernels(hidden) || cap > 0)
    return plain_cross_entropy(hidden, head, targets, weights, scale, gradients, cap);
  HeadLoss loss;
  loss.weight = weights.to(at::kDouble).sum().item<double>();
  if (gradients) loss.d_hidden = at::zeros(hidden.sizes(), hidden.options());
  const auto weight = weights.contiguous();
  const auto target = targets.contiguous();
  for_chunks(hidden, weights, [&](const at::Tensor& rows, const at::Tensor& h) {
    // The logits stay in the type of the product; softmax and sums are fp32 and wider.
    auto logits = decant::linear(h, head.value, {});
    std::vector<double> of_row, factors;
    for (int64_t i = 0; i < rows.numel(); ++i) {
      of_row.push_back(weight.data_ptr<float>()[rows.data_ptr<int64_t>()[i]]);
      factors.push_back(of_row.back() * scale);
    }
    const auto log_p = chunk_log_probabilities(logits, rows, target, gradients ? &factors : nullptr);
    for (size_t i = 0; i < log_p.size(); ++i) loss.sum -= of_row[i] * log_p[i];
    if (!gradients) return;
    loss.d_hidden.index_copy_(0, rows, linear_input_grad(logits, head.value));
    if (head.trainable) add_weight_grad(head.grad, logits, h);
  });
  return loss;
}

at::Tensor head_log_probabilities(const at::Tensor& hidden, const at::Tensor& head, const at::Tensor& targets,
                                  const at::Tensor& weights, double cap) {
  auto out = at::zeros({hidden.size(0)}, hidden.options().dtype(at::kFloat));
  for_chunks(hidden, weights, [&](const at::Tensor& rows, const at::Tensor& h) {
    auto logits = decant::linear(h, head, {});
    if (cap > 0) logits = capped(plain::wide(logits), cap);
    if (use_plain_kernels(hidden)) {
      out.index_copy_(0, rows,
                      plain::cross_entropy(logits, targets.index_select(0, rows)).neg().to(at::kFloat));
      return;
    }
    const auto log_p = chunk_log_probabilities(logits, rows, targets.contiguous(), nullptr);
    for (size_t i = 0; i < log_p.size(); ++i)
      out.data_ptr<float>()[rows.data_ptr<int64_t>()[i]] = static_cast<float>(log_p[i]);
  });
  return out;
}

at::Tensor head_logits(const at::Tensor& hidden, const at::Tensor& head, bool decode, double cap) {
  return capped(decant::linear(hidden, head, {}, decode ? Panel::kDecode : Panel::kTraining).to(at::kFloat),
                cap);
}

}  // namespace decant
