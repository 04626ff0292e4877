// tokenizer.json and its companions as GGUF metadata (tokenizer.ggml.*, tokenizer.chat_template). Rules:
// references/export 2.2; what llama.cpp takes in silence and reads wrong (no `pre`, no token types) is always
// written.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "core/json.h"
#include "export/gguf_header.h"

namespace decant {

// llama.cpp's name of the pre-tokenizer, recognised by its grammar: gpt-2, smollm, qwen2, deepseek-r1-qwen,
// llama-bpe, deepseek-v3. Error for any other.
std::string gguf_pre_tokenizer(const Json& tokenizer, const std::string& where);

// `rows` of the embedding: the vocabulary is padded to it. Errors: no tokenizer.json, ids beyond `rows`, two
// tokens of one id, a model other than byte-level BPE, no end-of-text token.
void add_gguf_tokenizer(GgufHeader& header, const std::filesystem::path& tokenizer_folder, int64_t rows);

}  // namespace decant
