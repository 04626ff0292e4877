// Python's two ways of formatting: "%s" % value and "{}".format(value).
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "data_pipeline/jinja/operators.h"
#include "data_pipeline/jinja/show.h"
#include "data_pipeline/unicode.h"

namespace decant::jinja {

namespace {

constexpr int64_t kMaxWidth = 1 << 24;

struct Spec {
  std::string fill = " ";
  char align = 0, sign = '-', grouping = 0, type = 0;
  bool alternate = false;
  int64_t width = 0, precision = -1;
};

int64_t number_at(std::string_view text, size_t& at) {
  int64_t n = 0;
  while (at < text.size() && text[at] >= '0' && text[at] <= '9') {
    n = n * 10 + (text[at++] - '0');
    if (n > kMaxWidth) fail("Too many decimal digits in format string");
  }
  return n;
}

Spec parse_spec(std::string_view text) {
  Spec spec;
  size_t at = 0;
  const auto is_align = [](char c) { return c == '<' || c == '>' || c == '=' || c == '^'; };
  const size_t first = offset_of(text, 1);
  if (first < text.size() && is_align(text[first])) {
    spec.fill = text.substr(0, first);
    spec.align = text[first];
    at = first + 1;
  } else if (!text.empty() && is_align(text[0])) {
    spec.align = text[0];
    at = 1;
  }
  const auto here = [&](char c) { return at < text.size() && text[at] == c; };
  if (here('+') || here('-') || here(' ')) spec.sign = text[at++];
  if (here('z')) ++at;
  if (here('#')) spec.alternate = true, ++at;
  if (here('0')) {
    if (spec.align == 0) spec.align = '=', spec.fill = "0";
    ++at;
  }
  spec.width = number_at(text, at);
  if (here(',') || here('_')) spec.grouping = text[at++];
  if (here('.')) {
    const size_t digits = ++at;
    spec.precision = number_at(text, at);
    if (at == digits) fail("Format specifier missing precision");
  }
  if (at < text.size()) spec.type = text[at++];
  if (at < text.size()) fail("Invalid format specifier");
  return spec;
}

std::string grouped(std::string digits, char separator, size_t every) {
  if (separator == 0) return digits;
  std::string out;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % every == 0) out += separator;
    out += digits[i];
  }
  return out;
}

// Digits and point of a finite magnitude.
std::string fixed_text(double d, char type, int64_t precision, bool alternate) {
  if (precision > 5000) fail("precision too big");
  const std::string format = std::string("%") + (alternate ? "#" : "") + ".*" + type;
  char small[512];
  const int n = std::snprintf(small, sizeof small, format.c_str(), static_cast<int>(precision), d);
  if (n < static_cast<int>(sizeof small)) return small;
  std::string large(static_cast<size_t>(n) + 1, '\0');
  std::snprintf(large.data(), large.size(), format.c_str(), static_cast<int>(precision), d);
  large.pop_back();
  return large;
}

std::string float_digits(double magnitude, const Spec& spec) {
  char type = spec.type;
  if (std::isnan(magnitude) || std::isinf(magnitude)) {
    const bool upper = type == 'F' || type == 'E' || type == 'G';
    return std::string(std::isnan(magnitude) ? (upper ? "NAN" : "nan") : (upper ? "INF" : "inf")) +
           (type == '%' ? "%" : "");
  }
  std::string tail;
  if (type == '%') {
    magnitude *= 100;
    type = 'f';
    tail = "%";
  }
  if (type == 'n') type = 'g';
  std::string text;
  if (type == 0) {
    if (spec.precision < 0) {
      text = float_repr(magnitude);
    } else {
      text = fixed_text(magnitude, 'g', std::max<int64_t>(spec.precision, 1), spec.alternate);
      if (text.find_first_of(".e") == text.npos) {
        // Like 'g', but with a digit behind the point, and exponents one earlier.
        if (static_cast<int64_t>(text.size()) >= std::max<int64_t>(spec.precision, 1) + 0 &&
            spec.precision > 0 && static_cast<int64_t>(text.size()) == spec.precision) {
          text = fixed_text(magnitude, 'e', spec.precision - 1, false);
          const size_t e = text.find('e');
          std::string digits = text.substr(0, e);
          if (digits.find('.') != digits.npos) {
            while (digits.ends_with('0')) digits.pop_back();
            if (digits.ends_with('.')) digits.pop_back();
          }
          text = digits + text.substr(e);
        } else {
          text += ".0";
        }
      }
    }
  } else {
    text = fixed_text(magnitude, type,
                      spec.precision < 0           ? 6
                      : type == 'g' || type == 'G' ? std::max<int64_t>(spec.precision, 1)
                                                   : spec.precision,
                      spec.alternate);
  }
  const size_t whole = std::min(text.find_first_not_of("0123456789"), text.size());
  return grouped(text.substr(0, whole), spec.grouping, 3) + text.substr(whole) + tail;
}

