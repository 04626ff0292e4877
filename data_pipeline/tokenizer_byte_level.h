// The byte-level tokenizer: added tokens -> normal form -> pre-tokenizer -> byte-pair encoding, and back.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "data_pipeline/bpe.h"
#include "data_pipeline/pre_tokenizer.h"
#include "data_pipeline/tokenizer.h"
#include "data_pipeline/tokenizer_added.h"
#include "data_pipeline/unicode.h"

namespace decant {

struct ByteLevelParts {
  BpeModel bpe;             // its tokens: those of the vocabulary that are written in the byte alphabet
  TokenTable other_tokens;  // the others of the vocabulary, as text; no id of `bpe` again
  std::vector<AddedToken> added;
  std::vector<NormalForm> normal_forms;                  // applied in this order
  std::vector<std::unique_ptr<PreTokenizerStep>> steps;  // each cuts the pieces of the one before
  bool add_prefix_space = false;  // before the last step, to every piece that does not start with one
  std::string sha256;
};

std::unique_ptr<Tokenizer> make_byte_level_tokenizer(ByteLevelParts parts);

// GPT-2's alphabet, in which vocabularies write bytes: the text of bytes, and the bytes of a text (false when
// a character is not of the alphabet).
std::string byte_level_text(std::string_view bytes);
bool byte_level_bytes(std::string_view text, std::string& bytes);

}  // namespace decant
