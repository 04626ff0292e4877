// The body of `decant tokenize`: one value a line in, one a line out, each as soon as it is there.
#pragma once

#include <istream>
#include <ostream>

#include "data_pipeline/tokenizer.h"

namespace decant {

// A line that is longer is an Error, so that a stream without line ends cannot fill the memory.
inline constexpr size_t kLongestLine = size_t{256} << 20;

// One JSON string a line in, one JSON array of ids a line out; no BOS. A line that is not a JSON string is an
// Error with its line number. An escaped lone surrogate becomes U+FFFD, and so do bytes that are not UTF-8.
// Returns the number of bytes that the vocabulary could not represent.
int64_t tokenize_lines(const Tokenizer& tokenizer, SpecialMode mode, std::istream& in, std::ostream& out);

// Back: one JSON array of ids a line in, one JSON string a line out, special tokens as their text. Ids can
// cut a character in two: bytes that are not UTF-8 become U+FFFD each (one for every maximal ill-formed
// subsequence). A line that is not an array of ids of the vocabulary is an Error with its line number.
void detokenize_lines(const Tokenizer& tokenizer, std::istream& in, std::ostream& out);

}  // namespace decant
