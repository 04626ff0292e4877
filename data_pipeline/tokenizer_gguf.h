// What a GGUF says about its tokenizer.
#pragma once

#include <string>

#include "core/gguf_file.h"

namespace decant {

// tokenizer.json of a byte-level model ("gpt2"); see tokenizer_json_from_gguf.
std::string gguf_tokenizer_json(const GgufFile& file);

// Serialised SentencePiece model of a "llama" tokenizer: pieces, scores and types as they stand, byte-pair
// merges by score.
std::string gguf_sentencepiece_model(const GgufFile& file);

}  // namespace decant
