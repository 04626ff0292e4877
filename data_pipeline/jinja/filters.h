// The three files of filters, and the iterators that the lazy ones give.
#pragma once

#include "data_pipeline/jinja/call.h"

namespace decant::jinja {

const Builtin* find_text_filter(std::string_view name);
const Builtin* find_lazy_filter(std::string_view name);

// What can be walked once.
Value iterator_over(State& state, const Value& list, const char* name);
// Calls `make` (which gives an iterator) when it is first walked, as a Python generator would begin.
Value deferred(const Call& c, Callable make);
// Fails when it is walked.
Value failing_iterator(State& state, const char* message);

}  // namespace decant::jinja
