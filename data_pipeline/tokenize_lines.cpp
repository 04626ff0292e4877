#include "data_pipeline/tokenize_lines.h"

#include <optional>
#include <string>

#include "core/error.h"
#include "data_pipeline/unicode.h"

namespace decant {

namespace {

bool is_json_space(char c) { return c == ' ' || c == '\t' || c == '\r'; }

// Four hexadecimal digits at `at`.
std::optional<uint32_t> hex4(std::string_view text, size_t at) {
  if (at + 4 > text.size()) return std::nullopt;
  uint32_t value = 0;
  for (size_t i = at; i < at + 4; ++i) {
    const char c = text[i];
    uint32_t digit;
    if (c >= '0' && c <= '9')
      digit = static_cast<uint32_t>(c - '0');
    else if ((c | 32) >= 'a' && (c | 32) <= 'f')
      digit = static_cast<uint32_t>((c | 32) - 'a' + 10);
    else
      return std::nullopt;
    value = value * 16 + digit;
  }
  return value;
}

// The text of a JSON string. RFC 8259 but for lone surrogates and bytes that are not UTF-8: nlohmann's reader
// refuses both.
std::string json_string(std::string_view line, int64_t number) {
  const auto wrong = [&](const std::string& what) {
    fail("line ", number, ": expected one JSON string, found ", what);
  };
  while (!line.empty() && is_json_space(line.front())) line.remove_prefix(1);
  while (!line.empty() && is_json_space(line.back())) line.remove_suffix(1);
  if (line.empty()) wrong("an empty line");
  if (line.front() != '"') wrong("something that does not start with a quotation mark");
  std::string text;
  size_t i = 1;
  while (true) {
    if (i >= line.size()) wrong("a string without its closing quotation mark");
    const char c = line[i];
    if (c == '"') break;
    if (static_cast<unsigned char>(c) < 0x20) wrong("a control character that is not escaped");
    if (c != '\\') {
      text += c;
      ++i;
      continue;
    }
    const char e = i + 1 < line.size() ? line[i + 1] : '\0';
    i += 2;
    switch (e) {
      case '"':
      case '\\':
      case '/':
        text += e;
        break;
      case 'b':
        text += '\b';
        break;
      case 'f':
        text += '\f';
        break;
      case 'n':
        text += '\n';
        break;
      case 'r':
        text += '\r';
        break;
      case 't':
        text += '\t';
        break;
      case 'u': {
        const auto unit = hex4(line, i);
        if (!unit) wrong("\\u without four hexadecimal digits");
        i += 4;
        uint32_t c32 = *unit;
        if (c32 >= 0xD800 && c32 < 0xDC00 && i + 1 < line.size() && line[i] == '\\' && line[i + 1] == 'u') {
          const auto low = hex4(line, i + 2);
          if (low && *low >= 0xDC00 && *low < 0xE000) {
            c32 = 0x10000 + ((c32 - 0xD800) << 10) + (*low - 0xDC00);
            i += 6;
          }
        }
        if (c32 >= 0xD800 && c32 < 0xE000) c32 = 0xFFFD;
        append_utf8(text, c32);
        break;
      }
      default:
        wrong("an unknown escape");
    }
  }
  if (i + 1 != line.size()) wrong("more after the string");
  return text;
}

}  // namespace

int64_t tokenize_lines(const Tokenizer& tokenizer, SpecialMode mode, std::istream& in, std::ostream& out) {
  std::string line, row;
  std::vector<int64_t> ids;
  int64_t lost = 0;
  for (int64_t number = 1; std::getline(in, line); ++number) {
    ids.clear();
    lost += tokenizer.encode(json_string(line, number), mode, ids);
    row = "[";
    for (size_t i = 0; i < ids.size(); ++i) {
      if (i > 0) row += ", ";
      row += std::to_string(ids[i]);
    }
    out << row << "]\n";
  }
  return lost;
}

}  // namespace decant
