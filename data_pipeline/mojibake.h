// Text that was decoded with the wrong encoding, put right where that can be proved.
//
// - UTF-8 read as windows-1252 or Latin-1 ("cafÃ©", "ä½ å¥½"): every character of the text has a byte
//   in windows-1252, and these bytes are well-formed UTF-8 with at least one character beyond ASCII;
// - UTF-8 read as GB18030 ("浣犲ソ涓栫晫"): every character beyond ASCII has its two bytes in GB18030,
//   and these are well-formed UTF-8 of which each character beyond ASCII is Han or CJK punctuation, at
//   least four of them.
// One wrong byte anywhere, and the text stays as it is. What was read wrongly twice is put right twice
// by calling twice.
#pragma once

#include <string_view>

#include "data_pipeline/source_map.h"

namespace decant {

// False, and `out` left empty, when there is nothing to put right. `text` is well-formed UTF-8.
bool repair_mojibake(std::string_view text, MappedText& out);

}  // namespace decant
