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

void TokenFigures::add(const TokenFigures& other) {
  loss.sum += other.loss.sum;
  loss.weight += other.loss.weight;
  right += other.right;
  tokens += other.tokens;
}

std::vector<TokenFigures> evaluate_documents(const Decoder& model, const Batch& batch) {
  const c10::NoGradGuard no_grad;
  const auto next = next_token_targets(batch);
  const auto hidden = forward(model, batch);
  at::Tensor best;
  const auto values = head_log_probabilities(hidden, model.head().value, next.targets, next.weights,
                                             model.config.logit_cap, &best)
                          .to(at::kCPU)
                          .contiguous();
  const auto weights = next.weights.to(at::kCPU).contiguous(), right = (best.cpu() == next.targets.cpu());
  const auto* value = values.const_data_ptr<float>();
  const auto* weight = weights.const_data_ptr<float>();
  const auto* is_right = right.const_data_ptr<bool>();
  const auto* starts = batch.document_starts.const_data_ptr<int32_t>();
  std::vector<TokenFigures> figures(static_cast<size_t>(batch.document_starts.numel() - 1));
  for (size_t d = 0; d < figures.size(); ++d)
    for (int64_t t = starts[d]; t < starts[d + 1]; ++t) {
      if (weight[t] == 0) continue;
      figures[d].loss.sum -= static_cast<double>(weight[t]) * value[t];
      figures[d].loss.weight += weight[t];
      figures[d].right += is_right[t] ? 1 : 0;
      ++figures[d].tokens;
    }
  return figures;
}

TokenFigures evaluate_tokens(const Decoder& model, const Batch& batch) {
  TokenFigures all;
  for (const TokenFigures& one : evaluate_documents(model, batch)) all.add(one);
  return all;
}

WeightedLoss evaluate_loss(const Decoder& model, const Batch& batch) {
  return evaluate_tokens(model, batch).loss;
}

}  // namespace decant
