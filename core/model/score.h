// Log-probabilities of given tokens, and what is made of them.
#pragma once

#include <cstdint>
#include <vector>

#include "core/model/decoder.h"

namespace decant {

// log p(ids[i] | ids[..i]) for i = 1..n-1 of each document; packed into flat rows of at most `max_tokens`
// (results do not depend on the packing). Error for an empty document or an id outside the vocabulary.
std::vector<std::vector<float>> score(const Decoder& model,
                                      const std::vector<std::vector<int64_t>>& documents,
                                      int64_t max_tokens = 2048);

struct WeightedLoss {
  double sum = 0, weight = 0;  // nats
};
// Sum of -weight * log p, and how often the most likely token is the right one, of the tokens with a weight.
struct TokenFigures {
  WeightedLoss loss;
  int64_t right = 0, tokens = 0;

  void add(const TokenFigures& other);
};
// Of each document of the batch, in one walk through the head; logits of at most kHeadChunk rows exist at one
// time. The sums of the whole batch are those of its documents in order.
std::vector<TokenFigures> evaluate_documents(const Decoder& model, const Batch& batch);
TokenFigures evaluate_tokens(const Decoder& model, const Batch& batch);
WeightedLoss evaluate_loss(const Decoder& model, const Batch& batch);

}  // namespace decant
