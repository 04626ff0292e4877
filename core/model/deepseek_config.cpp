#include "core/model/deepseek_config.h"

namespace decant {

namespace {

constexpr int64_t kMaxExperts = 4096;

LatentAttentionConfig parse_latent(const Fields& fields) {
  LatentAttentionConfig latent;
  check(fields.has("q_lora_rank"), fields.name("q_lora_rank"),
        " is missing (null where queries have no latent)");
  latent.q_lora_rank = fields.size("q_lora_rank", kMaxWidth).value_or(0);
  latent.kv_lora_rank = fields.required_size("kv_lora_rank", kMaxWidth);
  latent.qk_nope_head_dim = fields.required_size("qk_nope_head_dim", kMaxHeadWidth);
  latent.qk_rope_head_dim = fields.required_size("qk_rope_head_dim", kMaxHeadWidth);
  latent.v_head_dim = fields.required_size("v_head_dim", kMaxHeadWidth);
  latent.interleaved = fields.flag("rope_interleave", true);
  check(latent.qk_rope_head_dim % 2 == 0, fields.name("qk_rope_head_dim"), " must be even for rope, found ",
        latent.qk_rope_head_dim);
  const auto together = fields.size("qk_head_dim", 2 * kMaxHeadWidth).value_or(latent.qk_head_dim());
  check(together == latent.qk_head_dim(), fields.name("qk_head_dim"), " (", together,
        ") must be qk_nope_head_dim + qk_rope_head_dim (", latent.qk_head_dim(), ")");
  return latent;
}

// Older configs say by name what V3's code does; another name is another model.
void check_only(const Fields& fields, const char* key, const char* only) {
  const auto found = fields.text(key);
  check(!found || *found == only, fields.name(key), " is '", found.value_or(""), "'; only ", only,
        " is supported");
}

ExpertsConfig parse_experts(const Fields& fields, int64_t layers) {
  check_only(fields, "scoring_func", "sigmoid");
  check_only(fields, "topk_method", "noaux_tc");
  const auto every = fields.size("moe_layer_freq", kMaxLayers).value_or(1);
  check(every == 1, fields.name("moe_layer_freq"), " is ", every, "; only 1 is supported");
  ExpertsConfig experts;
  // transformers' defaults
  experts.first_layer = std::min(fields.count("first_k_dense_replace", kMaxLayers).value_or(3), layers);
  experts.routed = fields.required_size("n_routed_experts", kMaxExperts);
  experts.per_token = fields.required_size("num_experts_per_tok", kMaxExperts);
  experts.shared = fields.size("n_shared_experts", kMaxExperts).value_or(1);
  experts.intermediate_size = fields.required_size("moe_intermediate_size", kMaxFeedForward);
  experts.groups = fields.size("n_group", kMaxExperts).value_or(8);
  experts.groups_per_token = fields.size("topk_group", kMaxExperts).value_or(4);
  experts.scale = fields.positive("routed_scaling_factor").value_or(2.5);
  experts.normalize = fields.flag("norm_topk_prob", true);
  check(experts.routed % experts.groups == 0, fields.name("n_routed_experts"), " (", experts.routed,
        ") must be a multiple of 'n_group' (", experts.groups, ")");
  const auto in_group = experts.routed / experts.groups;
  check(in_group >= 2, fields.name("n_group"), " (", experts.groups, ") leaves ", in_group,
        " expert a group; a group is chosen by its best two");
  check(experts.groups_per_token <= experts.groups, fields.name("topk_group"), " (", experts.groups_per_token,
        ") must not be above 'n_group' (", experts.groups, ")");
  check(experts.per_token <= experts.groups_per_token * in_group, fields.name("num_experts_per_tok"), " (",
        experts.per_token, ") is more than the ", experts.groups_per_token * in_group, " experts of ",
        experts.groups_per_token, " groups");
  return experts;
}

}  // namespace

void parse_deepseek(const Fields& fields, ModelConfig& config) {
  check(config.num_key_value_heads == config.num_attention_heads, fields.name("num_key_value_heads"), " (",
        config.num_key_value_heads, ") must be 'num_attention_heads' (", config.num_attention_heads,
        "): every head has keys and values of its own");
  config.latent = parse_latent(fields);
  config.experts = parse_experts(fields, config.num_hidden_layers);
  config.head_dim = config.latent->qk_rope_head_dim;
  config.qkv_bias = config.o_bias = fields.flag("attention_bias", false);
  check(!config.qkv_bias || config.latent->q_lora_rank > 0, fields.name("attention_bias"),
        ": true is not supported where 'q_lora_rank' is null");
}

void write_deepseek(const ModelConfig& config, Json& json) {
  const auto& latent = *config.latent;
  const auto& experts = *config.experts;
  json["q_lora_rank"] = latent.q_lora_rank > 0 ? Json(latent.q_lora_rank) : Json(nullptr);
  json["kv_lora_rank"] = latent.kv_lora_rank;
  json["qk_nope_head_dim"] = latent.qk_nope_head_dim;
  json["qk_rope_head_dim"] = latent.qk_rope_head_dim;
  json["qk_head_dim"] = latent.qk_head_dim();
  json["v_head_dim"] = latent.v_head_dim;
  json["rope_interleave"] = latent.interleaved;
  json["attention_bias"] = config.qkv_bias;
  json["first_k_dense_replace"] = experts.first_layer;
  json["n_routed_experts"] = experts.routed;
  json["num_experts_per_tok"] = experts.per_token;
  json["n_shared_experts"] = experts.shared;
  json["moe_intermediate_size"] = experts.intermediate_size;
  json["n_group"] = experts.groups;
  json["topk_group"] = experts.groups_per_token;
  json["routed_scaling_factor"] = experts.scale;
  json["norm_topk_prob"] = experts.normalize;
  // The layers that predict further tokens are not kept.
  json["num_nextn_predict_layers"] = 0;
}

}  // namespace decant
