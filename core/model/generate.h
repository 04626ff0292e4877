// Generation on ids: batched, with a key/value cache in blocks. A sample does not depend on which batch it
// ran in: fixed panels (core/kernels/gemm.h), attention per sequence, and randomness keyed by (seed, request
// key, token index).
//
// Source of the sampling order: transformers' generation/logits_process.py: repetition penalty, temperature,
// top-k, top-p, min-p.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/config.h"
#include "core/model/decoder.h"

namespace decant {

struct SamplingConfig {
  int64_t max_new_tokens = 256;
  bool greedy = true;
  double temperature = 1.0;
  int64_t top_k = 0;  // 0: off
  double top_p = 1.0;
  double min_p = 0.0;
  double repetition_penalty = 1.0;
  int64_t seed = 0;

  static void visit(auto& c, auto&& field) {
    field("max_new_tokens", c.max_new_tokens, "longest answer, in tokens");
    field("greedy", c.greedy,
          "take the most likely token; the settings below then do nothing, but for repetition_penalty");
    field("temperature", c.temperature, "logits are divided by this");
    field("top_k", c.top_k, "keep the k most likely tokens; 0 keeps all");
    field("top_p", c.top_p, "keep the most likely tokens whose probabilities add up to p");
    field("min_p", c.min_p, "keep tokens at least min_p times as likely as the most likely one");
    field("repetition_penalty", c.repetition_penalty,
          "divides positive and multiplies negative logits of tokens seen before");
    field("seed", c.seed, "of the sampling; same seed, same text");
  }
  void validate(const Place& place) const;
};

struct GenerationRequest {
  std::vector<int64_t> prompt;
  uint64_t key = 0;  // names the sample: (seed, key, token index) decides its randomness
};

enum class StopReason { kStopToken, kStopString, kLength };

struct GenerationResult {
  std::vector<int64_t> tokens;  // without the prompt; with the stop token if there was one
  std::vector<float>
      log_probabilities;  // of each token under the model's own distribution (before penalty and temperature)
  StopReason reason = StopReason::kLength;
};

// Called after each token with (request index, tokens so far); true stops the sequence (stop strings live a
// floor above).
using StopCheck = std::function<bool(size_t, const std::vector<int64_t>&)>;

// Under longrope a sequence turns by the angles of the length that it can reach: prompt and max_new_tokens.
// (transformers starts with those of its present length and computes the cache anew where it passes
// original_max_position_embeddings.)
//
// At most `batch_size` sequences run at one time; a finished one makes room for the next. Error if a prompt
// is empty, has an id outside the vocabulary, or does not fit max_position_embeddings with max_new_tokens.
std::vector<GenerationResult> generate(const Decoder& model, const std::vector<GenerationRequest>& requests,
                                       const SamplingConfig& sampling, const std::vector<int64_t>& stop_ids,
                                       int64_t batch_size = 16, const StopCheck& stop = {},
                                       const std::function<void(int64_t finished)>& progress = {});

}  // namespace decant
