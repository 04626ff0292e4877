// PEFT adapter folders (adapter_config.json, adapter_model.safetensors), read strictly and written so that a
// round trip keeps every byte of the tensors and the rank, alpha and rsLoRA flag as trained. Source:
// huggingface/peft save_and_load.py, lora/config.py; references/export 1.6, lora 8.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "core/json.h"
#include "core/model/decoder.h"

namespace decant {

// Rows that the adapter has of its own (peft's trainable_token_indices), in place of the base's.
struct AdapterTokens {
  std::vector<int64_t> ids;    // rising; empty: none
  at::Tensor embedding, head;  // [n, D]; head: of a model whose head is not its embedding, or undefined
};

struct AdapterConfig {
  int64_t rank = 16;
  double alpha = 16;
  bool use_rslora = false;
  bool use_dora = false;
  double dropout = 0;  // lora_dropout: what it was trained with; does nothing afterwards
  std::vector<std::string>
      target_modules;  // suffixes ("q_proj"), sorted; a regex string is kept in target_pattern
  std::string target_pattern;
  std::vector<std::pair<std::string, int64_t>>
      rank_pattern;  // in the file's order: the first that matches holds
  std::vector<std::pair<std::string, double>> alpha_pattern;
  std::string base_model;         // base_model_name_or_path
  std::string base_sha256;        // ours: digest of the base's weights, empty when unknown
  std::string base_quantization;  // ours: what the base was trained in ("nf4"), empty when unquantized
  Json source;                    // as read; unknown keys are carried over

  // Patterns are regular expressions of which `(.*\.)?PATTERN$` must match the module's name, as in PEFT.
  double scale_of(const std::string& module) const;  // alpha / r or alpha / sqrt(r), patterns applied
  int64_t rank_of(const std::string& module) const;
  // Whether the targets name the module: a list by whole name or suffix, a string by regular expression.
  bool is_target(const std::string& module) const;
};

struct AdapterModule {
  std::string module;         // "model.layers.0.self_attn.q_proj"
  at::Tensor lora_a, lora_b;  // [R, K], [N, R] as in the file
  at::Tensor magnitude = {};  // [N], DoRA only
};

struct Adapter {
  AdapterConfig config;
  std::vector<AdapterModule> modules;  // by name
  AdapterTokens tokens = {};
};

// trainable_token_indices is read as a list (rows of embed_tokens) or as an object of the same list for
// embed_tokens and lm_head.
//
// Errors: a peft_type other than LORA, lora_bias, modules_to_save, factors of embeddings, fan_in_fan_out,
// keys without a partner, shapes that disagree with r, non-finite values, unknown keys in the tensor file.
Adapter read_adapter(const std::filesystem::path& folder);
void write_adapter(const std::filesystem::path& folder, const Adapter& adapter);

// Hangs the adapter's terms on a model (compute dtype of the model) and shows its rows for tokens. Error for
// a module that the model lacks, shapes that do not fit. (Whether base_sha256 is the base at hand is for the
// caller, who has its files.) The terms are not trainable; lora/attach.h is for training.
void apply_adapter(Decoder& model, const Adapter& adapter);
// Removes all terms, and the base's rows are back.
void remove_adapter(Decoder& model);

// W + scale B A in fp32, not rounded; with a magnitude [N] its rows have that length (DoRA). weight [N, K]
// any float dtype.
at::Tensor merge_weight(const at::Tensor& weight, const at::Tensor& lora_a, const at::Tensor& lora_b,
                        double scale, const at::Tensor& magnitude = {});

// scale folded into B in fp32: alpha = r, use_rslora false, no patterns; mixed ranks padded with zeros to the
// largest. Magnitudes stay.
Adapter fold_scale(const Adapter& adapter);

}  // namespace decant
