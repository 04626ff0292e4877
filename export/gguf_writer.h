// A model as one GGUF v3 file for llama.cpp and Ollama: llama (mistral too), qwen2 and qwen3 architectures.
// Norms and other 1-D tensors are F32, llama's q and k rows are permuted, biases are written, a tied head is
// left out. Rules: references/export 2.2 and 2.3.
#pragma once

#include <filesystem>
#include <string>

#include "core/model/decoder.h"
#include "export/export_config.h"

namespace decant {

// Whether models of the family can be written; the others are an Error of export_gguf.
bool has_gguf(Family family);

// Tokenizer and chat template go into the metadata. Tensor by tensor, atomically. Rows that are no multiple
// of 32 are F16 in a Q8_0 file. Errors: a value that F16 cannot hold, a rope or window that llama.cpp cannot
// express, and those of gguf_tokenizer.h.
void export_gguf(const Decoder& model, const std::filesystem::path& tokenizer_folder, GgufType type,
                 const std::string& name, const std::filesystem::path& file);

}  // namespace decant
