// HTML out of the texts of ticket exports: tags, comments, scripts and styles go, entities become what
// they stand for.
//
// Only what is surely HTML: `<` right before a tag name that HTML (or Office's o:p and its like) has,
// up to its `>`; quoted attribute values may hold `>`. So "a < b", "<3", "<name>" and "<x@example.com>"
// stay. Tags of blocks, rows and breaks become a line end (blocks at most one in a row), cells a space,
// other tags nothing. Entities: all names of HTML with their semicolon, decimal and hexadecimal; &nbsp;
// becomes a plain space, 128 to 159 are read as windows-1252 as browsers do. What decoding or removing
// brings together is stripped too ("&amp;lt;b&gt;"), so a second time changes nothing.
#pragma once

#include <cstddef>
#include <string_view>

#include "data_pipeline/source_map.h"

namespace decant {

struct HtmlEntity {
  const char* name;  // without & and ;
  const char* text;  // UTF-8
};
extern const HtmlEntity kHtmlEntities[];  // ascending by name
extern const size_t kNumHtmlEntities;

// False, and `out` left empty, when `text` (well-formed UTF-8) holds no HTML. Linear in its length.
bool strip_html(std::string_view text, MappedText& out);

}  // namespace decant
