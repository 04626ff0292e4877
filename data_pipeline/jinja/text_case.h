// Python's case mappings; every character keeps the source it was made from.
#pragma once

#include "data_pipeline/jinja/state.h"

namespace decant::jinja {

enum class CaseMap : uint8_t { kUpper, kLower, kTitle, kSwap, kCapitalize, kFold };

const Str* map_case(State& state, const Str& text, CaseMap map);
// The same for bytes `begin` to `end` of it.
void map_case(State& state, TextBuilder& out, const Str& text, size_t begin, size_t end, CaseMap map);

}  // namespace decant::jinja
