// Emoji taken out, and long runs of punctuation shortened.
#pragma once

#include <cstddef>
#include <string_view>

#include "data_pipeline/source_map.h"

namespace decant {

// Whole emoji sequences (flags, skin tones, families joined by U+200D, tags): pictographs that are shown as
// emoji by themselves or are asked to be by U+FE0F. Text symbols (a bare U+2764, (c), (r), tm) stay; of a
// keycap the digit stays. False, and `out` left empty, when there is none.
bool strip_emoji(std::string_view text, MappedText& out);

// A run of more than `most` >= 1 of one of ! ? . , ~ ; and of the Chinese marks ！？。，、～；… becomes
// `most` of it. False, and `out` left empty, when there is none.
bool shorten_punctuation(std::string_view text, size_t most, MappedText& out);

}  // namespace decant
