// jinja2's built-in tests.
#include <unicode/uchar.h>

#include <cmath>

#include "data_pipeline/jinja/call.h"
#include "data_pipeline/jinja/operators.h"
#include "data_pipeline/jinja/show.h"
#include "data_pipeline/unicode.h"

namespace decant::jinja {

namespace {

bool remainder_is(const Call& c, const Value& by, int64_t wanted) {
  return equal(binary(c.state, Op::kModulo, c.self, by), integer(wanted));
}

// str.islower / str.isupper: there is a cased character, and none of the other case.
bool is_cased(const Call& c, bool upper) {
  const std::string_view all = flat(c.arena(), *to_text(c.state, c.self));
  c.state.work(all.size());
  bool cased = false;
  for (const char *p = all.data(), *end = p + all.size(); p < end;) {
    const auto ch = static_cast<UChar32>(next_code_point(p));
    const bool lower = u_hasBinaryProperty(ch, UCHAR_LOWERCASE) != 0;
    const bool up = u_hasBinaryProperty(ch, UCHAR_UPPERCASE) != 0 || u_istitle(ch) != 0;
    if (upper ? lower || u_istitle(ch) != 0 : up) return false;
    cased = cased || (upper ? up : lower);
  }
  return cased;
}

bool is_sequence(const Value& v) {
  switch (v.tag) {
    case Tag::kString:
    case Tag::kList:
    case Tag::kTuple:
    case Tag::kDict:
    case Tag::kRange:
    case Tag::kUndefined:  // it has __len__ and __getitem__
      return true;
    default:
      return false;
  }
}

bool is_number(const Value& v) {
  return v.is(Tag::kInt) || v.is(Tag::kFloat) || v.is(Tag::kBool) || v.is(Tag::kBigInt);
}

bool is_callable(const Value& v) {
  return v.is(Tag::kFunction) || v.is(Tag::kMacro) || v.is(Tag::kLoop) || v.is(Tag::kJoiner) ||
         v.is(Tag::kUndefined);
}

bool same_object(const Value& a, const Value& b) {
  if (a.tag != b.tag) return false;
  if (a.is(Tag::kNone)) return true;
  if (a.is(Tag::kFloat)) return a.real == b.real;
  if (a.is_text()) return same_text(*a.text, *b.text);  // equal texts are mostly one object in Python
  return a.integer == b.integer;
}

Value ordered(const Call& c, const char* op) {
  const int order = compare(c.self, c.args[0], op);
  if (order == 2) return boolean(false);
  const std::string_view o = op;
  return boolean(o == "<" ? order < 0 : o == "<=" ? order <= 0 : o == ">" ? order > 0 : order >= 0);
}

#define TEST_OF(expression) [](const Call& c) { return boolean(expression); }
#define ORDER(op) [](const Call& c) { return ordered(c, op); }

const Builtin kTests[] = {
    {"odd", "", TEST_OF(remainder_is(c, integer(2), 1))},
    {"even", "", TEST_OF(remainder_is(c, integer(2), 0))},
    {"divisibleby", "num", TEST_OF(remainder_is(c, c.args[0], 0))},
    {"defined", "", TEST_OF(!c.self.is(Tag::kUndefined))},
    {"undefined", "", TEST_OF(c.self.is(Tag::kUndefined))},
    {"filter", "", TEST_OF(c.self.is_text() && find_filter(flat(c.arena(), *c.self.text)) != nullptr)},
    {"test", "", TEST_OF(c.self.is_text() && find_test(flat(c.arena(), *c.self.text)) != nullptr)},
    {"none", "", TEST_OF(c.self.is(Tag::kNone))},
    {"boolean", "", TEST_OF(c.self.is(Tag::kBool))},
    {"false", "", TEST_OF(c.self.is(Tag::kBool) && c.self.integer == 0)},
    {"true", "", TEST_OF(c.self.is(Tag::kBool) && c.self.integer != 0)},
    {"integer", "", TEST_OF(c.self.is(Tag::kInt) || c.self.is(Tag::kBigInt))},
    {"float", "", TEST_OF(c.self.is(Tag::kFloat))},
    {"lower", "", TEST_OF(is_cased(c, false))},
    {"upper", "", TEST_OF(is_cased(c, true))},
    {"string", "", TEST_OF(c.self.is_text())},
    {"mapping", "", TEST_OF(c.self.is(Tag::kDict))},
    {"number", "", TEST_OF(is_number(c.self))},
    {"sequence", "", TEST_OF(is_sequence(c.self))},
    {"iterable", "", TEST_OF(can_walk(c.self))},
    {"callable", "", TEST_OF(is_callable(c.self))},
    {"sameas", "other", TEST_OF(same_object(c.self, c.args[0]))},
    {"escaped", "", TEST_OF(c.self.is_text() && c.self.text->markup)},
    {"in", "seq", TEST_OF(contains(c.state, c.args[0], c.self))},
    {"==", "other", TEST_OF(equal(c.self, c.args[0]))},
    {"eq", "other", TEST_OF(equal(c.self, c.args[0]))},
    {"equalto", "other", TEST_OF(equal(c.self, c.args[0]))},
    {"!=", "other", TEST_OF(!equal(c.self, c.args[0]))},
    {"ne", "other", TEST_OF(!equal(c.self, c.args[0]))},
    {">", "other", ORDER(">")},
    {"gt", "other", ORDER(">")},
    {"greaterthan", "other", ORDER(">")},
    {"ge", "other", ORDER(">=")},
    {">=", "other", ORDER(">=")},
    {"<", "other", ORDER("<")},
    {"lt", "other", ORDER("<")},
    {"lessthan", "other", ORDER("<")},
    {"<=", "other", ORDER("<=")},
    {"le", "other", ORDER("<=")},
};

#undef TEST_OF
#undef ORDER

}  // namespace

const Builtin* find_test(std::string_view name) {
  for (const Builtin& test : kTests)
    if (name == test.name) return &test;
  return nullptr;
}

}  // namespace decant::jinja
