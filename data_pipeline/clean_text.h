// The rules that every text passes (normalize.h lists them), on UTF-8 bytes with a map. What needs no change
// is found by a scan of whole blocks and is not copied; only short pieces around a character that may change
// go through the normaliser.
#pragma once

#include <cstddef>
#include <string_view>

#include "data_pipeline/source_map.h"

namespace decant {

enum class Invisible { kRemove, kKeep };  // the zero-width, soft and direction marks of normalize.h

// Length of the longest prefix that no rule but the cut of white space at the ends can change, whatever
// unchanged text follows.
size_t clean_prefix(std::string_view text);

// `text` without the white space at both ends.
std::string_view trim_spaces(std::string_view text);

// All rules. Appends nothing else to `out`, which must be empty.
void clean_text(std::string_view text, Invisible invisible, MappedText& out);

}  // namespace decant