std::string whole_digits(uint64_t magnitude, const Spec& spec, std::string& prefix) {
  char buffer[80];
  const char type = spec.type == 'n' || spec.type == 0 ? 'd' : spec.type;
  const int base = type == 'b' ? 2 : type == 'o' ? 8 : type == 'x' || type == 'X' ? 16 : 10;
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, magnitude, base).ptr;
  std::string digits(buffer, static_cast<size_t>(end - buffer));
  if (type == 'X')
    for (char& c : digits) c = static_cast<char>(c >= 'a' ? c - 32 : c);
  if (spec.alternate && base != 10) prefix = std::string("0") + type;
  return grouped(digits, spec.grouping, base == 10 ? 3 : 4);
}

void pad_number(TextBuilder& out, const Spec& spec, const std::string& sign, std::string digits,
                Source source) {
  auto missing_chars = spec.width - static_cast<int64_t>(sign.size() + digits.size());
  const char align = spec.align == 0 ? '>' : spec.align;
  if (align == '=' && spec.fill == "0" && spec.grouping != 0 && missing_chars > 0) {
    // Zeros are grouped too.
    std::string whole = digits.substr(0, std::min(digits.find_first_of(".e%"), digits.size()));
    const std::string rest = digits.substr(whole.size());
    std::erase(whole, spec.grouping);
    const size_t every = spec.type == 'x' || spec.type == 'X' || spec.type == 'b' || spec.type == 'o' ? 4 : 3;
    while (static_cast<int64_t>(sign.size() + grouped(whole, spec.grouping, every).size() + rest.size()) <
           spec.width)
      whole = "0" + whole;
    std::string shown = grouped(whole, spec.grouping, every);
    out.add(sign + shown + rest, source);
    return;
  }
  const auto fill = [&](int64_t n) {
    std::string padding;
    for (int64_t i = 0; i < n; ++i) padding += spec.fill;
    out.add(padding, kTemplate);
  };
  missing_chars = std::max<int64_t>(missing_chars, 0);
  if (align == '>') fill(missing_chars);
  if (align == '^') fill(missing_chars / 2);
  out.add(sign, source);
  if (align == '=') fill(missing_chars);
  out.add(digits, source);
  if (align == '<') fill(missing_chars);
  if (align == '^') fill(missing_chars - missing_chars / 2);
}

