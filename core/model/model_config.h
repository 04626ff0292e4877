// What a decoder is, from a Hugging Face config.json: llama, qwen2, qwen3, mistral. Reads both the hub-legacy
// spelling (rope_theta, rope_scaling, torch_dtype) and transformers 5's (rope_parameters, dtype); writes
// both, with equal values. Source: transformers configuration_{llama,qwen2,qwen3,mistral}.py and
// modeling_rope_utils.py.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/json.h"
#include "core/kernels/rope.h"

namespace decant {

enum class Family { kLlama, kQwen2, kQwen3, kMistral };

struct RopeConfig {
  enum class Kind { kDefault, kLinear, kLlama3, kYarn };
  Kind kind = Kind::kDefault;
  double theta = 10000;
  double factor = 1;
  double low_freq_factor = 1, high_freq_factor = 4;             // llama3
  double original_max_position_embeddings = 0;                  // llama3, yarn
  double beta_fast = 32, beta_slow = 1;                         // yarn
  double attention_factor = 0, mscale = 0, mscale_all_dim = 0;  // yarn; 0 = absent
  bool truncate = true;                                         // yarn

  bool operator==(const RopeConfig&) const = default;
};

struct ModelConfig {
  Family family = Family::kLlama;
  int64_t vocab_size = 0, hidden_size = 0, intermediate_size = 0;
  int64_t num_hidden_layers = 0, num_attention_heads = 0, num_key_value_heads = 0, head_dim = 0;
  int64_t max_position_embeddings = 0;
  double rms_norm_eps = 1e-6;
  bool tie_word_embeddings = false;
  bool qkv_bias = false, o_bias = false, mlp_bias = false, qk_norm = false;
  // Sliding window of each layer, 0 for full attention (mistral; qwen2/3 with use_sliding_window and
  // layer_types).
  std::vector<int64_t> sliding_window;
  RopeConfig rope;
  Json source;  // the config.json as read: what we do not interpret is carried over when it is written

  int64_t parameters() const;         // count, tied weights once
  int64_t linear_parameters() const;  // of the seven projections of all layers
};

// Errors name the key: missing, wrong type, not positive, heads not divisible, an unknown family, an
// activation other than silu, an unknown rope type, a quantization_config. Every size is bounded (so that
// products fit in int64).
ModelConfig parse_model_config(const Json& json, const std::string& where);
ModelConfig read_model_config(const std::filesystem::path& folder);  // folder/config.json

// `source` with the fields that this struct knows brought up to date, in both spellings; dtype as given
// ("bfloat16").
Json model_config_json(const ModelConfig& config, const std::string& dtype);

// Angles for positions 0..positions-1 (llama3, linear and yarn scaling applied; yarn's attention factor
// multiplied in).
RopeTable rope_table(const ModelConfig& config, int64_t positions);

}  // namespace decant
