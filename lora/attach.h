// Hangs trainable low-rank terms on a frozen model, and takes them off again as an adapter.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/adapter_file.h"
#include "core/model/decoder.h"
#include "lora/lora_config.h"

namespace decant {

// Whether a target names the linear, as PEFT matches a list of target_modules: the whole name, or its end
// after a dot. A part '*' stands for any one part: "experts.*.up_proj" is that of every routed expert.
bool matches_target(std::string_view module, std::string_view target);

// What attach_lora() will make trainable, from the config alone (of trainable_tokens, one row each).
int64_t lora_parameters(const ModelConfig& model, const LoraConfig& lora);

// Freezes the model and adds a trainable term to every linear that matches a target: A uniform in +-1/sqrt(K)
// (PEFT's kaiming_uniform with a = sqrt 5), drawn counter-based per module name, B = 0, or as config.init
// says; a magnitude starts as the norms of W's rows. Error for a target, layer or pattern that matches
// nothing, with the names there are. config.dropout is drawn per linear (core/kernels/dropout.h); Error where
// it is not done: beside dora, and on the experts of a mixture, whose rows are not those of the batch.
//
// config.trainable_token_ids: their rows become the adapter's (Decoder::token_rows), from the base's values.
//
// `start` (config.start, read by the caller): its modules' factors and magnitudes are gone on from, with B
// rescaled when the scale differs, so that the function is the same but for rounding.
// Error when it has a module without a target, a larger rank, a magnitude where config.dora is not set, or
// rows of tokens that are not among config.trainable_tokens.
void attach_lora(Decoder& model, const LoraConfig& config, const Adapter* start = nullptr);

// Values of the terms as an Adapter: fp32 masters when `masters` holds them (by parameter name), else the
// compute copies.
Adapter collect_adapter(const Decoder& model, const LoraConfig& config, const std::string& base_model,
                        const std::string& base_sha256,
                        const std::vector<std::pair<std::string, at::Tensor>>& masters);

}  // namespace decant