void format_number(State& state, TextBuilder& out, const Value& v, Spec spec) {
  state.work(static_cast<uint64_t>(spec.width));
  const bool as_float =
      v.is(Tag::kFloat) || std::string_view("eEfFgG%").find(spec.type) != std::string_view::npos;
  if (as_float && spec.type != 0 && std::string_view("eEfFgGn%").find(spec.type) == std::string_view::npos)
    fail("Unknown format code '", spec.type, "' for object of type 'float'");
  if (!as_float && spec.type != 0 && std::string_view("bcdoxXn").find(spec.type) == std::string_view::npos)
    fail("Unknown format code '", spec.type, "' for object of type 'int'");
  bool minus = false;
  std::string digits, prefix;
  if (as_float && (v.is(Tag::kFloat) || spec.type != 0)) {
    const double d = v.is(Tag::kFloat) ? v.real : static_cast<double>(v.integer);
    minus = std::signbit(d) && !std::isnan(d);
    digits = float_digits(std::fabs(d), spec);
  } else if (spec.type == 'c') {
    if (v.integer < 0 || v.integer > 0x10FFFF) fail("%c arg not in range(0x110000)");
    append_utf8(digits, static_cast<uint32_t>(v.integer));
  } else {
    if (spec.precision >= 0) fail("Precision not allowed in integer format specifier");
    minus = v.integer < 0;
    const auto magnitude = minus ? 0 - static_cast<uint64_t>(v.integer) : static_cast<uint64_t>(v.integer);
    digits = whole_digits(magnitude, spec, prefix);
  }
  const std::string sign = (minus ? "-" : spec.sign == '+' ? "+" : spec.sign == ' ' ? " " : "") + prefix;
  pad_number(out, spec, sign, digits, v.source);
}

void format_text(State& state, TextBuilder& out, const Str& s, const Spec& spec) {
  if (spec.type != 0 && spec.type != 's')
    fail("Unknown format code '", spec.type, "' for object of type 'str'");
  if (spec.align == '=') fail("'=' alignment not allowed in string format specifier");
  state.work(static_cast<uint64_t>(spec.width) + s.bytes);
  const std::string_view all = flat(state.arena, s);
  const size_t end = spec.precision >= 0 ? offset_of(all, spec.precision) : all.size();
  const int64_t missing_chars = std::max<int64_t>(spec.width - count_chars(all.substr(0, end)), 0);
  const auto fill = [&](int64_t n) {
    std::string padding;
    for (int64_t i = 0; i < n; ++i) padding += spec.fill;
    out.add(padding, kTemplate);
  };
  if (spec.align == '>') fill(missing_chars);
  if (spec.align == '^') fill(missing_chars / 2);
  out.add(s, 0, end);
  if (spec.align == '^') fill(missing_chars - missing_chars / 2);
  if (spec.align == '<' || spec.align == 0) fill(missing_chars);
}

void format_value(State& state, TextBuilder& out, const Value& v, std::string_view spec_text) {
  if (v.is(Tag::kUndefined) && spec_text.empty()) return;
  if (spec_text.empty()) {
    show(state, out, v, false);
    return;
  }
  Spec spec = parse_spec(spec_text);
  if (v.is(Tag::kInt) || v.is(Tag::kBool) || v.is(Tag::kFloat)) {
    format_number(state, out, v, spec);
  } else if (v.is_text()) {
    if (spec.align == '=' && spec.fill == "0") spec.align = '<';
    format_text(state, out, *v.text, spec);
  } else {
    fail("unsupported format string passed to ", type_name(v), ".__format__");
  }
}

// repr with everything beyond ASCII escaped.
void show_ascii(State& state, TextBuilder& out, const Value& v) {
  const Str* shown = repr(state, v);
  for (uint32_t i = 0; i < shown->count; ++i) {
    const Piece& piece = shown->pieces[i];
    for (const char *p = piece.data, *end = p + piece.size; p < end;) {
      const uint32_t c = next_code_point(p);
      char escape[16];
      std::snprintf(escape, sizeof escape,
                    c < 0x80      ? "%c"
                    : c < 0x100   ? "\\x%02x"
                    : c < 0x10000 ? "\\u%04x"
                                  : "\\U%08x",
                    c);
      out.add(escape, piece.source);
    }
  }
}

class BraceFormatter {
 public:
  BraceFormatter(State& state, const Str& format, const Arguments& arguments)
      : state_(state), format_(format), all_(flat(state.arena, format)), arguments_(arguments) {}

