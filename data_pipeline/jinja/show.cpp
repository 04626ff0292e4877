#include "data_pipeline/jinja/show.h"

#include <unicode/uchar.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "data_pipeline/jinja/call.h"
#include "data_pipeline/unicode.h"

namespace decant::jinja {

namespace {

constexpr int kMaxDepth = 300;

bool printable(uint32_t c) {
  if (c < 0x7f) return c >= 0x20;
  switch (u_charType(static_cast<UChar32>(c))) {
    case U_UNASSIGNED:
    case U_CONTROL_CHAR:
    case U_FORMAT_CHAR:
    case U_PRIVATE_USE_CHAR:
    case U_SURROGATE:
    case U_LINE_SEPARATOR:
    case U_PARAGRAPH_SEPARATOR:
    case U_SPACE_SEPARATOR:
      return false;
    default:
      return true;
  }
}

void show_quoted(State& state, TextBuilder& out, const Str& s) {
  const std::string_view all = flat(state.arena, s);
  state.work(all.size());
  const bool has_single = all.find('\'') != all.npos, has_double = all.find('"') != all.npos;
  const char quote = has_single && !has_double ? '"' : '\'';
  const Source whole = source_of(s);
  if (s.markup) out.add("Markup(", whole);
  out.add(quote, whole);
  for (uint32_t i = 0; i < s.count; ++i) {
    const Piece& piece = s.pieces[i];
    const char *p = piece.data, *end = p + piece.size;
    const char* plain = p;
    const auto flush = [&](const char* to) {
      if (to > plain) out.add(std::string_view(plain, static_cast<size_t>(to - plain)), piece.source);
    };
    while (p < end) {
      const char* start = p;
      const uint32_t c = next_code_point(p);
      char escape[16];
      if (c == static_cast<uint32_t>(quote) || c == '\\')
        std::snprintf(escape, sizeof escape, "\\%c", static_cast<char>(c));
      else if (c == '\n' || c == '\r' || c == '\t')
        std::snprintf(escape, sizeof escape, "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
      else if (printable(c))
        continue;
      else
        std::snprintf(escape, sizeof escape, c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", c);
      flush(start);
      out.add(escape, piece.source);
      plain = p;
    }
    flush(end);
  }
  out.add(quote, whole);
  if (s.markup) out.add(")", whole);
}

std::string_view number_text(const Value& v, char (&buffer)[40]) {
  if (v.is(Tag::kInt)) {
    const auto end = std::to_chars(buffer, buffer + sizeof buffer, v.integer).ptr;
    return {buffer, static_cast<size_t>(end - buffer)};
  }
  const std::string s = float_repr(v.real);
  std::copy(s.begin(), s.end(), buffer);
  return {buffer, s.size()};
}

}  // namespace

std::string float_repr(double d) {
  if (std::isnan(d)) return "nan";
  if (std::isinf(d)) return d < 0 ? "-inf" : "inf";
  char buffer[40];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, d, std::chars_format::scientific).ptr;
  const std::string_view all(buffer, static_cast<size_t>(end - buffer));
  const size_t e = all.find('e');
  std::string digits, sign = all[0] == '-' ? "-" : "";
  for (const char c : all.substr(0, e))
    if (c >= '0' && c <= '9') digits += c;
  const int exponent = std::atoi(std::string(all.substr(e + 1)).c_str());
  if (exponent < -4 || exponent >= 16) {
    std::string text = sign + digits.substr(0, 1);
    if (digits.size() > 1) text += "." + digits.substr(1);
    char tail[16];
    std::snprintf(tail, sizeof tail, "e%c%02d", exponent < 0 ? '-' : '+', std::abs(exponent));
    return text + tail;
  }
  if (exponent < 0) return sign + "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  const auto point = static_cast<size_t>(exponent) + 1;
  if (digits.size() <= point) return sign + digits + std::string(point - digits.size(), '0') + ".0";
  return sign + digits.substr(0, point) + "." + digits.substr(point);
}

void show(State& state, TextBuilder& out, const Value& v, bool quoted, int depth) {
  check(depth < kMaxDepth, "a value is nested too deeply to be shown");
  state.step();
  const auto items = [&](const List& list, const char* open, const char* close, bool comma_after_one) {
    out.add(open, list.source);
    for (uint32_t i = 0; i < list.count; ++i) {
      if (i > 0) out.add(", ", list.source);
      show(state, out, list.items[i], true, depth + 1);
    }
    if (comma_after_one && list.count == 1) out.add(",", list.source);
    out.add(close, list.source);
  };
  const auto entries = [&](const Entry* e, uint32_t count, Source source) {
    out.add("{", source);
    for (uint32_t i = 0; i < count; ++i) {
      if (i > 0) out.add(", ", source);
      show(state, out, e[i].key, true, depth + 1);
      out.add(": ", source);
      show(state, out, e[i].value, true, depth + 1);
    }
    out.add("}", source);
  };
  char buffer[40];
  switch (v.tag) {
    case Tag::kMissing:
    case Tag::kUndefined:
      if (quoted) out.add_static("Undefined");
      return;
    case Tag::kNone:
      out.add("None", v.source);
      return;
    case Tag::kBool:
      out.add(v.integer != 0 ? "True" : "False", v.source);
      return;
    case Tag::kInt:
    case Tag::kFloat:
      out.add(number_text(v, buffer), v.source);
      return;
    case Tag::kBigInt:
      out.add(*v.text);
      return;
    case Tag::kString:
      if (quoted)
        show_quoted(state, out, *v.text);
      else
        out.add(*v.text);
      return;
    case Tag::kList:
      items(*v.list, "[", "]", false);
      return;
    case Tag::kTuple:
      items(*v.list, "(", ")", true);
      return;
    case Tag::kDict:
      entries(v.dict->entries, v.dict->count, v.dict->source);
      return;
    case Tag::kView:
      out.add(v.view->name, v.view->items.source);
      items(v.view->items, "([", "])", false);
      return;
    case Tag::kRange:
      out.add(concat("range(", v.range->start, ", ", v.range->stop), kTemplate);
      if (v.range->step != 1) out.add(concat(", ", v.range->step), kTemplate);
      out.add(")", kTemplate);
      return;
    case Tag::kNamespace:
      out.add_static("<Namespace ");
      entries(v.names->entries, v.names->count, kTemplate);
      out.add_static(">");
      return;
    case Tag::kMacro:
      out.add(macro_repr(*v.macro), kTemplate);
      return;
    case Tag::kLoop:
      out.add(concat("<LoopContext ", v.loop->index0 + 1, "/", loop_length(state, *v.loop), ">"), kTemplate);
      return;
    case Tag::kIterator:
    case Tag::kFunction:
    case Tag::kCycler:
    case Tag::kJoiner:
      out.add(concat("<", type_name(v), " object>"), kTemplate);
      return;
  }
}

const Str* repr(State& state, const Value& value) {
  TextBuilder out(state.arena);
  show(state, out, value, true);
  return out.finish();
}

const Str* to_text(State& state, const Value& value) {
  if (value.is_text() && !value.text->markup) return value.text;
  TextBuilder out(state.arena);
  show(state, out, value, false);
  return out.finish();
}

void write_value(State& state, const Value& value) {
  if (state.autoescape) [[unlikely]] {
    const Str* s = value.is_text() ? value.text : to_text(state, value);
    state.emit(s->markup ? *s : *escape_html(state, *s));
  } else if (value.is_text()) {
    state.emit(*value.text);
  } else if (!value.is(Tag::kUndefined)) {
    state.emit(*to_text(state, value));
  }
}

namespace {

class JsonWriter {
 public:
  JsonWriter(State& state, TextBuilder& out, const JsonStyle& style)
      : state_(state), out_(out), style_(style) {}

