// What only deepseek_v3's config.json has: latent attention, experts and their routing. Internal to
// model_config.cpp. Source: transformers configuration_deepseek_v3.py.
#pragma once

#include "core/model/config_fields.h"
#include "core/model/model_config.h"

namespace decant {

// Fills latent, experts and head_dim. Errors name the key: a size that is missing, groups that do not divide
// the experts, more experts a token than its groups hold, a routing that is not V3's (scoring_func,
// topk_method, moe_layer_freq).
void parse_deepseek(const Fields& fields, ModelConfig& config);

void write_deepseek(const ModelConfig& config, Json& json);

}  // namespace decant