  void run(TextBuilder& out, std::string_view text, int depth) {
    if (depth < 0) fail("Max string recursion exceeded");
    size_t at = 0;
    while (at < text.size()) {
      state_.step();
      const size_t brace = std::min(text.find_first_of("{}", at), text.size());
      if (brace > at) literal(out, text.substr(at, brace - at));
      if (brace == text.size()) return;
      if (brace + 1 < text.size() && text[brace + 1] == text[brace]) {
        literal(out, text.substr(brace, 1));
        at = brace + 2;
        continue;
      }
      if (text[brace] == '}') fail("Single '}' encountered in format string");
      size_t end = brace + 1;
      for (int open = 1; end < text.size(); ++end) {
        if (text[end] == '{') ++open;
        if (text[end] == '}' && --open == 0) break;
      }
      if (end >= text.size())
        fail(brace + 1 >= text.size() ? "Single '{' encountered in format string"
                                      : "expected '}' before end of string");
      field(out, text.substr(brace + 1, end - brace - 1), depth);
      at = end + 1;
    }
  }

 private:
  void literal(TextBuilder& out, std::string_view part) {
    const bool inside = part.data() >= all_.data() && part.data() + part.size() <= all_.data() + all_.size();
    if (!inside) return out.add(part, kTemplate);
    const auto begin = static_cast<size_t>(part.data() - all_.data());
    out.add(format_, begin, begin + part.size());
  }

  void field(TextBuilder& out, std::string_view field, int depth) {
    size_t end = 0;
    for (bool bracket = false; end < field.size(); ++end) {
      if (field[end] == '[') bracket = true;
      if (field[end] == ']') bracket = false;
      if (!bracket && (field[end] == '!' || field[end] == ':')) break;
    }
    const std::string_view name = field.substr(0, end);
    char conversion = 0;
    std::string_view rest = field.substr(end);
    if (rest.starts_with('!')) {
      if (rest.size() < 2) fail("end of string while looking for conversion specifier");
      conversion = rest[1];
      rest.remove_prefix(2);
      if (!rest.empty() && rest[0] != ':') fail("expected ':' after conversion specifier");
    }
    if (!rest.empty()) rest.remove_prefix(1);
    Value v = value(name);
    TextBuilder spec(state_.arena);
    run(spec, rest, depth - 1);
    const std::string_view spec_text = flat(state_.arena, *spec.finish());
    if (conversion != 0) {
      TextBuilder converted(state_.arena);
      if (conversion == 'r')
        show(state_, converted, v, true);
      else if (conversion == 's')
        show(state_, converted, v, false);
      else if (conversion == 'a')
        show_ascii(state_, converted, v);
      else
        fail("Unknown conversion specifier ", conversion);
      v = jinja::text(converted.finish());
    }
    if (format_.markup) {
      TextBuilder plain(state_.arena);
      format_value(state_, plain, v, spec_text);
      const Str* s = plain.finish();
      out.add(v.is_text() && v.text->markup ? *s : *escape_html(state_, *s));
    } else {
      format_value(state_, out, v, spec_text);
    }
  }

  Value value(std::string_view name) {
    const size_t stop = std::min(name.find_first_of(".["), name.size());
    const std::string_view first = name.substr(0, stop);
    Value v;
    const bool digits = !first.empty() && first.find_first_not_of("0123456789") == first.npos;
    if (first.empty() || digits) {
      size_t at = 0;
      if (digits ? automatic_ == 1 : automatic_ == 2)
        fail("cannot switch between manual field specification and automatic field numbering");
      automatic_ = digits ? 2 : 1;
      const int64_t index = digits ? number_at(first, at) : next_++;
      if (index >= arguments_.count)
        fail("Replacement index ", index, " out of range for positional args tuple");
      v = arguments_.values[index];
    } else {
      bool found = false;
      for (uint32_t k = 0; k < arguments_.num_keywords && !found; ++k)
        if (same_text(*arguments_.keywords[k].name, first)) v = arguments_.keywords[k].value, found = true;
      if (!found) fail("str.format: no argument of this name was given");
    }
    for (size_t at = stop; at < name.size();) {
      if (name[at] == '.') {
        const size_t end = std::min(name.find_first_of(".[", at + 1), name.size());
        if (end == at + 1) fail("Empty attribute in format string");
        v = attribute(state_, v, *make_text(state_.arena, name.substr(at + 1, end - at - 1)), nullptr);
        at = end;
      } else {
        const size_t end = name.find(']', at);
        if (end == name.npos) fail("Missing ']' in format string");
        const std::string_view key = name.substr(at + 1, end - at - 1);
        if (key.empty()) fail("Empty attribute in format string");
        size_t zero = 0;
        const bool index = key.find_first_not_of("0123456789") == key.npos;
        v = item(state_, v, index ? integer(number_at(key, zero)) : text(make_text(state_.arena, key)));
        at = end + 1;
        if (at < name.size() && name[at] != '.' && name[at] != '[')
          fail("Only '.' or '[' may follow ']' in format field specifier");
      }
    }
    return v;
  }

