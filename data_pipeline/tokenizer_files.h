// The files beside the weights that decide what a model sees: tokenizer, chat template, special tokens, stop
// ids.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "data_pipeline/tokenizer.h"

namespace decant {

// Writes tokenizer.json, tokenizer_config.json (with chat_template), special_tokens_map.json,
// chat_template.jinja and generation_config.json into a folder, from GGUF metadata.
void import_gguf_tokenizer_files(const std::filesystem::path& gguf, const std::filesystem::path& folder);

// The names of such files that exist in a model folder: copied byte-identically when a model is exported.
std::vector<std::string> tokenizer_file_names(const std::filesystem::path& folder);

// Stop ids: generation_config.json's eos_token_id (one or a list), else config.json's. Error when neither has
// one.
std::vector<int64_t> stop_ids(const std::filesystem::path& model_folder);

// Rows of the model's embedding without a token: vocab_size of config.json (for multimodal models that of
// text_config) less the tokenizer's. Their logits mean nothing. Error where the tokenizer has more ids than
// there are rows: they do not belong together.
int64_t padded_rows(const Tokenizer& tokenizer, const std::filesystem::path& model_folder);

// chat_template.jinja, else chat_template of tokenizer_config.json; empty when there is none. An Error when
// both exist and differ.
std::string chat_template_text(const std::filesystem::path& model_folder);

}  // namespace decant
