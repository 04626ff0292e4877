#include "core/kernels/head_cross_entropy.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/kernels/gemm.h"
#include "core/kernels/plain.h"
#include "core/kernels/row_map.h"
#include "core/kernels/tensor_rows.h"

namespace decant {
namespace {

// Rows with a weight other than 0, in order.
at::Tensor weighted_rows(const at::Tensor& weights) { return at::nonzero(weights != 0).flatten(); }

// Calls visit(rows [n], their hidden states [n, D]) in chunks of kHeadChunk.
template <class Visit>
void for_chunks(const at::Tensor& hidden, const at::Tensor& weights, const Visit& visit) {
  const auto rows = weighted_rows(weights).to(hidden.device());
  for (int64_t begin = 0; begin < rows.numel(); begin += kHeadChunk) {
    const auto chunk = rows.slice(0, begin, std::min(begin + kHeadChunk, rows.numel()));
    visit(chunk, hidden.index_select(0, chunk));
  }
}

// Rows of the head that train: d [n, V], h [n, D].
void add_row_grad(const Parameter& head, const at::Tensor& d, const at::Tensor& h) {
  if (!head.row_ids.defined()) return;
  at::Tensor grad = head.row_grad;
  add_weight_grad(grad, d.index_select(1, head.row_ids.to(d.device())), h);
}

// That the targets of these rows are in the vocabulary.
void check_targets(const at::Tensor& rows, const at::Tensor& targets, int64_t vocabulary) {
  const auto of_rows = targets.index_select(0, rows);
  const auto outside = at::nonzero((of_rows < 0).logical_or_(of_rows >= vocabulary)).flatten();
  if (outside.numel() == 0) return;
  const auto first = outside[0].item<int64_t>();
  fail("target ", of_rows[first].item<int64_t>(), " of row ", rows[first].item<int64_t>(),
       " is outside the vocabulary of ", vocabulary);
}

at::Tensor capped(const at::Tensor& logits, double cap) {
  if (cap <= 0) return logits;
  return map_rows(logits / cap, [](at::Tensor& out, const at::Tensor& in) { at::tanh_out(out, in); }) * cap;
}

}  // namespace

HeadLoss head_loss(const at::Tensor& hidden, Parameter& head, const at::Tensor& weights, bool gradients,
                   const ChunkLoss& chunk_loss, double cap) {
  HeadLoss loss;
  loss.weight = weights.to(at::kDouble).sum().item<double>();
  if (gradients) loss.d_hidden = at::zeros(hidden.sizes(), hidden.options());
  for_chunks(hidden, weights, [&](const at::Tensor& rows, const at::Tensor& h) {
    auto logits = decant::linear(h, head.value, {});
    if (cap > 0) logits = capped(plain::wide(logits), cap);
    at::Tensor slope;
    if (gradients && cap > 0) slope = 1 - (logits / cap).square();
    loss.sum += chunk_loss(rows, logits, gradients);
    if (!gradients) return;
    if (slope.defined()) logits.mul_(slope);
    const auto d = logits.to(hidden.scalar_type());
    loss.d_hidden.index_copy_(0, rows, linear_input_grad(d, head.value));
    if (head.trainable) add_weight_grad(head.grad, d, h);
    add_row_grad(head, d, h);
  });
  return loss;
}

namespace {

HeadLoss plain_cross_entropy(const at::Tensor& hidden, Parameter& head, const at::Tensor& targets,
                             const at::Tensor& weights, double scale, bool gradients, double cap) {
  return head_loss(
      hidden, head, weights, gradients,
      [&](const at::Tensor& rows, at::Tensor& logits, bool with_gradients) {
        logits = plain::wide(logits);
        check_targets(rows, targets, logits.size(1));
        const auto target = targets.index_select(0, rows);
        const auto weight = weights.index_select(0, rows).to(logits.scalar_type());
        const auto losses = plain::cross_entropy(logits, target);
        if (with_gradients) {
          logits.copy_(at::softmax(logits, 1));
          logits.scatter_add_(1, target.unsqueeze(1), at::full({target.numel(), 1}, -1, logits.options()));
          logits.mul_(weight.unsqueeze(1)).mul_(scale);
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
  check_targets(rows, targets, vocabulary);
  const auto of_target = [&](int64_t i) { return logits[i][target[row[i]]]; };
  with_loops(logits, [&](const auto& loop, auto* p) {
    at::parallel_for(0, n, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        auto* z = p + i * vocabulary;
        const float log_sum = loop.log_sum_exp(z, vocabulary, 1);
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

namespace {

double sum_of_weights(const at::Tensor& weights) { return weights.to(at::kDouble).sum().item<double>(); }

// Cross-entropy of every weighted row, its gradient scaled by `scale_of(row)`, handed to `add(row, loss)` in
// order; adds to `d_hidden` when it is defined.
template <class ScaleOf, class Add>
void walk_cross_entropy(const at::Tensor& hidden, const Parameter& head, const at::Tensor& targets,
                        const at::Tensor& weights, at::Tensor& d_hidden, at::Tensor* head_grad,
                        const ScaleOf& scale_of, const Add& add) {
  const auto weight = weights.contiguous();
  const auto target = targets.contiguous();
  for_chunks(hidden, weights, [&](const at::Tensor& rows, const at::Tensor& h) {
    // The logits stay in the type of the product; softmax and sums are fp32 and wider.
    auto logits = decant::linear(h, head.value, {});
    const auto* row = rows.data_ptr<int64_t>();
    std::vector<double> of_row, factors;
    for (int64_t i = 0; i < rows.numel(); ++i) {
      of_row.push_back(weight.data_ptr<float>()[row[i]]);
      factors.push_back(of_row.back() * scale_of(row[i]));
    }
    const auto log_p = chunk_log_probabilities(logits, rows, target, d_hidden.defined() ? &factors : nullptr);
    for (size_t i = 0; i < log_p.size(); ++i) add(row[i], of_row[i] * log_p[i]);
    if (!d_hidden.defined()) return;
    d_hidden.index_copy_(0, rows, linear_input_grad(logits, head.value));
    if (head_grad != nullptr) add_weight_grad(*head_grad, logits, h);
    add_row_grad(head, logits, h);
  });
}

}  // namespace

HeadLoss head_cross_entropy(const at::Tensor& hidden, Parameter& head, const at::Tensor& targets,
                            const at::Tensor& weights, double scale, bool gradients, double cap) {
  if (use_plain_kernels(hidden) || cap > 0)
    return plain_cross_entropy(hidden, head, targets, weights, scale, gradients, cap);
  HeadLoss loss;
  loss.weight = sum_of_weights(weights);
  if (gradients) loss.d_hidden = at::zeros(hidden.sizes(), hidden.options());
  walk_cross_entropy(
      hidden, head, targets, weights, loss.d_hidden, head.trainable ? &head.grad : nullptr,
      [&](int64_t) { return scale; }, [&](int64_t, double log_p) { loss.sum -= log_p; });
  return loss;
}

std::vector<HeadLoss> segmented_cross_entropy(const at::Tensor& hidden, const Parameter& head,
                                              const at::Tensor& targets, const at::Tensor& weights,
                                              const std::vector<HeadSegment>& segments, bool gradients,
                                              double cap) {
  TORCH_INTERNAL_ASSERT(!head.trainable && (!head.row_ids.defined() || segments.size() == 1),
                        "a head that several segments share cannot learn");
  at::Tensor d_hidden;
  if (gradients) d_hidden = at::zeros(hidden.sizes(), hidden.options());
  std::vector<HeadLoss> losses(segments.size());
  std::vector<size_t> segment_of(static_cast<size_t>(hidden.size(0)), segments.size());
  auto counted = at::zeros_like(weights);
  int64_t last = 0;
  for (size_t s = 0; s < segments.size(); ++s) {
    const auto& one = segments[s];
    TORCH_INTERNAL_ASSERT(last <= one.begin && one.begin <= one.end && one.end <= hidden.size(0));
    last = one.end;
    std::fill(segment_of.begin() + one.begin, segment_of.begin() + one.end, s);
    counted.slice(0, one.begin, one.end).copy_(weights.slice(0, one.begin, one.end));
    losses[s].weight = sum_of_weights(weights.slice(0, one.begin, one.end));
    if (gradients) losses[s].d_hidden = d_hidden.slice(0, one.begin, one.end);
  }
  if (use_plain_kernels(hidden) || cap > 0) {
    Parameter frozen = head;
    for (size_t s = 0; s < segments.size(); ++s) {
      const auto rows = [&](const at::Tensor& x) { return x.slice(0, segments[s].begin, segments[s].end); };
      const auto alone = plain_cross_entropy(rows(hidden), frozen, rows(targets), rows(weights),
                                             segments[s].scale, gradients, cap);
      losses[s].sum = alone.sum;
      if (gradients) losses[s].d_hidden.copy_(alone.d_hidden);
    }
    return losses;
  }
  walk_cross_entropy(
      hidden, head, targets, counted, d_hidden, nullptr,
      [&](int64_t row) { return segments[segment_of[static_cast<size_t>(row)]].scale; },
      [&](int64_t row, double log_p) { losses[segment_of[static_cast<size_t>(row)]].sum -= log_p; });
  return losses;
}

at::Tensor head_log_probabilities(const at::Tensor& hidden, const at::Tensor& head, const at::Tensor& targets,
                                  const at::Tensor& weights, double cap, at::Tensor* most_likely) {
  const auto type = hidden.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  auto out = at::zeros({hidden.size(0)}, hidden.options().dtype(type));
  if (most_likely != nullptr)
    *most_likely = at::full({hidden.size(0)}, -1, hidden.options().dtype(at::kLong));
  for_chunks(hidden, weights, [&](const at::Tensor& rows, const at::Tensor& h) {
    auto logits = decant::linear(h, head, {});
    if (cap > 0) logits = capped(plain::wide(logits), cap);
    if (most_likely != nullptr) most_likely->index_copy_(0, rows, logits.argmax(1));
    if (use_plain_kernels(hidden)) {
      check_targets(rows, targets, logits.size(1));
      out.index_copy_(0, rows, plain::cross_entropy(logits, targets.index_select(0, rows)).neg().to(type));
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