  State& state_;
  const Str& format_;
  std::string_view all_;
  const Arguments& arguments_;
  int64_t next_ = 0;
  int automatic_ = 0;  // 0: not known yet, 1: {}, 2: {0}
};

}  // namespace

const Str* format_braces(State& state, const Str& format, const Arguments& arguments) {
  TextBuilder out(state.arena);
  BraceFormatter formatter(state, format, arguments);
  formatter.run(out, flat(state.arena, format), 2);
  return out.finish(format.markup);
}

namespace {

class PercentFormatter {
 public:
  PercentFormatter(State& state, const Str& format, const Value& values)
      : state_(state), format_(format), all_(flat(state.arena, format)), values_(values) {}

  const Str* run() {
    TextBuilder out(state_.arena);
    size_t at = 0;
    while (at < all_.size()) {
      state_.step();
      const size_t percent = std::min(all_.find('%', at), all_.size());
      if (percent > at) out.add(format_, at, percent);
      if (percent == all_.size()) break;
      at = field(out, percent + 1);
    }
    const bool all_used = values_.is(Tag::kTuple) ? next_ >= values_.list->count
                                                  : used_ || values_.is(Tag::kDict) || is_mapping_like();
    if (!all_used) fail("not all arguments converted during string formatting");
    return out.finish(format_.markup);
  }

 private:
  // Python leaves unused lists, as anything that takes keys but text and tuples, in peace.
  bool is_mapping_like() const {
    return values_.is(Tag::kList) || values_.is(Tag::kRange) || values_.is(Tag::kUndefined);
  }

  Value next_value() {
    if (values_.is(Tag::kTuple)) {
      if (next_ >= values_.list->count) fail("not enough arguments for format string");
      return values_.list->items[next_++];
    }
    if (used_) fail("not enough arguments for format string");
    used_ = true;
    return values_;
  }

  size_t field(TextBuilder& out, size_t at) {
    const auto here = [&](char c) { return at < all_.size() && all_[at] == c; };
    if (here('%')) {
      out.add(format_, at, at + 1);
      return at + 1;
    }
    bool has_key = false;
    Value v;
    if (here('(')) {
      const size_t begin = ++at;
      for (int open = 1; at < all_.size(); ++at) {
        if (all_[at] == '(') ++open;
        if (all_[at] == ')' && --open == 0) break;
      }
      if (at >= all_.size()) fail("incomplete format key");
      if (!values_.is(Tag::kDict)) fail("format requires a mapping");
      const Value* found = values_.dict->find(*make_text(state_.arena, all_.substr(begin, at - begin)));
      if (found == nullptr) fail("%-format: no value of this name was given");
      v = *found;
      has_key = true;
      ++at;
    }
    Spec spec;
    bool zero = false;
    for (; at < all_.size(); ++at) {
      const char c = all_[at];
      if (c == '-')
        spec.align = '<';
      else if (c == '+' || c == ' ')
        spec.sign = c == '+' || spec.sign == '+' ? '+' : ' ';
      else if (c == '0')
        zero = true;
      else if (c == '#')
        spec.alternate = true;
      else
        break;
    }
    const auto star_or_number = [&]() -> int64_t {
      if (!here('*')) return number_at(all_, at);
      ++at;
      const auto n = as_index(next_value());
      if (!n) fail("* wants int");
      if (std::abs(*n) > kMaxWidth) fail("width too big");
      return *n;
    };
    spec.width = star_or_number();
    if (spec.width < 0) spec.align = '<', spec.width = -spec.width;
    if (here('.')) {
      ++at;
      spec.precision = std::max<int64_t>(star_or_number(), 0);
    }
    while (here('l') || here('h') || here('L')) ++at;
    if (at >= all_.size()) fail("incomplete format");
    const char type = all_[at++];
    if (type == '%') {
      out.add(format_, at - 1, at);
      return at;
    }
    if (!has_key) v = next_value();
    if (spec.align == 0)
      spec.align = zero && std::string_view("srac").find(type) == std::string_view::npos ? '=' : '>';
    if (spec.align == '=') spec.fill = "0";
    convert(out, v, type, spec);
    return at;
  }

