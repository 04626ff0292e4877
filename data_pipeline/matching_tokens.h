// The words of a text as they are compared when a copy of an evaluation question is looked for:
// whatever its spacing, punctuation, case, full-width forms, invisible marks and digits.
//
// - Compatibility forms and case are folded (Unicode 15.0's NFKC_Casefold, pinned_unicode.h).
// - A token is one character in the scripts that put no spaces between words (Han, kana, Bopomofo,
//   Thai, Lao, Khmer, Myanmar), elsewhere a run of letters, marks and digits. Everything else only
//   separates; an apostrophe within a word is dropped (don't = dont).
// - Digits of all scripts are 0 to 9; a number of one digit equals the Han digit (3 = 三), and the
//   financial and traditional Han digits equal the plain ones (叁 = 三, 萬 = 万). Other digits are kept
//   as they are.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data_pipeline/source_map.h"

namespace decant {

struct MatchingToken {
  uint32_t begin, end;          // bytes of the text
  uint32_t key_begin, key_end;  // of MatchingTokens::key
  uint64_t hash;                // of the key
  bool single;                  // of a script without spaces
};

struct MatchingTokens {
  std::string key;  // the folded tokens, one after the other
  std::vector<MatchingToken> tokens;

  std::string_view key_of(size_t token) const {
    return std::string_view(key).substr(tokens[token].key_begin,
                                        tokens[token].key_end - tokens[token].key_begin);
  }

  MappedText scratch;  // kept, so that texts in a row do not allocate
};

// Replaces what `out` held. Bytes that are not UTF-8 separate. Error when `text` has more than 256 MiB.
void matching_tokens(std::string_view text, MatchingTokens& out);

}  // namespace decant
