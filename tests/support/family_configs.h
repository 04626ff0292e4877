// Tiny configs of the families whose blocks are not llama's, with the settings that change what a block does.
#pragma once

#include <string>
#include <vector>

#include "core/json.h"

namespace decant::test {

struct NamedConfig {
  std::string name;
  Json config;
};

inline Json tiny_family(const std::string& family) {
  auto json = Json::parse(R"({"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 64, "rope_theta": 10000.0})");
  json["model_type"] = family;
  if (family == "deepseek_v3") {
    // R1's structure: dense layers first, then 8 of the experts a token in half of the groups.
    json.update(Json::parse(R"({"num_key_value_heads": 4, "q_lora_rank": 12, "kv_lora_rank": 10,
      "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 6, "first_k_dense_replace": 1,
      "n_routed_experts": 8, "num_experts_per_tok": 3, "n_shared_experts": 1, "moe_intermediate_size": 12,
      "n_group": 4, "topk_group": 2, "routed_scaling_factor": 2.5, "norm_topk_prob": true,
      "num_nextn_predict_layers": 0})"));
    json["rope_scaling"] =
        Json::parse(R"({"rope_type": "yarn", "factor": 4.0, "beta_fast": 32, "beta_slow": 1,
      "mscale": 1.0, "mscale_all_dim": 0.7, "original_max_position_embeddings": 16})");
  }
  if (family == "gemma2")
    json.update(Json::parse(R"({"head_dim": 12, "sliding_window": 4, "query_pre_attn_scalar": 20,
      "attn_logit_softcapping": 5.0, "final_logit_softcapping": 3.0})"));
  return json;
}

inline Json changed(Json json, const char* changes) {
  json.update(Json::parse(changes));
  return json;
}

inline std::vector<NamedConfig> family_configs() {
  const auto deepseek = tiny_family("deepseek_v3"), gemma = tiny_family("gemma2"), phi = tiny_family("phi3");
  return {
      {"deepseek_v3", deepseek},
      {"deepseek_v3_without_q_latent",
       changed(deepseek, R"({"q_lora_rank": null, "rope_interleave": false})")},
      {"deepseek_v3_wide_values",
       changed(deepseek, R"({"v_head_dim": 16, "norm_topk_prob": false, "n_shared_experts": 2})")},
      {"deepseek_v3_with_biases",
       changed(deepseek, R"({"attention_bias": true, "first_k_dense_replace": 0})")},
      {"gemma2", gemma},
      {"gemma2_without_caps",
       changed(gemma, R"({"attn_logit_softcapping": null, "final_logit_softcapping": null})")},
      {"phi3", phi},
      {"phi3_partial_rotary", changed(phi, R"({"partial_rotary_factor": 0.5, "sliding_window": 4})")},
  };
}

}  // namespace decant::test
