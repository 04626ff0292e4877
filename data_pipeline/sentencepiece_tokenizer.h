// SentencePiece models (unigram and byte-pair), through the SentencePiece library.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "data_pipeline/tokenizer.h"

namespace decant {

// From the bytes of a tokenizer.model. SpecialMode::kMatch finds the text of control pieces ("<s>") and of
// the unknown piece; each stretch between them is encoded for itself, as llama.cpp does. User-defined pieces
// are found in both modes: that is the model's own doing. The decoded text of ids is that of the library
// between special ones, so a model that puts a space before a text takes it away again after each special
// token.
std::unique_ptr<Tokenizer> sentencepiece_tokenizer(std::string_view model, const std::string& where);

}  // namespace decant
