// The body of `decant annotate`: what the pipeline sees in a document, without dropping or changing anything.
#pragma once

#include <functional>
#include <istream>
#include <string>

#include "core/json.h"

namespace decant {

// JSON lines in; one JSON object a line out, in the same order: {"id", "language", "language_score", "pii":
// [{"message"?, "type", "begin", "end"}], "quality": {...}, "duplicate_root"}. A line is a conversation
// ({"messages": [...]}: offsets are in the content of message `message`), an object with "text", or a JSON
// string. Offsets are bytes of the text as it was given. `duplicate_root` is the id of the document that
// would be kept in this one's place, over all lines of the input (its own where it is kept): exact and near
// duplicates of its tenant. Without an id a document is called by its line, "line-3". A line that is none of
// these gives {"id", "error"}.
void annotate_lines(std::istream& in, const std::function<void(const Json&)>& out);

}  // namespace decant
