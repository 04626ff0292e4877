// One flat row of tokens: what every forward takes. There is no batch dimension and no padding.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "core/kernels/dropout.h"

namespace decant {

// What a preference loss needs to know of the whole optimizer step (train/preference.h).
struct PreferenceTerms {
  double weight = 0;         // of all its tokens
  double pairs = 0;          // chosen and rejected documents that belong together
  double chosen_weight = 0;  // of the chosen documents of pairs
  double judged = 0, wanted = 0;
  double divergence = 0;          // KTO's estimate
  std::vector<double> reference;  // log-probabilities of this batch's documents [N]
};

// Legend: T tokens, N documents.
struct Batch {
  at::Tensor tokens;           // int64 [T]
  at::Tensor positions;        // int64 [T], from 0 in each document
  at::Tensor document_starts;  // int32 [N+1] on the CPU: 0 .. T
  at::Tensor
      loss_weight;  // fp32 [T]: weight of predicting token t from what precedes it; 0 at document starts
  at::Tensor document_role;  // uint8 [N] (shard.h's DocumentRole); undefined: all plain
  at::Tensor document_pair;  // int64 [N]: -1, or the same number for two neighbours, the chosen one first
  std::shared_ptr<const PreferenceTerms> preference;
  std::vector<TrainingRows> training;  // empty in evaluation; what noise and dropout are drawn by

  int64_t size() const { return tokens.size(0); }
  double total_weight() const;
};

// From plain vectors (positions are implied). Empty weights mean 1 everywhere but at document starts.
Batch make_batch(const std::vector<std::vector<int64_t>>& documents,
                 const std::vector<std::vector<float>>& weights = {});

// Shift for the loss: row t of hidden predicts token t+1. Returns {targets int64 [T], weights fp32 [T]} where
// entry t belongs to token t+1; the last row of each document has weight 0.
struct Targets {
  at::Tensor targets, weights;
};
Targets next_token_targets(const Batch& batch);

}  // namespace decant
