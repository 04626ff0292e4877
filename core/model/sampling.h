// One draw from one row of logits: which tokens stay, and which is taken. Order and edges as transformers'
// generation/logits_process.py; sums in float64 in a fixed order, so that a row gives the same token on any
// batch.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/model/generate.h"

namespace decant {

struct Candidate {
  int64_t token;
  float score;
};

// Divides positive and multiplies negative scores of the tokens in `seen` (each once) by the penalty.
void apply_repetition_penalty(std::span<float> scores, std::span<const int64_t> seen, double penalty);

// Temperature, top-k, top-p and min-p: the tokens that stay, by rising id, with their scores after
// temperature.
std::vector<Candidate> kept_candidates(std::span<const float> scores, const SamplingConfig& sampling);

// `uniform` in [0, 1): the token where the running sum of softmax(scores) passes it.
int64_t draw(std::span<const Candidate> candidates, double uniform);

// The most likely; the lowest id among equals.
int64_t most_likely(std::span<const float> scores);

// log sum exp; Error when a score is NaN or the greatest is not finite.
double log_sum_exp(std::span<const float> scores);

}  // namespace decant
