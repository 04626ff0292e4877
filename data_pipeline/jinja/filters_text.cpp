// jinja2's filters over text.
#include <unicode/uchar.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "data_pipeline/jinja/filters.h"
#include "data_pipeline/jinja/operators.h"
#include "data_pipeline/jinja/show.h"
#include "data_pipeline/jinja/text_case.h"
#include "data_pipeline/unicode.h"

namespace decant::jinja {

namespace {

// soft_str: Markup stays Markup.
const Str& soft(const Call& c) { return c.self.is_text() ? *c.self.text : *to_text(c.state, c.self); }

const Str& only_text(const Call& c, const char* what) {
  if (c.self.is(Tag::kUndefined)) fail_undefined(c.self);
  if (!c.self.is_text()) fail(what, " needs text, found ", type_name(c.self));
  return *c.self.text;
}

const Str* marked(const Call& c, const Str& s, bool markup) {
  TextBuilder out(c.arena());
  out.add(s);
  return out.finish(markup);
}

Value method(const Call& c, const char* name, const Arguments& arguments) {
  return apply(c.state, *find_text_method(name), text(&soft(c)), arguments);
}

Value replace(const Call& c) {
  Value args[3] = {text(to_text(c.state, c.args[0])), text(to_text(c.state, c.args[1])), missing()};
  const bool counted = c.given(2) && !c.args[2].is(Tag::kNone);
  if (counted) args[2] = c.args[2];
  return apply(c.state, *find_text_method("replace"), text(to_text(c.state, c.self)),
               {args, counted ? 3u : 2u});
}

Value escape(const Call& c) {
  const Str& s = soft(c);
  return text(s.markup ? &s : escape_html(c.state, s));
}

// Words begin behind spaces, '-' and opening brackets.
Value title(const Call& c) {
  const Str& s = soft(c);
  const std::string_view all = flat(c.arena(), s);
  TextBuilder out(c.arena());
  const auto opens = [](uint32_t ch) {
    return is_space(ch) || ch == '-' || ch == '(' || ch == '{' || ch == '[' || ch == '<';
  };
  for (size_t at = 0; at < all.size();) {
    c.state.step();
    const char* p = all.data() + at;
    const bool gap = opens(next_code_point(p));
    size_t end = static_cast<size_t>(p - all.data());
    const size_t second = end;
    while (end < all.size()) {
      const char* q = all.data() + end;
      if (opens(next_code_point(q)) != gap) break;
      end = static_cast<size_t>(q - all.data());
    }
    if (gap) {
      out.add(s, at, end);
    } else {
      map_case(c.state, out, s, at, second, CaseMap::kUpper);
      if (end > second) map_case(c.state, out, s, second, end, CaseMap::kLower);
    }
    at = end;
  }
  return text(out.finish());
}

Value indent(const Call& c) {
  const Str& s = only_text(c, "indent");
  const Str* by;
  if (c.given(0) && c.args[0].is_text()) {
    by = c.args[0].text;
  } else {
    const int64_t width = std::max<int64_t>(c.integer(0, 4), 0);
    if (width > 100000) fail("indent: a width of ", width);
    by = copy_text(c.arena(), std::string(static_cast<size_t>(width), ' '));
  }
  const bool first = c.truthy(1, false), blank = c.truthy(2, false);
  TextBuilder with_end(c.arena());
  with_end.add(s);
  with_end.add_static("\n");  // as jinja2: for splitlines
  const Str& lines = *with_end.finish();
  const std::string_view all = flat(c.arena(), lines);
  c.state.work(all.size());
  TextBuilder out(c.arena());
  if (first) out.add(*by);
  ByteRange line{};
  bool begun = false;
  for (size_t at = 0, end = 0; next_line_range(all, at, line, end); begun = true) {
    c.state.work(64 + by->bytes);
    if (begun) {
      out.add_static("\n");
      if (blank || line.end > line.begin) out.add(*by);
    }
    if (line.end > line.begin) out.add(lines, line.begin, line.end);
  }
  return text(out.finish(s.markup));
}

Value truncate(const Call& c) {
  const int64_t size = c.integer(0, 255),
                leeway = c.given(3) && !c.args[3].is(Tag::kNone) ? c.integer(3, 5) : 5;
  const Str* end = c.given(2) ? &c.text(2, "end") : make_text(c.arena(), "...");
  if (size < length(*end)) fail("expected length >= ", length(*end), ", got ", size);
  if (leeway < 0) fail("expected leeway >= 0, got ", leeway);
  if (length_of(c.state, c.self) <= size + leeway) return c.self;
  const Str& s = only_text(c, "truncate");
  const std::string_view all = flat(c.arena(), s);
  size_t stop = offset_of(all, size - length(*end));
  if (!c.truthy(1, false)) {
    const size_t space = all.substr(0, stop).rfind(' ');
    if (space != all.npos) stop = space;
  }
  TextBuilder out(c.arena());
  out.add(s, 0, stop);
  out.add(*end);
  return text(out.finish(s.markup));
}

Value wordcount(const Call& c) {
  const std::string_view all = flat(c.arena(), soft(c));
  c.state.work(all.size());
  int64_t words = 0;
  bool inside = false;
  for (const char *p = all.data(), *end = p + all.size(); p < end;) {
    const auto ch = static_cast<UChar32>(next_code_point(p));
    const bool word =
        ch == '_' || u_isalpha(ch) != 0 || u_getIntPropertyValue(ch, UCHAR_NUMERIC_TYPE) != U_NT_NONE;
    if (word && !inside) ++words;
    inside = word;
  }
  return integer(words);
}

void quote(const Call& c, TextBuilder& out, const Value& v, bool query) {
  const Str& s = *to_text(c.state, v);
  c.state.work(s.bytes * 3);
  for (uint32_t i = 0; i < s.count; ++i)
    for (const char byte : s.pieces[i].view()) {
      const bool safe = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
                        (byte >= '0' && byte <= '9') || byte == '_' || byte == '.' || byte == '-' ||
                        byte == '~' || (byte == '/' && !query);
      char escaped[4];
      std::snprintf(escaped, sizeof escaped, "%%%02X", static_cast<unsigned char>(byte));
      if (safe)
        out.add(byte, s.pieces[i].source);
      else if (byte == ' ' && query)
        out.add('+', s.pieces[i].source);
      else
        out.add(escaped, s.pieces[i].source);
    }
}

Value urlencode(const Call& c) {
  TextBuilder out(c.arena());
  if (c.self.is_text() || !can_walk(c.self)) {
    quote(c, out, c.self, false);
    return text(out.finish());
  }
  Value pairs = c.self;
  if (c.self.is(Tag::kDict)) pairs = apply(c.state, *find_dict_method("items"), c.self, {});
  Walk walk(c.state, pairs);
  Value pair;
  for (bool first = true; walk.next(pair); first = false) {
    c.state.step();
    const List* two = to_list(c.state, pair);
    if (two->count != 2) fail("urlencode needs pairs");
    if (!first) out.add_static("&");
    quote(c, out, two->items[0], true);
    out.add_static("=");
    quote(c, out, two->items[1], true);
  }
  return text(out.finish());
}

// Without comments and tags, white space folded, entities of the usual five resolved.
Value striptags(const Call& c) {
  std::string s(flat(c.arena(), soft(c)));
  c.state.work(s.size());
  for (const auto& [open, close] : {std::pair{"<!--", "-->"}, std::pair{"<", ">"}})
    for (size_t at = 0; (at = s.find(open, at)) != s.npos;) {
      c.state.step();
      const size_t end = s.find(close, at);
      if (end == s.npos) break;
      s.erase(at, end + std::string_view(close).size() - at);
    }
  std::string folded;
  for (size_t at = 0; at < s.size();) {
    const ByteRange r = strip_range(std::string_view(s).substr(at), true, false);
    at += r.begin;
    size_t end = at;
    while (end < s.size()) {
      const char* p = s.data() + end;
      if (is_space(next_code_point(p))) break;
      end = static_cast<size_t>(p - s.data());
    }
    if (end > at) folded += (folded.empty() ? "" : " ") + s.substr(at, end - at);
    at = end;
  }
  static constexpr std::array<std::pair<const char*, const char*>, 8> kEntities = {{{"&lt;", "<"},
                                                                                    {"&gt;", ">"},
                                                                                    {"&quot;", "\""},
                                                                                    {"&#34;", "\""},
                                                                                    {"&#39;", "'"},
                                                                                    {"&apos;", "'"},
                                                                                    {"&nbsp;", "\u00a0"},
                                                                                    {"&amp;", "&"}}};
  std::string plain;
  for (size_t at = 0; at < folded.size();) {
    bool found = false;
    for (const auto& [entity, character] : kEntities)
      if (std::string_view(folded).substr(at).starts_with(entity)) {
        plain += character;
        at += std::string_view(entity).size();
        found = true;
        break;
      }
    if (!found) plain += folded[at++];
  }
  return text(copy_text(c.arena(), plain, source_of(soft(c))));
}

Value filesizeformat(const Call& c) {
  const Value number = apply(c.state, *find_filter("float"), c.self, {});
  const double bytes = number.real;
  const bool two = c.truthy(0, false);
  const double base = two ? 1024 : 1000;
  if (bytes == 1) return text(make_text(c.arena(), "1 Byte"));
  char buffer[64];
  if (bytes < base) {
    if (!(std::fabs(bytes) < 9e18)) fail("filesizeformat: beyond 64 bits");
    std::snprintf(buffer, sizeof buffer, "%lld Bytes", static_cast<long long>(bytes));
    return text(copy_text(c.arena(), buffer));
  }
  double unit = base;
  const char* letters = "kMGTPEZY";
  size_t i = 0;
  for (; i < 8; ++i) {
    unit *= base;
    if (bytes < unit) break;
  }
  i = std::min<size_t>(i, 7);
  const char letter = two && i == 0 ? 'K' : letters[i];
  std::snprintf(buffer, sizeof buffer, "%.1f %c%sB", base * bytes / unit, letter, two ? "i" : "");
  return text(copy_text(c.arena(), buffer));
}

Value xmlattr(const Call& c) {
  if (!c.self.is(Tag::kDict)) fail("xmlattr needs a mapping");
  TextBuilder out(c.arena());
  bool any = false;
  const bool space = c.truthy(0, true);
  for (uint32_t i = 0; i < c.self.dict->count; ++i) {
    const Entry& e = c.self.dict->entries[i];
    if (e.value.is(Tag::kNone) || e.value.is(Tag::kUndefined)) continue;
    if (!e.key.is_text()) fail("xmlattr: keys must be text");
    if (flat(c.arena(), *e.key.text).find_first_of(" \t\n\r\f\v/>=") != std::string_view::npos)
      fail("Invalid character in attribute name");
    const auto escaped = [&](const Value& v) {
      const Str& s = v.is_text() ? *v.text : *to_text(c.state, v);
      return s.markup ? &s : escape_html(c.state, s);
    };
    if (any || space) out.add_static(" ");
    any = true;
    out.add(*escaped(e.key));
    out.add_static("=\"");
    out.add(*escaped(e.value));
    out.add_static("\"");
  }
  return text(any ? out.finish(c.state.autoescape) : make_text(c.arena(), ""));
}

Value format(const Call& c) {
  if (c.all.count > 0 && c.all.num_keywords > 0)
    fail("can't handle positional and keyword arguments at the same time");
  if (c.all.num_keywords > 0) {
    DictBuilder values(c.arena());
    for (uint32_t k = 0; k < c.all.num_keywords; ++k)
      values.set(text(c.all.keywords[k].name), c.all.keywords[k].value);
    return text(format_percent(c.state, soft(c), dict_value(values.finish())));
  }
  return text(format_percent(c.state, soft(c),
                             list_value(make_list(c.arena(), c.all.values, c.all.count), Tag::kTuple)));
}

// pprint.pformat for what fits into one line, with sorted keys.
Value sorted_keys(const Call& c, const Value& v, int depth) {
  if (depth > 100) fail("a value is nested too deeply for pprint");
  if (v.is(Tag::kList) || v.is(Tag::kTuple)) {
    Value* items = c.arena().array<Value>(v.list->count);
    for (uint32_t i = 0; i < v.list->count; ++i) items[i] = sorted_keys(c, v.list->items[i], depth + 1);
    return list_value(make_list(c.arena(), items, v.list->count, v.list->source), v.tag);
  }
  if (!v.is(Tag::kDict)) return v;
  const List* pairs = apply(c.state, *find_filter("dictsort"), v, {}).list;
  DictBuilder out(c.arena());
  for (uint32_t i = 0; i < pairs->count; ++i)
    out.set(pairs->items[i].list->items[0], sorted_keys(c, pairs->items[i].list->items[1], depth + 1));
  return dict_value(out.finish(v.dict->source));
}

Value pprint(const Call& c) {
  const Str* shown = repr(c.state, sorted_keys(c, c.self, 0));
  if (length(*shown) > 80) fail("the filter 'pprint' is for values that fit into one line of 80 characters");
  return text(shown);
}

// textwrap.wrap of each line, with words broken at spaces (and at hyphens between letters).
Value wordwrap(const Call& c) {
  const Str& s = only_text(c, "wordwrap");
  const int64_t width = c.integer(0, 79);
  if (width <= 0) fail("invalid width ", width, " (must be > 0)");
  const bool break_long = c.truthy(1, true), hyphens = c.truthy(3, true);
  const Str* end =
      c.given(2) && !c.args[2].is(Tag::kNone) ? &c.text(2, "wrapstring") : make_text(c.arena(), "\n");
  const std::string_view all = flat(c.arena(), s);
  c.state.work(all.size() * 8);
  TextBuilder out(c.arena());
  bool any_line = false;
  const auto letter = [&](size_t at) {
    return at < all.size() && std::isalpha(static_cast<unsigned char>(all[at])) != 0;
  };
  ByteRange line{};
  for (size_t at = 0, line_end = 0; next_line_range(all, at, line, line_end);) {
    std::vector<ByteRange> chunks;
    for (size_t from = line.begin; from < line.end;) {
      const bool gap = std::isspace(static_cast<unsigned char>(all[from])) != 0;
      size_t to = from;
      while (to < line.end && (std::isspace(static_cast<unsigned char>(all[to])) != 0) == gap) {
        ++to;
        if (hyphens && !gap && all[to - 1] == '-' && to - from >= 3 && letter(to - 2) && letter(to - 3) &&
            letter(to) && letter(to + 1))
          break;
      }
      chunks.push_back({from, to});
      from = to;
    }
    std::reverse(chunks.begin(), chunks.end());
    if (any_line) out.add(*end);
    any_line = true;
    bool first = true;
    while (!chunks.empty()) {
      c.state.step();
      std::vector<ByteRange> row;
      int64_t used = 0;
      const auto is_gap = [&](const ByteRange& r) {
        return std::isspace(static_cast<unsigned char>(all[r.begin])) != 0;
      };
      const auto size_of = [&](const ByteRange& r) {
        return count_chars(all.substr(r.begin, r.end - r.begin));
      };
      if (is_gap(chunks.back()) && !first) chunks.pop_back();
      while (!chunks.empty() && used + size_of(chunks.back()) <= width) {
        used += size_of(chunks.back());
        row.push_back(chunks.back());
        chunks.pop_back();
      }
      if (!chunks.empty() && size_of(chunks.back()) > width) {
        ByteRange& word = chunks.back();
        if (break_long) {
          const int64_t room = std::max<int64_t>(width - used, 1);
          const size_t cut_at = word.begin + offset_of(all.substr(word.begin, word.end - word.begin), room);
          row.push_back({word.begin, cut_at});
          word.begin = cut_at;
          if (word.begin == word.end) chunks.pop_back();
        } else if (row.empty()) {
          row.push_back(word);
          chunks.pop_back();
        }
      }
      if (!row.empty() && is_gap(row.back())) row.pop_back();
      if (row.empty()) continue;
      if (!first) out.add(*end);
      first = false;
      for (const ByteRange& r : row) out.add(s, r.begin, r.end);
    }
  }
  return text(out.finish(s.markup));
}

Value urlize(const Call&) { fail("the filter 'urlize' makes HTML links; a chat template has no use for it"); }

#define DO(expression) [](const Call& c) -> Value { return expression; }
#define CASE(map) [](const Call& c) { return text(map_case(c.state, soft(c), CaseMap::map)); }

const Builtin kTextFilters[] = {
    {"capitalize", "", CASE(kCapitalize)},
    {"center", "width?",
     [](const Call& c) {
       const Value width = c.given(0) ? c.args[0] : integer(80);
       return method(c, "center", {&width, 1});
     }},
    {"e", "", escape},
    {"escape", "", escape},
    {"forceescape", "", DO(text(escape_html(c.state, *to_text(c.state, c.self))))},
    {"filesizeformat", "binary?", filesizeformat},
    {"format", "*", format},
    {"indent", "width? first? blank?", indent},
    {"lower", "", CASE(kLower)},
    {"upper", "", CASE(kUpper)},
    {"pprint", "", pprint},
    {"replace", "old new count?", replace},
    {"safe", "", DO(text(marked(c, *to_text(c.state, c.self), true)))},
    {"string", "", DO(text(&soft(c)))},
    {"striptags", "", striptags},
    {"title", "", title},
    {"trim", "chars?", DO(method(c, "strip", {c.args, c.given(0) ? 1u : 0u}))},
    {"truncate", "length? killwords? end? leeway?", truncate},
    {"urlencode", "", urlencode},
    {"urlize", "*", urlize},
    {"wordcount", "", wordcount},
    {"wordwrap", "width? break_long_words? wrapstring? break_on_hyphens?", wordwrap},
    {"xmlattr", "autospace?", xmlattr},
};

#undef DO
#undef CASE

}  // namespace

const Builtin* find_text_filter(std::string_view name) {
  for (const Builtin& f : kTextFilters)
    if (name == f.name) return &f;
  return nullptr;
}

}  // namespace decant::jinja
