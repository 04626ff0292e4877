#include "core/model/batch.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>

#include "core/error.h"

namespace decant {

double Batch::total_weight() const {
  const auto weights = loss_weight.to(at::kCPU, at::kFloat).contiguous();
  const float* w = weights.const_data_ptr<float>();
  double total = 0;
  for (int64_t t = 0; t < weights.numel(); ++t) total += w[t];
  return total;
}

Batch make_batch(const std::vector<std::vector<int64_t>>& documents,
                 const std::vector<std::vector<float>>& weights) {
  check(weights.empty() || weights.size() == documents.size(), "make_batch: ", documents.size(),
        " documents but ", weights.size(), " lists of weights");
  int64_t total = 0;
  for (size_t n = 0; n < documents.size(); ++n) {
    check(!documents[n].empty(), "make_batch: document ", n, " is empty");
    check(weights.empty() || weights[n].size() == documents[n].size(), "make_batch: document ", n, " has ",
          documents[n].size(), " tokens but ", weights.empty() ? 0 : weights[n].size(), " weights");
    total += static_cast<int64_t>(documents[n].size());
  }
  check(total <= std::numeric_limits<int32_t>::max(), "make_batch: more than 2^31 tokens in one row");
  Batch batch;
  batch.tokens = at::empty({total}, at::kLong);
  batch.positions = at::empty({total}, at::kLong);
  batch.document_starts = at::empty({static_cast<int64_t>(documents.size()) + 1}, at::kInt);
  batch.loss_weight = at::empty({total}, at::kFloat);
  auto* tokens = batch.tokens.mutable_data_ptr<int64_t>();
  auto* positions = batch.positions.mutable_data_ptr<int64_t>();
  auto* starts = batch.document_starts.mutable_data_ptr<int32_t>();
  auto* weight = batch.loss_weight.mutable_data_ptr<float>();
  int64_t t = 0;
  for (size_t n = 0; n < documents.size(); ++n) {
    starts[n] = static_cast<int32_t>(t);
    for (size_t i = 0; i < documents[n].size(); ++i, ++t) {
      tokens[t] = documents[n][i];
      positions[t] = static_cast<int64_t>(i);
      weight[t] = i == 0 ? 0.0f : weights.empty() ? 1.0f : weights[n][i];
    }
  }
  starts[documents.size()] = static_cast<int32_t>(t);
  return batch;
}

Targets next_token_targets(const Batch& batch) {
  const auto total = batch.size();
  Targets shifted{at::zeros({total}, batch.tokens.options()),
                  at::zeros({total}, batch.loss_weight.options())};
  if (total == 0) return shifted;
  shifted.targets.narrow(0, 0, total - 1).copy_(batch.tokens.narrow(0, 1, total - 1));
  shifted.weights.narrow(0, 0, total - 1).copy_(batch.loss_weight.narrow(0, 1, total - 1));
  const auto last = batch.document_starts.slice(0, 1).to(at::kLong) - 1;
  shifted.weights.index_fill_(0, last.to(batch.loss_weight.device()), 0);
  return shifted;
}

}  // namespace decant
