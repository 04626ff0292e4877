// Models as the verbs take them: a Hugging Face folder or a GGUF file, with or without an adapter.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/adapter_file.h"
#include "core/model/load_model.h"
#include "data_pipeline/chat_template.h"
#include "data_pipeline/tokenizer.h"
#include "recipes/recipe_config.h"

namespace CLI {
class App;
}

namespace decant {

bool is_gguf(const std::filesystem::path& path);

// `adapter` empty: none. Warns when the adapter was trained on a base quantized otherwise. A GGUF is not
// quantized: Error.
Decoder open_model(const std::filesystem::path& path, Dtype dtype, const std::filesystem::path& adapter = {},
                   Quantization kind = Quantization::kNone);

// How the adapters' base is loaded, and its part of their steps' key.
LoadQuantized adapter_base(const LoraSection& section, const std::filesystem::path& base);
std::string quantization_key(const LoraSection& section);

// "none", "int8", "nf4" or "nf4_dq" of a --quantize option, and the option.
Quantization parse_quantization(const std::string& text);
void add_quantize_option(CLI::App* verb, std::string& value);

// Error when the adapter names another base than this one.
void check_base(const Adapter& read, const std::filesystem::path& adapter, const std::filesystem::path& base);

// Digest of a model folder's weights rounded to bf16, which a release is too: names the base that an adapter
// was trained on.
std::string weights_sha256(const std::filesystem::path& folder);

// What the model is, from config.json or the GGUF's metadata; no weight is read.
ModelConfig open_model_config(const std::filesystem::path& path);

// The model's chat template; "plain" when it has none.
std::unique_ptr<ChatTemplate> open_chat_template(const std::filesystem::path& path);

std::vector<int64_t> open_stop_ids(const std::filesystem::path& path);

// "fp32", "bf16" or "auto" of a --dtype option.
Dtype parse_dtype(const std::string& text);

}  // namespace decant
