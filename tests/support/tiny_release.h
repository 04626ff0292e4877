// Tiny random models, tokenizer folders and adapters, from which the export tests make releases.
#pragma once

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "core/adapter_file.h"
#include "core/file.h"
#include "core/json.h"
#include "core/model/load_model.h"
#include "core/model/model_config.h"
#include "core/random.h"

namespace decant::test {

constexpr int64_t kTinyRows = 320;  // of the embedding; the tokenizer has fewer ids

inline const char* tiny_template() {
  return "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
         "'<|im_end|>' + '\n'}}"
         "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
}

// tokenizer.json of 3 special tokens, 256 bytes, some merges and an added <think>; grammar: smollm, gpt-2,
// qwen2 or llama-bpe.
inline Json tiny_tokenizer(const std::string& grammar = "smollm") {
  Json vocab = Json::object(), added = Json::array(), merges = Json::array();
  int64_t next = 0;
  const auto add = [&](const std::string& token, bool special) {
    added.push_back({{"id", next},
                     {"content", token},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", special}});
    vocab[token] = next++;
  };
  for (const char* token : {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}) add(token, true);
  std::vector<std::string> letters(256);
  for (int byte = 0, code = 256; byte < 256; ++byte) {
    const bool itself = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    const int letter = itself ? byte : code++;
    letters[static_cast<size_t>(byte)] = letter < 128 ? std::string(1, static_cast<char>(letter))
                                                      : std::string{static_cast<char>(0xC0 | (letter >> 6)),
                                                                    static_cast<char>(0x80 | (letter & 63))};
    vocab[letters[static_cast<size_t>(byte)]] = next++;
  }
  const std::string space = letters[' '];
  const std::vector<std::pair<std::string, std::string>> pairs = {
      {space, "t"}, {"h", "e"}, {space + "t", "he"}, {"i", "n"}, {"e", "r"},
      {space, "p"}, {"a", "r"}, {"o", "r"},          {"l", "l"}, {"in", "g"}};
  for (const auto& [left, right] : pairs) {
    vocab[left + right] = next++;
    merges.push_back(left + " " + right);
  }
  Json tokenizer = Json::object();
  tokenizer["version"] = "1.0";
  tokenizer["truncation"] = nullptr;
  tokenizer["padding"] = nullptr;
  added.push_back({{"id", next},
                   {"content", "<think>"},
                   {"single_word", false},
                   {"lstrip", false},
                   {"rstrip", false},
                   {"normalized", false},
                   {"special", false}});
  tokenizer["added_tokens"] = added;
  tokenizer["normalizer"] = grammar == "qwen2" ? Json{{"type", "NFC"}} : Json(nullptr);
  const auto byte_level = [](bool regex) {
    return Json{
        {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", regex}};
  };
  const auto split = [](const char* digits) {
    return Json{{"type", "Split"},
                {"pattern",
                 {{"Regex", std::string(R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|)") +
                                digits + R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"}}},
                {"behavior", "Isolated"},
                {"invert", false}};
  };
  Json parts = Json::array();
  if (grammar == "smollm") parts = {Json{{"type", "Digits"}, {"individual_digits", true}}, byte_level(true)};
  if (grammar == "qwen2") parts = {split(R"(\p{N})"), byte_level(false)};
  if (grammar == "llama-bpe") parts = {split(R"(\p{N}{1,3})"), byte_level(false)};
  tokenizer["pre_tokenizer"] =
      grammar == "gpt-2" ? byte_level(true) : Json{{"type", "Sequence"}, {"pretokenizers", parts}};
  tokenizer["post_processor"] = nullptr;
  tokenizer["decoder"] = byte_level(true);
  tokenizer["model"] = Json{{"type", "BPE"},
                            {"dropout", nullptr},
                            {"unk_token", nullptr},
                            {"continuing_subword_prefix", nullptr},
                            {"end_of_word_suffix", nullptr},
                            {"fuse_unk", false},
                            {"byte_fallback", false},
                            {"ignore_merges", false},
                            {"vocab", vocab},
                            {"merges", merges}};
  return tokenizer;
}

// The folder of the model that a release comes from.
inline void write_tiny_tokenizer(const std::filesystem::path& folder, const std::string& grammar = "smollm") {
  std::filesystem::create_directories(folder);
  write_json(folder / "tokenizer.json", tiny_tokenizer(grammar));
  write_json(folder / "tokenizer_config.json", Json{{"tokenizer_class", "PreTrainedTokenizerFast"},
                                                    {"add_bos_token", false},
                                                    {"bos_token", "<|im_start|>"},
                                                    {"eos_token", "<|im_end|>"},
                                                    {"pad_token", "<|im_end|>"},
                                                    {"clean_up_tokenization_spaces", false},
                                                    {"chat_template", tiny_template()}});
  write_json(folder / "special_tokens_map.json",
             Json{{"bos_token", "<|im_start|>"}, {"eos_token", "<|im_end|>"}, {"pad_token", "<|im_end|>"}});
  write_json(folder / "generation_config.json", Json{{"bos_token_id", 1},
                                                     {"eos_token_id", 2},
                                                     {"pad_token_id", 2},
                                                     {"temperature", 0.6},
                                                     {"do_sample", true}});
  write_file(folder / "chat_template.jinja", tiny_template());
}

inline Json tiny_config(const std::string& family, Json changes = Json::object()) {
  const std::string name = family == "llama"         ? "LlamaForCausalLM"
                           : family == "qwen2"       ? "Qwen2ForCausalLM"
                           : family == "qwen3"       ? "Qwen3ForCausalLM"
                           : family == "deepseek_v3" ? "DeepseekV3ForCausalLM"
                           : family == "gemma2"      ? "Gemma2ForCausalLM"
                           : family == "phi3"        ? "Phi3ForCausalLM"
                                                     : "MistralForCausalLM";
  Json config = {{"architectures", Json::array({name})},
                 {"model_type", family},
                 {"vocab_size", kTinyRows},
                 {"hidden_size", 64},
                 {"intermediate_size", 96},
                 {"num_hidden_layers", 2},
                 {"num_attention_heads", 4},
                 {"num_key_value_heads", 2},
                 {"max_position_embeddings", 256},
                 {"rms_norm_eps", 1e-5},
                 {"hidden_act", "silu"},
                 {"tie_word_embeddings", false},
                 {"rope_theta", 10000.0},
                 {"bos_token_id", 1},
                 {"eos_token_id", 2},
                 {"torch_dtype", "float32"}};
  if (family == "qwen3") config["head_dim"] = 32;
  if (family == "mistral") config["sliding_window"] = 8;
  if (family == "deepseek_v3")  // R1's structure: three dense layers, then experts
    config.update(Json{{"num_hidden_layers", 5},
                       {"num_key_value_heads", 4},
                       {"q_lora_rank", 24},
                       {"kv_lora_rank", 16},
                       {"qk_nope_head_dim", 16},
                       {"qk_rope_head_dim", 8},
                       {"v_head_dim", 16},
                       {"first_k_dense_replace", 3},
                       {"n_routed_experts", 8},
                       {"num_experts_per_tok", 4},
                       {"n_shared_experts", 1},
                       {"moe_intermediate_size", 32},
                       {"n_group", 4},
                       {"topk_group", 2},
                       {"routed_scaling_factor", 2.5},
                       {"norm_topk_prob", true},
                       {"scoring_func", "sigmoid"},
                       {"topk_method", "noaux_tc"},
                       {"num_nextn_predict_layers", 1},
                       {"attention_bias", false},
                       {"rope_scaling",
                        {{"type", "yarn"},
                         {"factor", 4.0},
                         {"beta_fast", 32},
                         {"beta_slow", 1},
                         {"mscale", 1.0},
                         {"mscale_all_dim", 1.0},
                         {"original_max_position_embeddings", 64}}}});
  if (family == "gemma2") {
    config.erase("hidden_act");
    config.update(Json{{"head_dim", 24},
                       {"sliding_window", 8},
                       {"query_pre_attn_scalar", 20},
                       {"attn_logit_softcapping", 5.0},
                       {"final_logit_softcapping", 3.0},
                       {"hidden_activation", "gelu_pytorch_tanh"},
                       {"tie_word_embeddings", true}});
  }
  if (family == "phi3") {
    std::vector<double> near(4), far(4);
    for (size_t i = 0; i < 4; ++i)
      near[i] = 1.0 + 0.1 * static_cast<double>(i), far[i] = 2.0 + static_cast<double>(i);
    config.update(
        Json{{"partial_rotary_factor", 0.5},
             {"original_max_position_embeddings", 128},
             {"sliding_window", nullptr},
             {"pad_token_id", 2},
             {"rope_scaling", {{"type", "longrope"}, {"short_factor", near}, {"long_factor", far}}}});
  }
  for (const auto& [key, value] : changes.items()) config[key] = value;
  return config;
}

// Weights large enough that every part matters: a wrong rope, a lost bias or a permuted row shows in the
// log-probabilities.
inline Decoder tiny_decoder(const Json& config, uint64_t seed = 1) {
  at::set_num_threads(1);  // matrices this small gain nothing from more
  Decoder model = random_decoder(parse_model_config(config, "tiny config.json"), Dtype::kFp32, seed, 0.15);
  uint64_t index = 0;
  for (Parameter* parameter : model.parameters()) {
    ++index;
    if (parameter->value.dim() != 1) continue;
    const bool norm = parameter->name.find("norm") != std::string::npos;
    at::Tensor value = at::empty_like(parameter->value);
    for (int64_t i = 0; i < value.numel(); ++i)
      value.data_ptr<float>()[i] = static_cast<float>(
          (norm ? 1.0 : 0.0) +
          0.3 * standard_normal(seed, purpose_stream(Purpose::kTest, index), static_cast<uint64_t>(i)));
    parameter->value.copy_(value);
  }
  return model;
}

// `targets` are last parts of names; one of `within`, when there are any, must stand in the name.
inline Adapter tiny_adapter(const Decoder& model, uint64_t seed, bool rslora,
                            std::vector<std::string> targets = {"down_proj", "k_proj", "q_proj"},
                            const std::vector<std::string>& within = {}) {
  Adapter adapter;
  adapter.config.rank = 4;
  adapter.config.alpha = 8;
  adapter.config.use_rslora = rslora;
  adapter.config.base_model = "tiny";
  adapter.config.target_modules = targets;
  uint64_t index = 0;
  const auto random = [&](std::vector<int64_t> shape) {
    at::Tensor out = at::empty(shape, at::kFloat);
    ++index;
    for (int64_t i = 0; i < out.numel(); ++i)
      out.data_ptr<float>()[i] = static_cast<float>(
          0.1 * standard_normal(seed, purpose_stream(Purpose::kTest, index), static_cast<uint64_t>(i)));
    return out;
  };
  for (const Parameter* parameter : model.parameters()) {
    const std::string& name = parameter->name;
    if (!name.ends_with(".weight") || parameter->value.dim() != 2) continue;
    const std::string module = name.substr(0, name.size() - 7);
    const std::string last = module.substr(module.rfind('.') + 1);
    if (std::find(targets.begin(), targets.end(), last) == targets.end()) continue;
    const auto stands = [&](const std::string& part) { return module.find(part) != std::string::npos; };
    if (!within.empty() && std::none_of(within.begin(), within.end(), stands)) continue;
    adapter.modules.push_back(
        {module, random({4, parameter->value.size(1)}), random({parameter->value.size(0), 4})});
  }
  std::sort(adapter.modules.begin(), adapter.modules.end(),
            [](const AdapterModule& a, const AdapterModule& b) { return a.module < b.module; });
  return adapter;
}

}  // namespace decant::test