  void convert(TextBuilder& out, const Value& v, char type, Spec spec) {
    switch (type) {
      case 's':
      case 'r':
      case 'a': {
        TextBuilder shown(state_.arena);
        if (type == 'a')
          show_ascii(state_, shown, v);
        else
          show(state_, shown, v, type == 'r');
        const Str* s = shown.finish();
        if (format_.markup && !(v.is_text() && v.text->markup)) s = escape_html(state_, *s);
        format_text(state_, out, *s, spec);
        return;
      }
      case 'c': {
        if (v.is_text() && length(*v.text) == 1) return format_text(state_, out, *v.text, spec);
        if (!v.is(Tag::kInt) && !v.is(Tag::kBool)) fail("%c requires int or char");
        if (v.integer < 0 || v.integer > 0x10FFFF) fail("%c arg not in range(0x110000)");
        std::string c;
        append_utf8(c, static_cast<uint32_t>(v.integer));
        return format_text(state_, out, *copy_text(state_.arena, c, v.source), spec);
      }
      case 'd':
      case 'i':
      case 'u':
      case 'x':
      case 'X':
      case 'o': {
        Value whole = v;
        const bool decimal = type == 'd' || type == 'i' || type == 'u';
        if (v.is(Tag::kFloat) && decimal) {
          if (!(std::fabs(v.real) < 9.2e18)) fail("cannot convert float to a 64-bit integer");
          whole = integer(static_cast<int64_t>(v.real), v.source);
        }
        if (v.is(Tag::kUndefined)) fail("%", type, " format: a real number is required, not Undefined");
        if (!whole.is(Tag::kInt) && !whole.is(Tag::kBool))
          fail("%", type, " format: ", decimal ? "a real number" : "an integer", " is required, not ",
               type_name(v));
        spec.type = decimal ? 'd' : type;
        if (spec.precision >= 0) {  // at least so many digits
          Spec plain = spec;
          std::string prefix;
          const bool minus = whole.integer < 0;
          std::string digits = whole_digits(
              minus ? 0 - static_cast<uint64_t>(whole.integer) : static_cast<uint64_t>(whole.integer), plain,
              prefix);
          while (static_cast<int64_t>(digits.size()) < spec.precision) digits = "0" + digits;
          pad_number(out, spec,
                     (minus              ? "-"
                      : spec.sign == '-' ? ""
                                         : std::string(1, spec.sign)) +
                         prefix,
                     digits, v.source);
          return;
        }
        return format_number(state_, out, whole, spec);
      }
      case 'e':
      case 'E':
      case 'f':
      case 'F':
      case 'g':
      case 'G':
        if (!v.is(Tag::kInt) && !v.is(Tag::kBool) && !v.is(Tag::kFloat))
          fail("must be real number, not ", type_name(v));
        spec.type = type;
        return format_number(state_, out, v, spec);
      default:
        fail("unsupported format character");
    }
  }

  State& state_;
  const Str& format_;
  std::string_view all_;
  const Value& values_;
  uint32_t next_ = 0;
  bool used_ = false;
};

}  // namespace

const Str* format_percent(State& state, const Str& format, const Value& values) {
  return PercentFormatter(state, format, values).run();
}

}  // namespace decant::jinja