  void write(const Value& v, Source around, int depth = 0) {
    check(depth < kMaxDepth, "a value is nested too deeply for tojson");
    state_.step();
    char buffer[40];
    switch (v.tag) {
      case Tag::kNone:
        out_.add("null", v.source);
        return;
      case Tag::kBool:
        out_.add(v.integer != 0 ? "true" : "false", v.source);
        return;
      case Tag::kInt:
        out_.add(number_text(v, buffer), v.source);
        return;
      case Tag::kFloat:
        out_.add(number(v.real), v.source);
        return;
      case Tag::kBigInt:
        out_.add(*v.text);
        return;
      case Tag::kString:
        string(*v.text, around);
        return;
      case Tag::kList:
      case Tag::kTuple: {
        const List& list = *v.list;
        if (list.count == 0) return out_.add("[]", list.source);
        out_.add('[', list.source);
        for (uint32_t i = 0; i < list.count; ++i) {
          separate(i == 0, depth + 1, list.source);
          write(list.items[i], list.source, depth + 1);
        }
        close(']', depth, list.source);
        return;
      }
      case Tag::kDict:
        object(*v.dict, depth);
        return;
      default:
        fail("Object of type ", type_name(v), " is not JSON serializable");
    }
  }

 private:
  static std::string number(double d) {
    if (std::isnan(d)) return "NaN";
    if (std::isinf(d)) return d < 0 ? "-Infinity" : "Infinity";
    return float_repr(d);
  }

  void line(int depth, Source source) {
    out_.add('\n', source);
    for (int i = 0; i < depth; ++i)
      for (uint32_t k = 0; k < style_.indent->count; ++k) out_.add(style_.indent->pieces[k].view(), source);
  }
  void separate(bool first, int depth, Source source) {
    if (!first) separator(style_.item_separator, style_.indented ? "," : ", ", source);
    if (style_.indented) line(depth, source);
  }
  void close(char bracket, int depth, Source source) {
    if (style_.indented) line(depth, source);
    out_.add(bracket, source);
  }
  // A separator belongs to what it separates.
  void separator(const Str* given, std::string_view usual, Source source) {
    if (given == nullptr) return out_.add(usual, source);
    for (uint32_t k = 0; k < given->count; ++k) out_.add(given->pieces[k].view(), source);
  }

