// Names of a model's parts against the patterns that people and adapter files give.
#pragma once

#include <string>
#include <vector>

namespace decant {

// Whether the regular expression (PCRE2) matches all of `name`, as Python's re.fullmatch. Patterns come from
// outside: the work of a match is bounded. Error, which begins with `where`, for a pattern that is none or
// that takes too much work.
bool matches_whole(const std::string& pattern, const std::string& name, const std::string& where);

// A list of names as PEFT's target_modules: the whole name, or its end after a dot.
bool matches_suffix(const std::string& target, const std::string& name);

}  // namespace decant
