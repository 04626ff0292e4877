#include "data_pipeline/jinja/call.h"

#include <algorithm>

#include "data_pipeline/jinja/operators.h"
#include "data_pipeline/jinja/show.h"

namespace decant::jinja {

void bind(const char* what, const Signature& signature, const Arguments& arguments, Value* bound) {
  for (size_t i = 0; i < signature.total; ++i) bound[i] = missing();
  if (arguments.count > signature.total)
    fail(what, "() takes at most ", static_cast<int>(signature.total), " arguments (", arguments.count,
         " given)");
  for (uint32_t i = 0; i < arguments.count; ++i) bound[i] = arguments.values[i];
  if (arguments.num_keywords == 0 && arguments.count >= signature.required) return;
  std::string_view rest = signature.names;
  for (size_t i = 0; i < signature.total; ++i) {
    const size_t space = std::min(rest.find(' '), rest.size());
    std::string_view name = rest.substr(0, space);
    rest.remove_prefix(std::min(space + 1, rest.size()));
    const bool optional = name.ends_with('?');
    if (optional) name.remove_suffix(1);
    for (uint32_t k = 0; k < arguments.num_keywords; ++k) {
      if (!same_text(*arguments.keywords[k].name, name)) continue;
      if (!bound[i].is(Tag::kMissing)) fail(what, "() got multiple values for argument '", name, "'");
      bound[i] = arguments.keywords[k].value;
    }
    if (bound[i].is(Tag::kMissing) && !optional) fail(what, "() missing required argument: '", name, "'");
  }
  uint32_t used = 0;
  for (size_t i = arguments.count; i < signature.total; ++i) used += bound[i].is(Tag::kMissing) ? 0 : 1;
  if (used < arguments.num_keywords) fail(what, "() got an unexpected keyword argument");
}

int64_t Call::integer(size_t i, int64_t otherwise) const {
  if (!given(i)) return otherwise;
  const auto index = as_index(args[i]);
  if (!index) {
    if (args[i].is(Tag::kUndefined)) fail_undefined(args[i]);
    fail("'", type_name(args[i]), "' object cannot be interpreted as an integer");
  }
  return *index;
}

bool Call::truthy(size_t i, bool otherwise) const { return given(i) ? truth(state, args[i]) : otherwise; }

const Str& Call::text(size_t i, const char* what) const {
  if (!args[i].is_text()) fail(what, " must be str, not ", type_name(args[i]));
  return *args[i].text;
}

Value apply(State& state, const Builtin& builtin, const Value& self, const Arguments& arguments) {
  Value bound[kMaxParameters];
  if (!builtin.signature.open) bind(builtin.name, builtin.signature, arguments, bound);
  return builtin.call({state, self, bound, arguments});
}

Value call_value(State& state, const Value& callee, const Arguments& arguments) {
  state.step();
  switch (callee.tag) {
    case Tag::kFunction: {
      const Function& f = *callee.function;
      return apply(state, {f.name, f.signature, f.call}, f.self, arguments);
    }
    case Tag::kMacro:
      return call_macro(state, *callee.macro, arguments);
    case Tag::kLoop: {
      if (arguments.count != 1 || arguments.num_keywords != 0) fail("loop() takes one iterable");
      return text(call_loop(state, *callee.loop, arguments.values[0]));
    }
    case Tag::kJoiner: {
      Namespace& used = *callee.names;
      if (used.count++ > 0) return used.entries[0].value;
      return text(make_text(state.arena, ""));
    }
    case Tag::kUndefined:
      fail_undefined(callee);
    default:
      fail("'", type_name(callee), "' object is not callable");
  }
}

Value apply_filter(State& state, const Value& name, const Value& value, const Arguments& arguments) {
  const Builtin* filter = name.is_text() ? find_filter(flat(state.arena, *name.text)) : nullptr;
  if (filter == nullptr) fail("No filter named ", flat(state.arena, *repr(state, name)), ".");
  return apply(state, *filter, value, arguments);
}

bool apply_test(State& state, const Value& name, const Value& value, const Arguments& arguments) {
  const Builtin* test = name.is_text() ? find_test(flat(state.arena, *name.text)) : nullptr;
  if (test == nullptr) fail("No test named ", flat(state.arena, *repr(state, name)), ".");
  return truth(state, apply(state, *test, value, arguments));
}

const Builtin* find_method(const Value& object, std::string_view name) {
  switch (object.tag) {
    case Tag::kString:
      return find_text_method(name);
    case Tag::kDict:
      return find_dict_method(name);
    case Tag::kList:
    case Tag::kTuple:
      return find_list_method(name, object.is(Tag::kTuple));
    case Tag::kRange:
      return name == "index" || name == "count" ? find_list_method(name, true) : nullptr;
    case Tag::kInt:
    case Tag::kBool:
    case Tag::kFloat:
      return find_number_method(name, object.tag);
    case Tag::kCycler:
      return find_cycler_method(name);
    default:
      return nullptr;
  }
}

bool is_unsafe(const Value& object, std::string_view name) {
  const auto any_of = [&](std::initializer_list<std::string_view> names) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  if (object.is(Tag::kDict)) return any_of({"clear", "pop", "popitem", "setdefault", "update"});
  if (object.is(Tag::kList))
    return any_of({"append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove"});
  return false;
}

}  // namespace decant::jinja
