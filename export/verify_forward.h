// A plain fp32 forward pass over plain tensors, written from the papers for verify alone: no kernels, model
// code or readers of core. Slow and short; it scores a handful of tokens.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace decant::verifying {

using PlainTensors = std::map<std::string, at::Tensor>;  // by Hugging Face name, fp32

// deepseek_v3's attention and experts, by config.json's keys.
struct PlainLatent {
  int64_t q_rank = 0, kv_rank = 0, nope = 0, rope = 0, v = 0;
  bool interleaved = true;
};
struct PlainExperts {
  int64_t first_layer = 0, routed = 0, per_token = 0, groups = 1, groups_per_token = 1;
  double scale = 1;
  bool normalize = true;
};

struct PlainModel {
  int64_t layers = 0, heads = 0, kv_heads = 0, head_dim = 0, vocabulary = 0;
  double eps = 1e-6;
  bool qk_norm = false;
  at::Tensor frequencies;      // [K/2] fp32: angle of channel i at position p is p * frequencies[i]
  double rotation_scale = 1;   // multiplied into cos and sin (yarn)
  double attention_scale = 0;  // 0: 1 / sqrt(head_dim)
  double attention_cap = 0, logit_cap = 0;
  bool gemma = false;  // norms 1 + w, on both sides of each half; tanh-gelu; embeddings times sqrt(D)
  std::optional<PlainLatent> latent;
  std::optional<PlainExperts> experts;
  std::vector<int64_t> windows;  // per layer, 0: full
  PlainTensors weights;          // lm_head.weight absent: tied
};

// Angles per position under a rope setting; `kind`: default, linear, llama3, yarn, longrope.
struct PlainRope {
  std::string kind = "default";
  std::vector<double> divisors;  // longrope: one for each pair of channels
  double theta = 10000, factor = 1, low = 1, high = 4, original = 0, beta_fast = 32, beta_slow = 1;
  bool truncate = true;
};
at::Tensor rope_frequencies(const PlainRope& rope, int64_t head_dim);

// log p(ids[i] | ids[..i]) for i = 1..n-1. A Defect for an id outside the vocabulary.
std::vector<double> plain_log_probabilities(const PlainModel& model, const std::vector<int64_t>& ids);

}  // namespace decant::verifying
