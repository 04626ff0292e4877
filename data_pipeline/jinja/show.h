// Values as text: str(), repr() and tojson.
#pragma once

#include "data_pipeline/jinja/state.h"

namespace decant::jinja {

// Python's str(value).
const Str* to_text(State& state, const Value& value);
// As to_text, straight to the output.
void write_value(State& state, const Value& value);
void show(State& state, TextBuilder& out, const Value& value, bool quoted, int depth = 0);
const Str* repr(State& state, const Value& value);
std::string float_repr(double value);

struct JsonStyle {
  bool ensure_ascii = false, sort_keys = false;
  bool indented = false;
  const Str* indent = nullptr;
  const Str* item_separator = nullptr;
  const Str* key_separator = nullptr;
};
const Str* to_json(State& state, const Value& value, const JsonStyle& style);

// HTML-escaped, as markupsafe does it.
const Str* escape_html(State& state, const Str& text);

}  // namespace decant::jinja
