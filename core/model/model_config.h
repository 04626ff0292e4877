// What a decoder is, from a Hugging Face config.json: llama, qwen2, qwen3, mistral, deepseek_v3, gemma2,
// phi3. Reads both the hub-legacy spelling (rope_theta, rope_scaling, torch_dtype) and transformers 5's
// (rope_parameters, dtype); writes both, with equal values. Source: transformers
// configuration_{llama,qwen2,qwen3,mistral,deepseek_v3,gemma2,phi3}.py and modeling_rope_utils.py.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/json.h"
#include "core/kernels/rope.h"

namespace decant {

enum class Family { kLlama, kQwen2, kQwen3, kMistral, kDeepseekV3, kGemma2, kPhi3 };

struct RopeConfig {
  enum class Kind { kDefault, kLinear, kLlama3, kYarn, kLongrope };
  Kind kind = Kind::kDefault;
  double theta = 10000;
  double factor = 1;
  double low_freq_factor = 1, high_freq_factor = 4;             // llama3
  double original_max_position_embeddings = 0;                  // llama3, yarn
  double beta_fast = 32, beta_slow = 1;                         // yarn
  double attention_factor = 0, mscale = 0, mscale_all_dim = 0;  // yarn; 0 = absent
  bool truncate = true;                                         // yarn
  double partial_rotary_factor = 1;               // phi3: the share of a head's channels that turn
  std::vector<double> short_factor, long_factor;  // longrope, one for each pair of channels

  bool operator==(const RopeConfig&) const = default;
};

// Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434): keys and values of all heads are made from one
// narrow latent, and one rotary key is shared by the heads.
struct LatentAttentionConfig {
  int64_t q_lora_rank = 0;  // 0: queries are made from the hidden state directly (q_proj)
  int64_t kv_lora_rank = 0, qk_nope_head_dim = 0, qk_rope_head_dim = 0, v_head_dim = 0;
  bool interleaved = true;  // channels 2i and 2i+1 turn together in the weights' order
  int64_t qk_head_dim() const { return qk_nope_head_dim + qk_rope_head_dim; }

  bool operator==(const LatentAttentionConfig&) const = default;
};

// Mixture of experts with sigmoid routing (DeepSeek-V3, arXiv 2412.19437).
struct ExpertsConfig {
  int64_t first_layer = 0;  // layers below have a dense feed-forward
  int64_t routed = 0, per_token = 0, shared = 0, intermediate_size = 0;
  int64_t groups = 1, groups_per_token = 1;
  double scale = 1;       // routed_scaling_factor
  bool normalize = true;  // norm_topk_prob

  bool operator==(const ExpertsConfig&) const = default;
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
  std::optional<LatentAttentionConfig> latent;  // deepseek_v3; head_dim is then qk_rope_head_dim
  std::optional<ExpertsConfig> experts;         // deepseek_v3
  // gemma2: attention scores and logits become cap * tanh(x / cap), 0 for no cap; attention is scaled by
  // 1 / sqrt(query_scalar), 0 standing for head_dim.
  double attention_cap = 0, logit_cap = 0, query_scalar = 0;
  // Rows and columns of a block that shares a scale in an fp8 checkpoint; 0: the weights are not fp8.
  int64_t fp8_block_rows = 0, fp8_block_columns = 0;
  Json source;  // the config.json as read: what we do not interpret is carried over when it is written

  int64_t parameters() const;         // count, tied weights once
  int64_t linear_parameters() const;  // of the linears of all layers, biases included

  bool has_experts(int64_t layer) const { return experts && layer >= experts->first_layer; }
  int64_t rotary_width() const;  // channels of a head that turn
  // What attention reads and a cache of keys and values holds: heads, and channels of a head.
  int64_t key_heads() const;
  int64_t key_width() const;
};

// A linear of the checkpoint that stands `count` times in the model, by the last parts of its name
// ("self_attn.q_proj"; "mlp.experts.0.up_proj" for that of every expert).
struct LinearShape {
  std::string name;
  int64_t outputs, inputs, count;
  bool bias;
};
std::vector<LinearShape> linear_shapes(const ModelConfig& config);

// Errors name the key: missing, wrong type, not positive, heads not divisible, an unknown family, an
// activation that is not the family's, an unknown rope type, a quantization_config other than block-scaled
// fp8. Every size is bounded (so that products fit in int64).
ModelConfig parse_model_config(const Json& json, const std::string& where);
ModelConfig read_model_config(const std::filesystem::path& folder);  // folder/config.json

// `source` with the fields that this struct knows brought up to date, in both spellings; dtype as given
// ("bfloat16").
Json model_config_json(const ModelConfig& config, const std::string& dtype);

// Angles for positions 0..positions-1 (llama3, linear, yarn and longrope scaling applied; the attention
// factor multiplied in). longrope has other angles for documents longer than
// original_max_position_embeddings.
RopeTable rope_table(const ModelConfig& config, int64_t positions, bool long_context = false);

}  // namespace decant
