// A tokenizer with tokens added to it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "data_pipeline/tokenizer.h"

namespace decant {

struct NewToken {
  std::string text;
  bool special = false;  // part of templates; in people's text it is ordinary text
};

// The ids that the tokens get: the tokenizer's vocab_size() and on. Error, which begins with `where`, for a
// text that is empty, not UTF-8, given twice, or a token already.
std::vector<int64_t> new_token_ids(const Tokenizer& tokenizer, const std::vector<NewToken>& tokens,
                                   const std::string& where);

// Copies the tokenizer's files from a model folder with the tokens added to tokenizer.json (matched as they
// stand, before any normalizing) and to the lists in tokenizer_config.json and added_tokens.json where there
// are such. The folders may be the same. Error without a tokenizer.json: SentencePiece models take no tokens.
void write_with_new_tokens(const std::filesystem::path& from, const std::filesystem::path& to,
                           const std::vector<NewToken>& tokens, const std::string& where);

}  // namespace decant
