// Python's operators on values.
#pragma once

#include <optional>
#include <string_view>

#include "data_pipeline/jinja/call.h"
#include "data_pipeline/jinja/state.h"

namespace decant::jinja {

enum class Op : uint8_t { kAdd, kSubtract, kMultiply, kDivide, kFloorDivide, kModulo, kPower };

Value binary(State& state, Op op, const Value& a, const Value& b);
Value negative(const Value& a);
Value positive(const Value& a);
bool contains(State& state, const Value& container, const Value& item);
// len(); Error for what has none.
int64_t length_of(State& state, const Value& value);
bool has_length(const Value& value);

// value.name and value[key], as the sandbox resolves them: the one Python has, else the other, else
// undefined.
Value attribute(State& state, const Value& object, const Str& name, const UndefinedInfo* undefined);
Value item(State& state, const Value& object, const Value& key);
Value slice(State& state, const Value& object, const Value& start, const Value& stop, const Value& step);
// "a.b.0" as the filters' attribute= takes it.
Value attribute_path(State& state, const Value& object, const Value& path);

// printf-style: text % value.
const Str* format_percent(State& state, const Str& format, const Value& values);
// str.format; `keywords` may also come from a dict (format_map).
const Str* format_braces(State& state, const Str& format, const Arguments& arguments);

// All items of what can be iterated.
const List* to_list(State& state, const Value& value);
std::optional<int64_t> as_index(const Value& value);  // int and bool

}  // namespace decant::jinja
