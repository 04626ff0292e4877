// Functions, methods, filters and tests: how they are named, what they take, and how they are called.
#pragma once

#include <string>
#include <string_view>

#include "data_pipeline/jinja/state.h"

namespace decant::jinja {

struct Keyword {
  const Str* name;
  Value value;
};

struct Arguments {
  const Value* values = nullptr;
  uint32_t count = 0;
  const Keyword* keywords = nullptr;
  uint32_t num_keywords = 0;
};

// Names of the parameters with a space between them; '?' after those that may be left out. "*": as many as
// there are; the function looks at the arguments itself.
struct Signature {
  std::string_view names;
  uint8_t required = 0, total = 0;
  bool open = false;
  constexpr Signature(const char* text) : names(text) {
    if (names == "*") {
      open = true;
      return;
    }
    for (size_t i = 0; i < names.size(); ++i)
      if (i + 1 == names.size() || names[i + 1] == ' ') ++total, required += names[i] != '?';
  }
};
inline constexpr size_t kMaxParameters = 8;

// Puts the arguments into `bound` (kMissing where none was given); Error with `what` when they do not fit.
void bind(const char* what, const Signature& signature, const Arguments& arguments, Value* bound);

// What a filter, method or function works on: the piped value or the object, and its arguments.
struct Call {
  State& state;
  const Value& self;
  const Value* args;  // bound to the signature
  const Arguments& all;

  bool given(size_t i) const { return !args[i].is(Tag::kMissing); }
  Arena& arena() const { return state.arena; }
  // The argument as Python would convert it, or Error.
  int64_t integer(size_t i, int64_t otherwise) const;
  bool truthy(size_t i, bool otherwise) const;
  const Str& text(size_t i, const char* what) const;
};
using Callable = Value (*)(const Call&);

struct Function {
  const char* name;
  Signature signature;
  Callable call;
  Value self;  // of a method
};

struct Builtin {
  const char* name;
  Signature signature;
  Callable call;
};

// null when there is none of this name.
const Builtin* find_filter(std::string_view name);
const Builtin* find_test(std::string_view name);  // their result is a boolean
const Builtin* find_text_method(std::string_view name);
const Builtin* find_dict_method(std::string_view name);
const Builtin* find_list_method(std::string_view name, bool tuple);
const Builtin* find_cycler_method(std::string_view name);
const Builtin* find_number_method(std::string_view name, Tag tag);
const Builtin* find_method(const Value& object, std::string_view name);
// Attributes that Python has but the sandbox keeps from templates: list.append, anything with '_' first.
bool is_unsafe(const Value& object, std::string_view name);
// A global: range, dict, namespace ...; kMissing when there is none.
Value find_global(std::string_view name);

Value apply(State& state, const Builtin& builtin, const Value& self, const Arguments& arguments);
Value call_value(State& state, const Value& callee, const Arguments& arguments);
// A piped value through a filter by name, as map() does it; the same for a test.
Value apply_filter(State& state, const Value& name, const Value& value, const Arguments& arguments);
bool apply_test(State& state, const Value& name, const Value& value, const Arguments& arguments);

std::string macro_repr(const Macro& macro);
// Its name, arguments and the other attributes.
bool macro_attribute(State& state, const Macro& macro, std::string_view name, Value& found);
Value call_macro(State& state, const Macro& macro, const Arguments& arguments);
// Renders the body of a recursive loop over `iterable`.
const Str* call_loop(State& state, Loop& loop, const Value& iterable);

}  // namespace decant::jinja
