#include "data_pipeline/jinja/lexer.h"

#include <unicode/uchar.h>

#include <algorithm>

#include "core/error.h"
#include "data_pipeline/jinja/text.h"
#include "data_pipeline/unicode.h"

namespace decant::jinja {

namespace {

constexpr const char* kOperators[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
                                      "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};

bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool is_hex(char c) { return is_digit(c) || ((c | 32) >= 'a' && (c | 32) <= 'f'); }

uint32_t hex_value(char c) { return static_cast<uint32_t>(is_digit(c) ? c - '0' : (c | 32) - 'a' + 10); }

// Line ends become LF, and the last one goes.
std::string normal_lines(std::string_view source) {
  std::string text;
  text.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      text += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      text += source[i];
    }
  }
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) root();
    tokens_.push_back({TokenKind::kEnd, line_, ""});
    return std::move(tokens_);
  }

 private:
  template <class... Parts>
  [[noreturn]] void wrong(const Parts&... parts) const {
    fail("line ", line_, ": ", parts...);
  }
  bool here(std::string_view what) const { return std::string_view(source_).substr(at_).starts_with(what); }
  bool there(size_t at, std::string_view what) const {
    return at <= source_.size() && std::string_view(source_).substr(at).starts_with(what);
  }
  size_t after_spaces(size_t at) const {
    while (at < source_.size()) {
      const char* p = source_.data() + at;
      if (!is_space(next_code_point(p))) break;
      at = static_cast<size_t>(p - source_.data());
    }
    return at;
  }
  void move_to(size_t to) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(at_),
                                         source_.begin() + static_cast<std::ptrdiff_t>(to), '\n'));
    line_starting_ = to > at_ ? source_[to - 1] == '\n' : line_starting_;
    at_ = to;
  }
  void push(TokenKind kind, std::string text) { tokens_.push_back({kind, line_, std::move(text)}); }

  // Where "{%", then `word`, then "%}" ends; 0 when it does not stand at `at`.
  size_t tag_end(size_t at, std::string_view word, char& sign, bool plus_end, bool trim) const {
    if (!there(at, "{%")) return 0;
    at += 2;
    sign = ' ';
    if (there(at, "-") || there(at, "+")) sign = source_[at++];
    at = after_spaces(at);
    if (!there(at, word)) return 0;
    at = after_spaces(at + word.size());
    if (there(at, "-%}")) return after_spaces(at + 3);
    if (plus_end && there(at, "+%}")) return at + 3;
    if (!there(at, "%}")) return 0;
    at += 2;
    return trim && there(at, "\n") ? at + 1 : at;
  }

  // Template data before a tag, with the white space that the tag takes away.
  void data(size_t end, char sign, bool variable) {
    std::string_view text = std::string_view(source_).substr(at_, end - at_);
    if (sign == '-') {
      text = text.substr(0, strip_range(text, false, true).end);
    } else if (sign != '+' && !variable) {
      const size_t line = text.rfind('\n') + 1;  // npos + 1 is 0
      if ((line > 0 || line_starting_) &&
          strip_range(text.substr(line), true, false).begin == text.size() - line)
        text = text.substr(0, line);
    }
    if (!text.empty()) push(TokenKind::kData, std::string(text));
    move_to(end);
  }

  void root() {
    size_t at = at_;
    while (true) {
      at = source_.find('{', at);
      if (at == std::string::npos) {
        push(TokenKind::kData, source_.substr(at_));
        at_ = source_.size();
        return;
      }
      if (there(at + 1, "%") || there(at + 1, "{") || there(at + 1, "#")) break;
      ++at;
    }
    char sign = ' ';
    if (const size_t raw = tag_end(at, "raw", sign, false, false)) {
      data(at, sign, false);
      move_to(raw);
      raw_block();
      return;
    }
    const char kind = source_[at + 1];
    if (there(at + 2, "-") || there(at + 2, "+")) sign = source_[at + 2];
    data(at, sign, kind == '{');
    if (kind == '#') {
      comment(at + 2 + (sign != ' '));
      return;
    }
    push(kind == '%' ? TokenKind::kBlockBegin : TokenKind::kVariableBegin, "");
    move_to(at + 2 + (sign != ' '));
    code(kind == '%');
  }

  void raw_block() {
    if (at_ == source_.size()) return;  // as jinja2
    for (size_t at = at_; (at = source_.find("{%", at)) != std::string::npos; ++at) {
      char sign = ' ';
      const size_t end = tag_end(at, "endraw", sign, true, true);
      if (end == 0) continue;
      data(at, sign, false);
      move_to(end);
      return;
    }
    wrong("missing end of raw directive");
  }

  void comment(size_t from) {
    if (from == source_.size()) return move_to(from);  // as jinja2
    const size_t close = source_.find("#}", from);
    if (close == std::string::npos) wrong("missing end of comment tag");
    size_t end = close + 2;
    const char before = close > from ? source_[close - 1] : ' ';
    if (before == '-')
      end = after_spaces(end);
    else if (before != '+' && there(end, "\n"))
      ++end;
    move_to(end);
  }

  // Tokens up to "%}" or "}}".
  void code(bool block) {
    const std::string_view close = block ? "%}" : "}}";
    std::string open;  // brackets that wait for their partner
    const int begin_line = line_;
    while (true) {
      if (at_ >= source_.size()) {
        line_ = begin_line;
        wrong("unexpected end of template inside a tag");
      }
      if (open.empty()) {
        size_t end = 0;
        if (here("-") && there(at_ + 1, close))
          end = after_spaces(at_ + 3);
        else if (block && here("+%}"))
          end = at_ + 3;
        else if (here(close))
          end = at_ + 2 + (block && there(at_ + 2, "\n"));
        if (end != 0) {
          push(block ? TokenKind::kBlockEnd : TokenKind::kVariableEnd, "");
          move_to(end);
          return;
        }
      }
      const size_t next = after_spaces(at_);
      if (next != at_)
        move_to(next);
      else if (!number() && !name() && !string_literal())
        operator_token(open);
    }
  }

  // digits with single '_' between them
  size_t digits(size_t at) const {
    if (at >= source_.size() || !is_digit(source_[at])) return at;
    while (at < source_.size() && (is_digit(source_[at]) || (source_[at] == '_' && at + 1 < source_.size() &&
                                                             is_digit(source_[at + 1]))))
      ++at;
    return at;
  }

  void push_number(TokenKind kind, size_t end) {
    std::string text = source_.substr(at_, end - at_);
    std::erase(text, '_');
    push(kind, std::move(text));
    move_to(end);
  }

  bool number() {
    if (!is_digit(source_[at_])) return false;
    const size_t whole = digits(at_);
    size_t end = whole;
    const bool after_dot = at_ > 0 && source_[at_ - 1] == '.';
    if (!after_dot) {
      if (there(whole, ".") && digits(whole + 1) > whole + 1) end = digits(whole + 1);
      if (end < source_.size() && (source_[end] | 32) == 'e') {
        const size_t sign = end + 1 + (there(end + 1, "+") || there(end + 1, "-") ? 1 : 0);
        if (digits(sign) > sign) end = digits(sign);
      }
      if (end != whole) {
        push_number(TokenKind::kFloat, end);
        return true;
      }
    }
    if (source_[at_] == '0' && whole - at_ >= 1 && at_ + 2 < source_.size() + 0) {
      const char base = static_cast<char>(source_[at_ + 1] | 32);
      const auto belongs = [&](char c) {
        return base == 'b' ? c == '0' || c == '1' : base == 'o' ? c >= '0' && c <= '7' : is_hex(c);
      };
      if (base == 'b' || base == 'o' || base == 'x') {
        size_t to = at_ + 2;
        while (to < source_.size() &&
               (belongs(source_[to]) ||
                (source_[to] == '_' && to + 1 < source_.size() && belongs(source_[to + 1]))))
          ++to;
        if (to > at_ + 2) {
          push_number(TokenKind::kInteger, to);
          return true;
        }
      }
    }
    size_t to = whole;
    if (source_[at_] == '0') {  // 0123 is 0 and 123
      to = at_;
      while (to < whole && (source_[to] == '0' || source_[to] == '_')) ++to;
    }
    push_number(TokenKind::kInteger, to);
    return true;
  }

  bool name() {
    const auto belongs = [](uint32_t c, bool first) {
      if (c < 0x80)
        return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
               (!first && c >= '0' && c <= '9');
      return (first ? u_isIDStart(static_cast<UChar32>(c)) : u_isIDPart(static_cast<UChar32>(c))) != 0;
    };
    const char *p = source_.data() + at_, *end = source_.data() + source_.size();
    while (p < end) {
      const char* q = p;
      if (!belongs(next_code_point(q), p == source_.data() + at_)) break;
      p = q;
    }
    const auto stop = static_cast<size_t>(p - source_.data());
    if (stop == at_) return false;
    push(TokenKind::kName, source_.substr(at_, stop - at_));
    move_to(stop);
    return true;
  }

  bool string_literal() {
    const char quote = source_[at_];
    if (quote != '"' && quote != '\'') return false;
    size_t end = at_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) wrong("unexpected char '", quote, "': the string does not end");
    push(TokenKind::kString, unescaped(std::string_view(source_).substr(at_ + 1, end - at_ - 1)));
    move_to(end + 1);
    return true;
  }

  // Python's unicode-escape.
  std::string unescaped(std::string_view text) const {
    std::string out;
    for (size_t i = 0; i < text.size();) {
      if (text[i] != '\\') {
        out += text[i++];
        continue;
      }
      ++i;
      if (i >= text.size()) wrong("\\ at end of string");
      const char e = text[i];
      if (static_cast<unsigned char>(e) >=
          0x80) {  // as Python sees it: the character was \xe9, \u1234 or \U... first
        const char* p = text.data() + i;
        const uint32_t c = next_code_point(p);
        char hex[16];
        std::snprintf(hex, sizeof hex, c < 0x100 ? "x%02x" : c < 0x10000 ? "u%04x" : "U%08x", c);
        out += '\\';
        out += hex;
        i = static_cast<size_t>(p - text.data());
        continue;
      }
      ++i;
      const auto code = [&](size_t count, const char* what) {
        uint32_t c = 0;
        for (size_t k = 0; k < count; ++k, ++i) {
          if (i >= text.size() || !is_hex(text[i])) wrong("truncated ", what, " escape");
          c = c * 16 + hex_value(text[i]);
        }
        if (c > 0x10FFFF) wrong("illegal Unicode character");
        append_utf8(out, c >= 0xD800 && c < 0xE000 ? 0xFFFD : c);
      };
      switch (e) {
        case '\n':
          break;
        case '\\':
        case '\'':
        case '"':
          out += e;
          break;
        case 'a':
          out += '\a';
          break;
        case 'b':
          out += '\b';
          break;
        case 'f':
          out += '\f';
          break;
        case 'n':
          out += '\n';
          break;
        case 'r':
          out += '\r';
          break;
        case 't':
          out += '\t';
          break;
        case 'v':
          out += '\v';
          break;
        case 'x':
          code(2, "\\xXX");
          break;
        case 'u':
          code(4, "\\uXXXX");
          break;
        case 'U':
          code(8, "\\UXXXXXXXX");
          break;
        case 'N': {
          const size_t close = text.find('}', i);
          if (i >= text.size() || text[i] != '{' || close == std::string_view::npos)
            wrong("malformed \\N character escape");
          UErrorCode status = U_ZERO_ERROR;
          const UChar32 c = u_charFromName(U_EXTENDED_CHAR_NAME,
                                           std::string(text.substr(i + 1, close - i - 1)).c_str(), &status);
          if (U_FAILURE(status)) wrong("unknown Unicode character name");
          append_utf8(out, static_cast<uint32_t>(c));
          i = close + 1;
          break;
        }
        default:
          if (e >= '0' && e <= '7') {
            uint32_t c = static_cast<uint32_t>(e - '0');
            for (int k = 0; k < 2 && i < text.size() && text[i] >= '0' && text[i] <= '7'; ++k)
              c = c * 8 + static_cast<uint32_t>(text[i++] - '0');
            append_utf8(out, c);
          } else {
            out += '\\';
            out += e;
          }
      }
    }
    return out;
  }

  void operator_token(std::string& open) {
    for (const char* op : kOperators) {
      if (!here(op)) continue;
      const char c = op[0];
      if (c == '(' || c == '[' || c == '{') {
        open += c == '(' ? ')' : c == '[' ? ']' : '}';
        if (open.size() > 200) wrong("brackets are nested too deeply");
      } else if (c == ')' || c == ']' || c == '}') {
        if (open.empty()) wrong("unexpected '", c, "'");
        if (open.back() != c) wrong("unexpected '", c, "', expected '", open.back(), "'");
        open.pop_back();
      }
      push(TokenKind::kOperator, op);
      move_to(at_ + std::string_view(op).size());
      return;
    }
    wrong("unexpected character in a tag at byte ", at_);
  }

  std::string source_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize_template(std::string_view source) { return Lexer(normal_lines(source)).run(); }

}  // namespace decant::jinja
