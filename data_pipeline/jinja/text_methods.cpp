// str's methods.
#include <unicode/uchar.h>

#include <algorithm>

#include "data_pipeline/jinja/call.h"
#include "data_pipeline/jinja/operators.h"
#include "data_pipeline/jinja/show.h"
#include "data_pipeline/jinja/text_case.h"
#include "data_pipeline/unicode.h"

namespace decant::jinja {

namespace {

const Str& self_of(const Call& c) { return *c.self.text; }

std::string_view bytes_of(const Call& c) {
  const std::string_view all = flat(c.arena(), self_of(c));
  c.state.work(all.size());
  return all;
}

Value part(const Call& c, size_t begin, size_t end) { return text(cut(c.arena(), self_of(c), begin, end)); }

// Byte range of [start:end] in code points, with Python's negative indices; begin > end when start lies
// behind the end of the text.
ByteRange window(const Call& c, std::string_view all, size_t start_argument) {
  const auto bound = [&](size_t i, int64_t otherwise) {
    return !c.given(i) || c.args[i].is(Tag::kNone) ? otherwise : c.integer(i, otherwise);
  };
  int64_t start = bound(start_argument, 0), stop = bound(start_argument + 1, INT64_MAX);
  const int64_t size = length(self_of(c));
  if (start < 0) start = std::max<int64_t>(start + size, 0);
  if (stop < 0) stop = std::max<int64_t>(stop + size, 0);
  stop = std::min(stop, size);
  if (start > size) return {1, 0};
  if (start > stop) return {1, 0};
  const size_t begin = offset_of(all, start);
  return {begin, begin + offset_of(all.substr(begin), stop - start)};
}

Value strip(const Call& c, bool left, bool right) {
  const std::string_view all = flat(c.arena(), self_of(c));
  if (!c.given(0) || c.args[0].is(Tag::kNone)) {
    const ByteRange r = strip_range(all, left, right);
    return part(c, r.begin, r.end);
  }
  const ByteRange r = strip_range(all, flat(c.arena(), c.text(0, "strip arg")), left, right);
  c.state.work(all.size() - (r.end - r.begin));
  return part(c, r.begin, r.end);
}

Value split(const Call& c, bool from_right) {
  const std::string_view all = bytes_of(c);
  int64_t most = c.integer(1, -1);
  if (most < 0) most = INT64_MAX;
  std::vector<ByteRange> parts;
  if (!c.given(0) || c.args[0].is(Tag::kNone)) {
    // Runs of spaces.
    if (!from_right) {
      size_t at = strip_range(all, true, false).begin;
      while (at < all.size()) {
        if (most-- == 0) {
          parts.push_back({at, all.size()});
          break;
        }
        size_t end = at;
        while (end < all.size()) {
          const char* p = all.data() + end;
          if (is_space(next_code_point(p))) break;
          end = static_cast<size_t>(p - all.data());
        }
        parts.push_back({at, end});
        at = end + strip_range(all.substr(end), true, false).begin;
      }
    } else {
      size_t end = strip_range(all, false, true).end;
      while (end > 0) {
        if (most-- == 0) {
          parts.push_back({0, end});
          break;
        }
        const char* p = all.data() + end;
        while (p > all.data()) {
          const char* before = previous_code_point(p);
          const char* q = before;
          if (is_space(next_code_point(q))) break;
          p = before;
        }
        const auto begin = static_cast<size_t>(p - all.data());
        parts.push_back({begin, end});
        end = strip_range(all.substr(0, begin), false, true).end;
      }
      std::reverse(parts.begin(), parts.end());
    }
  } else {
    if (!c.args[0].is_text()) fail("must be str or None, not ", type_name(c.args[0]));
    const std::string_view separator = flat(c.arena(), *c.args[0].text);
    if (separator.empty()) fail("empty separator");
    if (!from_right) {
      size_t at = 0;
      for (size_t found; most-- > 0 && (found = all.find(separator, at)) != all.npos;
           at = found + separator.size())
        parts.push_back({at, found});
      parts.push_back({at, all.size()});
    } else {
      size_t end = all.size();
      while (most-- > 0) {
        const size_t found = end >= separator.size() ? all.substr(0, end).rfind(separator) : all.npos;
        if (found == all.npos) break;
        parts.push_back({found + separator.size(), end});
        end = found;
      }
      parts.push_back({0, end});
      std::reverse(parts.begin(), parts.end());
    }
  }
  c.state.step(parts.size());
  Value* items = c.arena().array<Value>(parts.size());
  for (size_t i = 0; i < parts.size(); ++i) items[i] = part(c, parts[i].begin, parts[i].end);
  return list_value(make_list(c.arena(), items, parts.size()));
}

Value splitlines(const Call& c) {
  const bool keep = c.truthy(0, false);
  const std::string_view all = bytes_of(c);
  ListBuilder out(c.arena());
  ByteRange line{};
  for (size_t at = 0, end = 0; next_line_range(all, at, line, end);) {
    c.state.step();
    out.add(part(c, line.begin, keep ? end : line.end));
  }
  return list_value(out.finish());
}

Value partition(const Call& c, bool last) {
  const std::string_view all = bytes_of(c), separator = flat(c.arena(), c.text(0, "separator"));
  if (separator.empty()) fail("empty separator");
  const size_t at = last ? all.rfind(separator) : all.find(separator);
  Value* items = c.arena().array<Value>(3);
  if (at == all.npos) {
    const Value empty = text(make_text(c.arena(), ""));
    items[0] = items[1] = items[2] = empty;
    items[last ? 2 : 0] = c.self;
  } else {
    items[0] = part(c, 0, at);
    items[1] = part(c, at, at + separator.size());
    items[2] = part(c, at + separator.size(), all.size());
  }
  return list_value(make_list(c.arena(), items, 3), Tag::kTuple);
}

Value find(const Call& c, bool last, bool must) {
  const std::string_view all = bytes_of(c), wanted = flat(c.arena(), c.text(0, "must"));
  const ByteRange r = window(c, all, 1);
  size_t at = all.npos;
  if (r.begin <= r.end) {
    const std::string_view inside = all.substr(r.begin, r.end - r.begin);
    at = last ? inside.rfind(wanted) : inside.find(wanted);
  }
  if (at != all.npos) return integer(count_chars(all.substr(0, r.begin + at)));
  if (must) fail("substring not found");
  return integer(-1);
}

Value count(const Call& c) {
  const std::string_view all = bytes_of(c), wanted = flat(c.arena(), c.text(0, "must"));
  const ByteRange r = window(c, all, 1);
  if (r.begin > r.end) return integer(0);
  const std::string_view inside = all.substr(r.begin, r.end - r.begin);
  if (wanted.empty()) return integer(count_chars(inside) + 1);
  int64_t n = 0;
  for (size_t at = 0; (at = inside.find(wanted, at)) != inside.npos; at += wanted.size()) ++n;
  return integer(n);
}

Value affix(const Call& c, bool start) {
  const std::string_view all = flat(c.arena(), self_of(c));
  ByteRange r{0, all.size()};
  if (c.given(1) || c.given(2)) r = window(c, all, 1);
  const auto matches = [&](const Value& v) {
    if (!v.is_text())
      fail(start ? "startswith" : "endswith", " first arg must be str or a tuple of str, not ", type_name(v));
    if (r.begin > r.end) return false;
    const std::string_view inside = all.substr(r.begin, r.end - r.begin), wanted = flat(c.arena(), *v.text);
    return start ? inside.starts_with(wanted) : inside.ends_with(wanted);
  };
  if (!c.args[0].is(Tag::kTuple)) return boolean(matches(c.args[0]));
  for (uint32_t i = 0; i < c.args[0].list->count; ++i)
    if (matches(c.args[0].list->items[i])) return boolean(true);
  return boolean(false);
}

Value remove_affix(const Call& c, bool prefix) {
  const std::string_view all = flat(c.arena(), self_of(c)), affix = flat(c.arena(), c.text(0, "argument"));
  if (affix.empty() || !(prefix ? all.starts_with(affix) : all.ends_with(affix))) return c.self;
  return prefix ? part(c, affix.size(), all.size()) : part(c, 0, all.size() - affix.size());
}

Value replace(const Call& c) {
  const Str& wanted = c.text(0, "replace() argument 1");
  const Str* by = &c.text(1, "replace() argument 2");
  if (self_of(c).markup && !by->markup) by = escape_html(c.state, *by);
  int64_t most = c.integer(2, -1);
  if (most < 0) most = INT64_MAX;
  const std::string_view all = bytes_of(c), old = flat(c.arena(), wanted);
  TextBuilder out(c.arena());
  size_t at = 0;
  if (old.empty()) {
    while (most-- > 0) {
      c.state.step();
      out.add(*by);
      if (at >= all.size()) break;
      const size_t next = at + offset_of(all.substr(at), 1);
      out.add(self_of(c), at, next);
      at = next;
    }
  } else {
    for (size_t found; most > 0 && (found = all.find(old, at)) != all.npos; at = found + old.size(), --most) {
      c.state.step(1 + by->count);
      if (found > at) out.add(self_of(c), at, found);
      out.add(*by);
    }
    if (at == 0) return c.self;
  }
  if (at < all.size()) out.add(self_of(c), at, all.size());
  return text(out.finish(self_of(c).markup));
}

Value join(const Call& c) {
  TextBuilder out(c.arena());
  Walk walk(c.state, c.args[0]);
  Value v;
  for (int64_t i = 0; walk.next(v); ++i) {
    c.state.step();
    if (!v.is_text()) fail("sequence item ", i, ": expected str instance, ", type_name(v), " found");
    if (i > 0) out.add(self_of(c));
    out.add(self_of(c).markup && !v.text->markup ? *escape_html(c.state, *v.text) : *v.text);
  }
  return text(out.finish(self_of(c).markup));
}

void fill(const Call& c, TextBuilder& out, const Str& with, int64_t n) {
  if (n <= 0) return;
  if (n > (1 << 28)) fail("a text is too long");
  c.state.work(static_cast<uint64_t>(n));
  std::string padding;
  for (int64_t i = 0; i < n; ++i) padding += flat(c.arena(), with);
  out.add(padding, source_of(with));
}

Value pad(const Call& c, bool left, bool right) {
  const Str* with = c.given(1) ? &c.text(1, "The fill character") : make_text(c.arena(), " ");
  if (length(*with) != 1) fail("The fill character must be exactly one character long");
  const int64_t width = c.integer(0, 0), missing_chars = width - length(self_of(c));
  if (missing_chars <= 0) return c.self;
  TextBuilder out(c.arena());
  const int64_t before = !left ? 0 : right ? missing_chars / 2 + (missing_chars & width & 1) : missing_chars;
  fill(c, out, *with, before);
  out.add(self_of(c));
  fill(c, out, *with, missing_chars - before);
  return text(out.finish(self_of(c).markup));
}

Value zfill(const Call& c) {
  const int64_t n = c.integer(0, 0) - length(self_of(c));
  if (n <= 0) return c.self;
  const std::string_view all = flat(c.arena(), self_of(c));
  const size_t sign = all.starts_with('-') || all.starts_with('+') ? 1 : 0;
  TextBuilder out(c.arena());
  if (sign > 0) out.add(self_of(c), 0, 1);
  fill(c, out, *make_text(c.arena(), "0"), n);
  if (all.size() > sign) out.add(self_of(c), sign, all.size());
  return text(out.finish(self_of(c).markup));
}

Value expandtabs(const Call& c) {
  const int64_t size = c.integer(0, 8);
  const std::string_view all = bytes_of(c);
  TextBuilder out(c.arena());
  int64_t column = 0;
  for (size_t at = 0; at < all.size();) {
    c.state.step();
    const size_t next = at + offset_of(all.substr(at), 1);
    if (all[at] == '\t') {
      const int64_t n = size > 0 ? size - column % size : 0;
      fill(c, out, *make_text(c.arena(), " "), n);
      column += n;
    } else {
      out.add(self_of(c), at, next);
      column = all[at] == '\n' || all[at] == '\r' ? 0 : column + 1;
    }
    at = next;
  }
  return text(out.finish(self_of(c).markup));
}

template <class Wanted>
Value all_chars(const Call& c, bool if_empty, const Wanted& wanted) {
  const std::string_view all = bytes_of(c);
  if (all.empty()) return boolean(if_empty);
  for (const char *p = all.data(), *end = p + all.size(); p < end;)
    if (!wanted(next_code_point(p))) return boolean(false);
  return boolean(true);
}

UNumericType numeric_type(uint32_t c) {
  return static_cast<UNumericType>(u_getIntPropertyValue(static_cast<UChar32>(c), UCHAR_NUMERIC_TYPE));
}
bool is_numeric(uint32_t c) { return numeric_type(c) != U_NT_NONE; }
bool is_digit(uint32_t c) { return numeric_type(c) == U_NT_DECIMAL || numeric_type(c) == U_NT_DIGIT; }
bool is_alpha(uint32_t c) { return u_isalpha(static_cast<UChar32>(c)) != 0; }

bool is_printable(uint32_t c) {
  if (c == ' ') return true;
  constexpr uint32_t kNot = U_GC_C_MASK | U_GC_Z_MASK;
  return (U_GET_GC_MASK(static_cast<UChar32>(c)) & kNot) == 0;
}

Value is_identifier(const Call& c) {
  bool first = true;
  return all_chars(c, false, [&](uint32_t ch) {
    const auto u = static_cast<UChar32>(ch);
    const bool ok = ch == '_' || (first ? u_isIDStart(u) : u_isIDPart(u) && !u_isIDIgnorable(u)) != 0;
    first = false;
    return ok;
  });
}

Value is_title(const Call& c) {
  bool after_cased = false, any = false;
  const Value ok = all_chars(c, false, [&](uint32_t ch) {
    const auto u = static_cast<UChar32>(ch);
    const bool upper = u_isUUppercase(u) != 0 || u_istitle(u) != 0, lower = u_isULowercase(u) != 0;
    if (upper && after_cased) return false;
    if (lower && !after_cased) return false;
    any = any || upper || lower;
    after_cased = upper || lower;
    return true;
  });
  return boolean(ok.integer != 0 && any);
}

Value by_test(const Call& c, const char* test) {
  return boolean(truth(c.state, apply(c.state, *find_test(test), c.self, {})));
}

Value format_map(const Call& c) {
  if (!c.args[0].is(Tag::kDict)) fail("format_map() takes a mapping");
  const Dict& d = *c.args[0].dict;
  std::vector<Keyword> keywords;
  for (uint32_t i = 0; i < d.count; ++i)
    if (d.entries[i].key.is_text()) keywords.push_back({d.entries[i].key.text, d.entries[i].value});
  return text(format_braces(c.state, self_of(c),
                            {nullptr, 0, keywords.data(), static_cast<uint32_t>(keywords.size())}));
}

#define CASE(map) [](const Call& c) { return text(map_case(c.state, self_of(c), CaseMap::map)); }
#define DO(expression) [](const Call& c) -> Value { return expression; }

const Builtin kTextMethods[] = {
    {"strip", "chars?", DO(strip(c, true, true))},
    {"lstrip", "chars?", DO(strip(c, true, false))},
    {"rstrip", "chars?", DO(strip(c, false, true))},
    {"split", "sep? maxsplit?", DO(split(c, false))},
    {"rsplit", "sep? maxsplit?", DO(split(c, true))},
    {"splitlines", "keepends?", splitlines},
    {"startswith", "prefix start? end?", DO(affix(c, true))},
    {"endswith", "suffix start? end?", DO(affix(c, false))},
    {"replace", "old new count?", replace},
    {"join", "iterable", join},
    {"find", "sub start? end?", DO(find(c, false, false))},
    {"rfind", "sub start? end?", DO(find(c, true, false))},
    {"index", "sub start? end?", DO(find(c, false, true))},
    {"rindex", "sub start? end?", DO(find(c, true, true))},
    {"count", "sub start? end?", count},
    {"lower", "", CASE(kLower)},
    {"upper", "", CASE(kUpper)},
    {"title", "", CASE(kTitle)},
    {"capitalize", "", CASE(kCapitalize)},
    {"swapcase", "", CASE(kSwap)},
    {"casefold", "", CASE(kFold)},
    {"format", "*", DO(text(format_braces(c.state, self_of(c), c.all)))},
    {"format_map", "mapping", format_map},
    {"partition", "sep", DO(partition(c, false))},
    {"rpartition", "sep", DO(partition(c, true))},
    {"removeprefix", "prefix", DO(remove_affix(c, true))},
    {"removesuffix", "suffix", DO(remove_affix(c, false))},
    {"center", "width fillchar?", DO(pad(c, true, true))},
    {"ljust", "width fillchar?", DO(pad(c, false, true))},
    {"rjust", "width fillchar?", DO(pad(c, true, false))},
    {"zfill", "width", zfill},
    {"expandtabs", "tabsize?", expandtabs},
    {"isspace", "", DO(all_chars(c, false, is_space))},
    {"isdigit", "", DO(all_chars(c, false, is_digit))},
    {"isdecimal", "", DO(all_chars(c, false, [](uint32_t ch) { return numeric_type(ch) == U_NT_DECIMAL; }))},
    {"isnumeric", "", DO(all_chars(c, false, is_numeric))},
    {"isalpha", "", DO(all_chars(c, false, is_alpha))},
    {"isalnum", "", DO(all_chars(c, false, [](uint32_t ch) { return is_alpha(ch) || is_numeric(ch); }))},
    {"isascii", "", DO(all_chars(c, true, [](uint32_t ch) { return ch < 0x80; }))},
    {"isprintable", "", DO(all_chars(c, true, is_printable))},
    {"isidentifier", "", is_identifier},
    {"islower", "", DO(by_test(c, "lower"))},
    {"isupper", "", DO(by_test(c, "upper"))},
    {"istitle", "", is_title},
};

#undef CASE
#undef DO

}  // namespace

const Builtin* find_text_method(std::string_view name) {
  for (const Builtin& m : kTextMethods)
    if (name == m.name) return &m;
  return nullptr;
}

}  // namespace decant::jinja
