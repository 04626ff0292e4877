// jinja2's filters over values and sequences.
#include "data_pipeline/jinja/filters.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "data_pipeline/jinja/operators.h"
#include "data_pipeline/jinja/show.h"
#include "data_pipeline/jinja/text_case.h"

namespace decant::jinja {

namespace {

Value undefined_with(const Call& c, std::string_view hint) {
  Value v = tagged(Tag::kUndefined);
  v.undefined = c.arena().make<UndefinedInfo>(std::string_view(), hint);
  return v;
}

// What two values are sorted and told apart by.
Value ignore_case(const Call& c, const Value& v, bool case_sensitive) {
  return !case_sensitive && v.is_text() ? text(map_case(c.state, *v.text, CaseMap::kLower)) : v;
}

Value by_attribute(const Call& c, const Value& item, const Value& path, const Value& otherwise) {
  const Value v = attribute_path(c.state, item, path);
  return v.is(Tag::kUndefined) && !otherwise.is(Tag::kMissing) && !otherwise.is(Tag::kNone) ? otherwise : v;
}

std::vector<Value> items_of(const Call& c) {
  std::vector<Value> items;
  Walk walk(c.state, c.self);
  Value v;
  while (walk.next(v)) {
    c.state.step();
    items.push_back(v);
  }
  return items;
}

Value list_of(const Call& c, const std::vector<Value>& items) {
  Value* copy = c.arena().array<Value>(items.size());
  std::copy(items.begin(), items.end(), copy);
  return list_value(make_list(c.arena(), copy, items.size()));
}

// A stable sort that may throw in the middle.
void sort_by(const Call& c, std::vector<Value>& items, const std::vector<Value>& keys, bool reverse) {
  std::vector<size_t> order(items.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    c.state.step();
    return reverse ? compare(keys[b], keys[a], "<") < 0 : compare(keys[a], keys[b], "<") < 0;
  });
  std::vector<Value> sorted;
  for (const size_t i : order) sorted.push_back(items[i]);
  items = std::move(sorted);
}

Value sort(const Call& c) {
  std::vector<Value> items = items_of(c), keys;
  const bool case_sensitive = c.truthy(1, false);
  for (const Value& item : items) {
    if (!c.given(2) || !c.args[2].is_text()) {
      keys.push_back(ignore_case(c, attribute_path(c.state, item, c.args[2]), case_sensitive));
      continue;
    }
    // "a,b.c": by several
    const std::string_view paths = flat(c.arena(), *c.args[2].text);
    ListBuilder key(c.arena(), 2);
    for (size_t at = 0;;) {
      const size_t comma = std::min(paths.find(',', at), paths.size());
      const Value path = text(make_text(c.arena(), paths.substr(at, comma - at)));
      key.add(ignore_case(c, attribute_path(c.state, item, path), case_sensitive));
      if (comma == paths.size()) break;
      at = comma + 1;
    }
    keys.push_back(list_value(key.finish()));
  }
  sort_by(c, items, keys, c.truthy(0, false));
  return list_of(c, items);
}

Value dictsort(const Call& c) {
  if (!c.self.is(Tag::kDict)) {
    if (c.self.is(Tag::kUndefined)) fail_undefined(c.self);
    fail("'", type_name(c.self), "' object has no attribute 'items'");
  }
  const bool case_sensitive = c.truthy(0, false);
  size_t by = 0;
  if (c.given(1)) {
    const Value& what = c.args[1];
    by = what.is_text() && same_text(*what.text, "value") ? 1 : 0;
    if (by == 0 && !(what.is_text() && same_text(*what.text, "key")))
      fail("You can only sort by either \"key\" or \"value\"");
  }
  std::vector<Value> items, keys;
  for (uint32_t i = 0; i < c.self.dict->count; ++i) {
    Value* pair = c.arena().array<Value>(2);
    pair[0] = c.self.dict->entries[i].key;
    pair[1] = c.self.dict->entries[i].value;
    items.push_back(list_value(make_list(c.arena(), pair, 2, c.self.dict->source), Tag::kTuple));
    keys.push_back(ignore_case(c, pair[by], case_sensitive));
  }
  sort_by(c, items, keys, c.truthy(2, false));
  return list_of(c, items);
}

Value groupby(const Call& c) {
  std::vector<Value> items = items_of(c), keys;
  const bool case_sensitive = c.truthy(2, false);
  for (const Value& item : items)
    keys.push_back(ignore_case(c, by_attribute(c, item, c.args[0], c.args[1]), case_sensitive));
  sort_by(c, items, keys, false);
  std::vector<Value> groups;
  for (size_t i = 0; i < items.size();) {
    const Value key = ignore_case(c, by_attribute(c, items[i], c.args[0], c.args[1]), case_sensitive);
    std::vector<Value> members;
    const size_t first = i;
    for (; i < items.size(); ++i) {
      if (!equal(ignore_case(c, by_attribute(c, items[i], c.args[0], c.args[1]), case_sensitive), key)) break;
      members.push_back(items[i]);
    }
    Value* pair = c.arena().array<Value>(2);
    pair[0] = by_attribute(c, items[first], c.args[0], c.args[1]);
    pair[1] = list_of(c, members);
    List* group = c.arena().make<List>(pair, 2u, kTemplate);
    group->fields = "grouper list";
    groups.push_back(list_value(group, Tag::kTuple));
  }
  return list_of(c, groups);
}

Value min_or_max(const Call& c, bool least) {
  Walk walk(c.state, c.self);
  Value best, v;
  if (!walk.next(best)) return undefined_with(c, "No aggregated item, sequence was empty.");
  const bool case_sensitive = c.truthy(0, false);
  Value best_key = ignore_case(c, attribute_path(c.state, best, c.args[1]), case_sensitive);
  while (walk.next(v)) {
    c.state.step();
    const Value key = ignore_case(c, attribute_path(c.state, v, c.args[1]), case_sensitive);
    const int order = compare(key, best_key, least ? "<" : ">");
    if (order != 2 && (least ? order < 0 : order > 0)) best = v, best_key = key;
  }
  return best;
}

Value sum(const Call& c) {
  Value total = c.given(1) ? c.args[1] : integer(0);
  if (total.is_text()) fail("sum() can't sum strings [use ''.join(seq) instead]");
  Walk walk(c.state, c.self);
  Value v;
  while (walk.next(v)) {
    c.state.step();
    total = binary(c.state, Op::kAdd, total, c.given(0) ? attribute_path(c.state, v, c.args[0]) : v);
  }
  return total;
}

Value join(const Call& c) {
  const Str* separator = c.given(0) ? to_text(c.state, c.args[0]) : make_text(c.arena(), "");
  TextBuilder out(c.arena());
  Walk walk(c.state, c.self);
  Value v;
  for (bool first = true; walk.next(v); first = false) {
    c.state.step();
    if (!first) out.add(*separator);
    if (c.given(1) && !c.args[1].is(Tag::kNone)) v = attribute_path(c.state, v, c.args[1]);
    show(c.state, out, v, false);
  }
  return text(out.finish());
}

Value first(const Call& c) {
  Walk walk(c.state, c.self);
  Value v;
  return walk.next(v) ? v : undefined_with(c, "No first item, sequence was empty.");
}

bool reversible(const Value& v) {
  return can_walk(v) && !v.is(Tag::kIterator) && !v.is(Tag::kUndefined) && !v.is(Tag::kLoop);
}

Value last(const Call& c) {
  if (!reversible(c.self)) fail("'", type_name(c.self), "' object is not reversible");
  const List* items = to_list(c.state, c.self);
  return items->count > 0 ? items->items[items->count - 1]
                          : undefined_with(c, "No last item, sequence was empty.");
}

Value reverse(const Call& c) {
  if (c.self.is_text()) return slice(c.state, c.self, none(), none(), integer(-1));
  if (!can_walk(c.self)) fail("argument must be iterable");
  std::vector<Value> items = items_of(c);
  std::reverse(items.begin(), items.end());
  const Value list = list_of(c, items);
  return reversible(c.self) ? iterator_over(c.state, list, "reversed") : list;
}

Value batch(const Call& c) {
  const int64_t size = c.integer(0, 0);
  std::vector<Value> rows, row;
  const auto close = [&] {
    if (c.given(1) && !c.args[1].is(Tag::kNone))
      while (static_cast<int64_t>(row.size()) < size) {
        c.state.step();
        row.push_back(c.args[1]);
      }
    rows.push_back(list_of(c, row));
    row.clear();
  };
  for (const Value& item : items_of(c)) {
    if (static_cast<int64_t>(row.size()) == size) rows.push_back(list_of(c, row)), row.clear();
    row.push_back(item);
  }
  if (!row.empty()) close();
  return iterator_over(c.state, list_of(c, rows), "generator");
}

Value slice_filter(const Call& c) {
  const std::vector<Value> items = items_of(c);
  const int64_t slices = c.integer(0, 0), size = static_cast<int64_t>(items.size());
  if (slices == 0) fail("integer division or modulo by zero");
  std::vector<Value> out;
  int64_t offset = 0;
  for (int64_t k = 0; k < slices; ++k) {
    c.state.step();
    const int64_t begin = offset + k * (size / slices);
    if (k < size % slices) ++offset;
    const int64_t end = offset + (k + 1) * (size / slices);
    std::vector<Value> part(items.begin() + begin, items.begin() + end);
    if (c.given(1) && !c.args[1].is(Tag::kNone) && k >= size % slices) part.push_back(c.args[1]);
    out.push_back(list_of(c, part));
  }
  return iterator_over(c.state, list_of(c, out), "generator");
}

Value unique(const Call& c) {
  std::vector<Value> kept;
  DictBuilder seen(c.arena());
  uint32_t count = 0;
  for (const Value& item : items_of(c)) {
    seen.set(ignore_case(c, attribute_path(c.state, item, c.args[1]), c.truthy(0, false)), none());
    const uint32_t now = seen.finish()->count;
    if (now > count) kept.push_back(item);
    count = now;
  }
  return iterator_over(c.state, list_of(c, kept), "generator");
}

Value items(const Call& c) {
  if (c.self.is(Tag::kUndefined)) return iterator_over(c.state, list_of(c, {}), "generator");
  if (!c.self.is(Tag::kDict)) return failing_iterator(c.state, "Can only get item pairs from a mapping.");
  const Value view = apply(c.state, *find_dict_method("items"), c.self, {});
  return iterator_over(c.state, list_value(&view.view->items), "generator");
}

Value absolute(const Call& c) {
  if (c.self.is(Tag::kFloat)) return real(std::fabs(c.self.real));
  if (c.self.is(Tag::kInt) || c.self.is(Tag::kBool))
    return c.self.integer < 0 ? negative(c.self) : integer(c.self.integer);
  if (c.self.is(Tag::kUndefined)) fail("bad operand type for abs(): 'Undefined'");
  fail("bad operand type for abs(): '", type_name(c.self), "'");
}

Value attr(const Call& c) {
  const Str& name = c.text(0, "attribute name");
  // Only what getattr finds, never a key.
  if (!c.self.is(Tag::kDict)) return attribute(c.state, c.self, name, nullptr);
  static const Dict kEmpty{nullptr, 0, kTemplate, -1, 0, nullptr};
  Value v = attribute(c.state, dict_value(&kEmpty), name, nullptr);
  if (v.is(Tag::kFunction)) {
    Function* bound = c.arena().make<Function>(*v.function);
    bound->self = c.self;
    v.function = bound;
  }
  return v;
}

Value otherwise(const Call& c) {
  const bool absent = c.self.is(Tag::kUndefined) || (c.truthy(1, false) && !truth(c.state, c.self));
  if (!absent) return c.self;
  return c.given(0) ? c.args[0] : text(make_text(c.arena(), ""));
}

// Python's int(text, base) and float(text); false when the text is none.
bool parse_int(std::string_view s, int base, Value& out, Arena& arena) {
  const ByteRange r = strip_range(s, true, true);
  s = s.substr(r.begin, r.end - r.begin);
  bool minus = false;
  if (s.starts_with('+') || s.starts_with('-')) minus = s[0] == '-', s.remove_prefix(1);
  const auto prefix = [&](char letter) { return s.size() > 2 && s[0] == '0' && (s[1] | 32) == letter; };
  bool after_prefix = false;
  if ((base == 16 || base == 0) && prefix('x'))
    base = 16, s.remove_prefix(2), after_prefix = true;
  else if ((base == 8 || base == 0) && prefix('o'))
    base = 8, s.remove_prefix(2), after_prefix = true;
  else if ((base == 2 || base == 0) && prefix('b'))
    base = 2, s.remove_prefix(2), after_prefix = true;
  else if (base == 0) {
    if (s.size() > 1 && s[0] == '0' && s.find_first_not_of("0_") != s.npos) return false;
    base = 10;
  }
  std::string digits;
  for (size_t i = 0; i < s.size(); ++i) {
    if (s[i] == '_') {
      if ((i == 0 && !after_prefix) || i + 1 == s.size() || s[i + 1] == '_') return false;
      continue;
    }
    digits += s[i];
  }
  if (digits.empty()) return false;
  for (const char c : digits) {
    const int d = c >= '0' && c <= '9'                 ? c - '0'
                  : (c | 32) >= 'a' && (c | 32) <= 'z' ? (c | 32) - 'a' + 10
                                                       : 99;
    if (d >= base) return false;
  }
  const std::string signed_digits = (minus ? "-" : "") + digits;
  int64_t value = 0;
  const auto [end, error] =
      std::from_chars(signed_digits.data(), signed_digits.data() + signed_digits.size(), value, base);
  if (error == std::errc::result_out_of_range) {
    if (base != 10) fail("an integer beyond 64 bits");
    if (digits.size() > 4300) return false;  // Python's own limit
    const size_t zeros = std::min(digits.find_first_not_of('0'), digits.size() - 1);
    out = tagged(Tag::kBigInt);
    out.text = copy_text(arena, (minus ? "-" : "") + digits.substr(zeros));
    return true;
  }
  out = integer(value);
  return true;
}

bool parse_float(std::string_view s, double& out) {
  const ByteRange r = strip_range(s, true, true);
  std::string t;
  for (size_t i = r.begin; i < r.end; ++i) {
    if (s[i] == '_') {
      const bool between = i > r.begin && i + 1 < r.end &&
                           std::isdigit(static_cast<unsigned char>(s[i - 1])) != 0 &&
                           std::isdigit(static_cast<unsigned char>(s[i + 1])) != 0;
      if (!between) return false;
      continue;
    }
    t += s[i];
  }
  std::string_view body = t;
  bool minus = false;
  if (body.starts_with('+') || body.starts_with('-')) minus = body[0] == '-', body.remove_prefix(1);
  std::string lower(body);
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (lower == "inf" || lower == "infinity") {
    out = minus ? -INFINITY : INFINITY;
    return true;
  }
  if (lower == "nan") {
    out = NAN;
    return true;
  }
  if (lower.empty() || lower.find_first_not_of("0123456789.e+-") != lower.npos) return false;
  if (lower[0] == '+' || lower[0] == '-') return false;
  const auto [end, error] = std::from_chars(lower.data(), lower.data() + lower.size(), out);
  if (end != lower.data() + lower.size()) return false;
  if (error == std::errc::result_out_of_range)
    out = std::strtod(lower.c_str(), nullptr);
  else if (error != std::errc())
    return false;
  if (minus) out = -out;
  return true;
}

bool float_of(const Call& c, double& out) {
  if (c.self.is(Tag::kFloat))
    out = c.self.real;
  else if (c.self.is(Tag::kInt) || c.self.is(Tag::kBool))
    out = static_cast<double>(c.self.integer);
  else if (c.self.is_text() || c.self.is(Tag::kBigInt))
    return parse_float(flat(c.arena(), *c.self.text), out);
  else if (c.self.is(Tag::kUndefined))
    fail_undefined(c.self);
  else
    return false;
  return true;
}

Value to_int(const Call& c) {
  const Value otherwise = c.given(0) ? c.args[0] : integer(0);
  if (c.self.is(Tag::kInt) || c.self.is(Tag::kBool)) return integer(c.self.integer);
  if (c.self.is(Tag::kBigInt)) return c.self;
  Value out;
  if (c.self.is_text() &&
      parse_int(flat(c.arena(), *c.self.text), static_cast<int>(c.integer(1, 10)), out, c.arena()))
    return out;
  double d = 0;
  if (!float_of(c, d) || std::isnan(d) || std::isinf(d)) return otherwise;
  if (std::fabs(d) >= 9223372036854775808.0) fail("an integer beyond 64 bits");
  return integer(static_cast<int64_t>(d));
}

Value to_float(const Call& c) {
  double d = 0;
  if (float_of(c, d)) return real(d);
  return c.given(0) ? c.args[0] : real(0);
}

// Python's round: to even, decided on the exact decimal expansion.
Value round_number(const Call& c) {
  const int64_t digits = c.integer(0, 0);
  std::string_view method = "common";
  if (c.given(1)) method = flat(c.arena(), c.text(1, "method"));
  if (method != "common" && method != "ceil" && method != "floor")
    fail("method must be common, ceil or floor");
  const bool whole = c.self.is(Tag::kInt) || c.self.is(Tag::kBool);
  if (!whole && !c.self.is(Tag::kFloat)) {
    if (c.self.is(Tag::kUndefined)) fail_undefined(c.self);
    fail("type ", type_name(c.self), " doesn't define __round__ method");
  }
  if (method != "common") {
    const Value power = binary(c.state, Op::kPower, integer(10), integer(digits));
    const Value scaled = binary(c.state, Op::kMultiply, c.self, power);
    const double d = scaled.is(Tag::kFloat) ? scaled.real : static_cast<double>(scaled.integer);
    const double r = method == "ceil" ? std::ceil(d) : std::floor(d);
    if (!(std::fabs(r) < 9.2e18)) fail("cannot convert float to a 64-bit integer");
    return binary(c.state, Op::kDivide, integer(static_cast<int64_t>(r)), power);
  }
  if (whole) {
    if (digits >= 0) return integer(c.self.integer);
    if (digits < -18) return integer(0);
    int64_t unit = 1;
    for (int64_t i = 0; i < -digits; ++i) unit *= 10;
    const int64_t quotient = c.self.integer / unit, rest = std::abs(c.self.integer % unit);
    int64_t away = rest * 2 > unit || (rest * 2 == unit && quotient % 2 != 0) ? 1 : 0;
    if (c.self.integer < 0) away = -away;
    return integer((quotient + away) * unit);
  }
  const double d = c.self.real;
  if (!std::isfinite(d) || digits > 323) return c.self;
  if (digits < -308) return real(std::copysign(0.0, d));
  if (digits >= 0) {
    char buffer[800];
    const int n =
        std::snprintf(buffer, sizeof buffer, "%.*f", static_cast<int>(digits), d);  // correctly rounded
    if (n > 0 && n < static_cast<int>(sizeof buffer)) return real(std::strtod(buffer, nullptr));
    return c.self;
  }
  const double unit = std::pow(10.0, static_cast<double>(-digits));
  const double r = std::nearbyint(d / unit) * unit;
  return real(r);
}

Value to_json_filter(const Call& c) {
  JsonStyle style;
  style.ensure_ascii = c.truthy(0, false);
  style.sort_keys = c.truthy(3, false);
  if (c.given(1) && !c.args[1].is(Tag::kNone)) {
    style.indented = true;
    if (c.args[1].is_text()) {
      style.indent = c.args[1].text;
    } else {
      const int64_t width = std::max<int64_t>(c.integer(1, 0), 0);
      if (width > 1000) fail("tojson: an indent of ", width);
      style.indent = copy_text(c.arena(), std::string(static_cast<size_t>(width), ' '));
    }
  }
  if (c.given(2) && !c.args[2].is(Tag::kNone)) {
    const List* two = to_list(c.state, c.args[2]);
    if (two->count != 2 || !two->items[0].is_text() || !two->items[1].is_text())
      fail("tojson: separators must be two texts");
    style.item_separator = two->items[0].text;
    style.key_separator = two->items[1].text;
  }
  return text(to_json(c.state, c.self, style));
}

Value random(const Call&) { fail("the filter 'random' is random, and a rendering must not be"); }

#define DO(expression) [](const Call& c) -> Value { return expression; }

const Builtin kFilters[] = {
    {"abs", "", absolute},
    {"attr", "name", attr},
    {"batch", "linecount fill_with?", DO(deferred(c, batch))},
    {"count", "", DO(integer(length_of(c.state, c.self)))},
    {"length", "", DO(integer(length_of(c.state, c.self)))},
    {"d", "default_value? boolean?", otherwise},
    {"default", "default_value? boolean?", otherwise},
    {"dictsort", "case_sensitive? by? reverse?", dictsort},
    {"first", "", first},
    {"last", "", last},
    {"float", "default?", to_float},
    {"int", "default? base?", to_int},
    {"groupby", "attribute default? case_sensitive?", groupby},
    {"join", "d? attribute?", join},
    {"list", "", DO(list_value(to_list(c.state, c.self)))},
    {"items", "", DO(deferred(c, items))},
    {"min", "case_sensitive? attribute?", DO(min_or_max(c, true))},
    {"max", "case_sensitive? attribute?", DO(min_or_max(c, false))},
    {"random", "", random},
    {"reverse", "", reverse},
    {"round", "precision? method?", round_number},
    {"slice", "slices fill_with?", DO(deferred(c, slice_filter))},
    {"sort", "reverse? case_sensitive? attribute?", sort},
    {"sum", "attribute? start?", sum},
    {"unique", "case_sensitive? attribute?", DO(deferred(c, unique))},
    {"tojson", "ensure_ascii? indent? separators? sort_keys?", to_json_filter},
};

#undef DO

}  // namespace

const Builtin* find_filter(std::string_view name) {
  for (const Builtin& f : kFilters)
    if (name == f.name) return &f;
  if (const Builtin* f = find_text_filter(name)) return f;
  return find_lazy_filter(name);
}

}  // namespace decant::jinja
