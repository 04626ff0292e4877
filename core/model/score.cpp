#include "core/model/score.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>

#include "core/error.h"
#include "core/kernels/head_cross_entropy.h"

namespace decant {

namespace {

at::Tensor log_probabilities(const Decoder& model, const Batch& batch, const Targets& next) {
  const auto hidden = forward(model, batch);
  return head_log_probabilities(hidden, model.head().value, next.targets, next.weights,
                                model.config.logit_cap);
}

}  // namespace

std::vector<std::vector<float>> score(const Decoder& model,
                                      const std::vector<std::vector<int64_t>>& documents,
                                      int64_t max_tokens) {
  const c10::NoGradGuard no_grad;
  for (size_t n = 0; n < documents.size(); ++n) {
    check(!documents[n].empty(), "score: document ", n, " is empty");
    for (const auto id : documents[n])
      check(id >= 0 && id < model.config.vocab_size, "score: document ", n, " has the token id ", id,
            ", outside the model's vocabulary of ", model.config.vocab_size);
    check(static_cast<int64_t>(documents[n].size()) <= model.config.max_position_embeddings,
          "score: document ", n, " has ", documents[n].size(),
          " tokens, more than the model's 'max_position_embeddings' (", model.config.max_position_embeddings,
          ")");
  }
  std::vector<std::vector<float>> scores;
  for (size_t first = 0; first < documents.size();) {
    std::vector<std::vector<int64_t>> row;
    int64_t tokens = 0;
    while (first + row.size() < documents.size()) {
      const auto& next = documents[first + row.size()];
      const auto size = static_cast<int64_t>(next.size());
      if (!row.empty() && tokens + size > max_tokens) break;
      tokens += size;
      row.push_back(next);
    }
    first += row.size();
    const auto batch = make_batch(row);
    const auto values = log_probabilities(model, batch, next_token_targets(batch)).contiguous();
    const auto* value = values.const_data_ptr<float>();
    for (const auto& document : row) {
      scores.emplace_back(value, value + document.size() - 1);
      value += document.size();
    }
  }
  return scores;
}

WeightedLoss evaluate_loss(const Decoder& model, const Batch& batch) {
  const c10::NoGradGuard no_grad;
  const auto next = next_token_targets(batch);
  const auto values = log_probabilities(model, batch, next).to(at::kCPU).contiguous();
  const auto weights = next.weights.to(at::kCPU).contiguous();
  const auto* value = values.const_data_ptr<float>();
  const auto* weight = weights.const_data_ptr<float>();
  WeightedLoss loss;
  for (int64_t t = 0; t < values.numel(); ++t) {
    if (weight[t] == 0) continue;
    loss.sum -= static_cast<double>(weight[t]) * value[t];
    loss.weight += weight[t];
  }
  return loss;
}

TokenFigures evaluate_tokens(const Decoder& model, const Batch& batch) {
  const c10::NoGradGuard no_grad;
  const auto next = next_token_targets(batch);
  const auto hidden = forward(model, batch);
  const auto rows = at::nonzero(next.weights > 0).flatten().to(hidden.device());
  TokenFigures figures;
  figures.tokens = rows.numel();
  for (int64_t begin = 0; begin < rows.numel(); begin += kHeadChunk) {
    const auto chunk = rows.slice(0, begin, std::min(begin + kHeadChunk, rows.numel()));
    const auto logits =
        head_logits(hidden.index_select(0, chunk), model.head().value, false, model.config.logit_cap);
    const auto target = next.targets.to(hidden.device()).index_select(0, chunk);
    const auto of_target = logits.gather(1, target.unsqueeze(1)).squeeze(1);
    const auto weight = next.weights.to(hidden.device()).index_select(0, chunk).to(at::kDouble);
    figures.loss.sum +=
        ((at::logsumexp(logits, {1}) - of_target).to(at::kDouble) * weight).sum().item<double>();
    figures.loss.weight += weight.sum().item<double>();
    figures.right += (logits.argmax(1) == target).sum().item<int64_t>();
  }
  return figures;
}

}  // namespace decant