  void object(const Dict& dict, int depth) {
    if (dict.count == 0) return out_.add("{}", dict.source);
    std::vector<const Entry*> entries;
    for (uint32_t i = 0; i < dict.count; ++i) entries.push_back(&dict.entries[i]);
    if (style_.sort_keys)
      std::stable_sort(entries.begin(), entries.end(),
                       [](const Entry* a, const Entry* b) { return compare(a->key, b->key, "<") < 0; });
    out_.add('{', dict.source);
    bool first = true;
    for (const Entry* e : entries) {
      separate(first, depth + 1, dict.source);
      first = false;
      key(e->key, dict.source);
      separator(style_.key_separator, ": ", dict.source);
      write(e->value, dict.source, depth + 1);
    }
    close('}', depth, dict.source);
  }

  void key(const Value& k, Source around) {
    char buffer[40];
    switch (k.tag) {
      case Tag::kString:
        return string(*k.text, around);
      case Tag::kNone:
        return out_.add("\"null\"", around);
      case Tag::kBool:
        return out_.add(k.integer != 0 ? "\"true\"" : "\"false\"", around);
      case Tag::kInt:
      case Tag::kFloat:
        out_.add('"', around);
        out_.add(k.is(Tag::kInt) ? std::string(number_text(k, buffer)) : number(k.real), around);
        return out_.add('"', around);
      default:
        fail("keys must be str, int, float, bool or None, not ", type_name(k));
    }
  }

  void string(const Str& s, Source around) {
    const Source whole = source_of(s) == kTemplate ? around : source_of(s);
    state_.work(s.bytes);
    out_.add('"', whole);
    for (uint32_t i = 0; i < s.count; ++i) escaped(s.pieces[i]);
    out_.add('"', whole);
  }

  void escaped(const Piece& piece) {
    const char *p = piece.data, *end = p + piece.size;
    const char* plain = p;
    while (p < end) {
      const char* start = p;
      const auto byte = static_cast<unsigned char>(*p);
      char escape[16];
      if (byte >= 0x80) {
        const uint32_t c = next_code_point(p);
        if (!style_.ensure_ascii) continue;
        if (c < 0x10000)
          std::snprintf(escape, sizeof escape, "\\u%04x", c);
        else
          std::snprintf(escape, sizeof escape, "\\u%04x\\u%04x", 0xD800 + ((c - 0x10000) >> 10),
                        0xDC00 + ((c - 0x10000) & 0x3FF));
      } else {
        ++p;
        if (byte >= 0x20 && byte != '"' && byte != '\\') continue;
        const char* shorts = "\b\f\n\r\t\"\\";
        const char* letters = "bfnrt\"\\";
        const char* at =
            byte == 0 ? nullptr : std::char_traits<char>::find(shorts, 7, static_cast<char>(byte));
        if (at != nullptr)
          std::snprintf(escape, sizeof escape, "\\%c", letters[at - shorts]);
        else
          std::snprintf(escape, sizeof escape, "\\u%04x", byte);
      }
      if (start > plain) out_.add(std::string_view(plain, static_cast<size_t>(start - plain)), piece.source);
      out_.add(escape, piece.source);
      plain = p;
    }
    if (end > plain) out_.add(std::string_view(plain, static_cast<size_t>(end - plain)), piece.source);
  }

  State& state_;
  TextBuilder& out_;
  const JsonStyle& style_;
};

}  // namespace

const Str* to_json(State& state, const Value& value, const JsonStyle& style) {
  TextBuilder out(state.arena);
  JsonWriter(state, out, style).write(value, kTemplate);
  return out.finish();
}

const Str* escape_html(State& state, const Str& s) {
  state.work(s.bytes);
  TextBuilder out(state.arena);
  for (uint32_t i = 0; i < s.count; ++i) {
    const Piece& piece = s.pieces[i];
    uint32_t plain = 0;
    for (uint32_t k = 0; k <= piece.size; ++k) {
      const char c = k < piece.size ? piece.data[k] : '\0';
      const char* as = k == piece.size ? ""
                       : c == '&'      ? "&amp;"
                       : c == '<'      ? "&lt;"
                       : c == '>'      ? "&gt;"
                       : c == '"'      ? "&#34;"
                       : c == '\''     ? "&#39;"
                                       : nullptr;
      if (as == nullptr) continue;
      out.add(Piece{piece.data + plain, k - plain, piece.source});
      out.add(as, piece.source);
      plain = k + 1;
    }
  }
  return out.finish(true);
}

}  // namespace decant::jinja
