// The body of `decant tokenize`.
#pragma once

#include <istream>
#include <ostream>

#include "data_pipeline/tokenizer.h"

namespace decant {

// One JSON string a line in, one JSON array of ids a line out; no BOS. A line that is not a JSON string is an
// Error with its line number. An escaped lone surrogate becomes U+FFFD, and so do bytes that are not UTF-8.
// Returns the number of bytes that the vocabulary could not represent.
int64_t tokenize_lines(const Tokenizer& tokenizer, SpecialMode mode, std::istream& in, std::ostream& out);

}  // namespace decant
