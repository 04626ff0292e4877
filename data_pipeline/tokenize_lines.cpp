#include "data_pipeline/tokenize_lines.h"

#include <emmintrin.h>

#include <algorithm>
#include <bit>
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

// Bytes before the first that ends a JSON string, is an escape or must be one.
size_t plain_length(std::string_view text) {
  const char *p = text.data(), *end = p + text.size();
  const auto set = [](char c) { return _mm_set1_epi8(c); };
  for (; end - p >= 16; p += 16) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    const __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(bytes, set(0x1F)), bytes);
    const __m128i special = _mm_or_si128(_mm_cmpeq_epi8(bytes, set('"')), _mm_cmpeq_epi8(bytes, set('\\')));
    if (const int found = _mm_movemask_epi8(_mm_or_si128(control, special)))
      return static_cast<size_t>(p - text.data()) +
             static_cast<size_t>(std::countr_zero(static_cast<unsigned>(found)));
  }
  while (p != end && static_cast<unsigned char>(*p) >= 0x20 && *p != '"' && *p != '\\') ++p;
  return static_cast<size_t>(p - text.data());
}

// The text of a JSON string. RFC 8259 but for lone surrogates and bytes that are not UTF-8: nlohmann's reader
// refuses both.
void json_string(std::string_view line, int64_t number, std::string& text) {
  const auto wrong = [&](const std::string& what) {
    fail("line ", number, ": expected one JSON string, found ", what);
  };
  while (!line.empty() && is_json_space(line.front())) line.remove_prefix(1);
  while (!line.empty() && is_json_space(line.back())) line.remove_suffix(1);
  if (line.empty()) wrong("an empty line");
  if (line.front() != '"') wrong("something that does not start with a quotation mark");
  text.clear();
  size_t i = 1;
  while (true) {
    const size_t plain = plain_length(line.substr(std::min(i, line.size())));
    text.append(line, std::min(i, line.size()), plain);
    i += plain;
    if (i >= line.size()) wrong("a string without its closing quotation mark");
    const char c = line[i];
    if (c == '"') break;
    if (static_cast<unsigned char>(c) < 0x20) wrong("a control character that is not escaped");
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
}

// The ids of a JSON array.
void json_ids(std::string_view line, int64_t number, int64_t end_id, std::vector<int64_t>& ids) {
  const auto wrong = [&](const std::string& what) {
    fail("line ", number, ": expected one JSON array of ids, found ", what);
  };
  size_t i = 0;
  const auto skip = [&] {
    while (i < line.size() && is_json_space(line[i])) ++i;
  };
  const auto take = [&](char c) {
    skip();
    const bool there = i < line.size() && line[i] == c;
    i += there;
    return there;
  };
  ids.clear();
  if (!take('[')) wrong(i >= line.size() ? "an empty line" : "something that does not start with a bracket");
  if (!take(']')) {
    do {
      skip();
      const size_t start = i;
      int64_t id = 0;
      while (i < line.size() && line[i] >= '0' && line[i] <= '9' && i - start < 10)
        id = id * 10 + (line[i++] - '0');
      if (i == start || (line[start] == '0' && i - start > 1)) wrong("an entry that is not a token id");
      if (id >= end_id) fail("line ", number, ": there is no token ", id, "; ids go from 0 to ", end_id - 1);
      ids.push_back(id);
    } while (take(','));
    if (!take(']')) wrong("an entry that is not a token id, or no closing bracket");
  }
  skip();
  if (i != line.size()) wrong("more after the array");
}

// The lines of a stream without their ends, read as they come. A view is good until the next call.
class Lines {
 public:
  explicit Lines(std::istream& in) : in_(*in.rdbuf()) {}

  bool next(std::string_view& line) {
    size_t searched = begin_;
    while (true) {
      if (const size_t end = buffer_.find('\n', searched); end != std::string::npos) {
        line = std::string_view(buffer_).substr(begin_, end - begin_);
        begin_ = end + 1;
        ++number_;
        return true;
      }
      searched = buffer_.size() - begin_;
      buffer_.erase(0, begin_);
      begin_ = 0;
      check(buffer_.size() <= kLongestLine, "line ", number_ + 1, ": longer than ", kLongestLine, " bytes");
      if (std::istream::traits_type::eq_int_type(in_.sgetc(), std::istream::traits_type::eof())) break;
      const auto there = static_cast<size_t>(std::max<std::streamsize>(in_.in_avail(), 1));
      const size_t old = buffer_.size();
      buffer_.resize(old + std::min(there, size_t{1} << 20));
      buffer_.resize(old + static_cast<size_t>(
                               in_.sgetn(&buffer_[old], static_cast<std::streamsize>(buffer_.size() - old))));
    }
    line = buffer_;
    begin_ = buffer_.size();
    number_ += !line.empty();
    return !line.empty();
  }
  int64_t number() const { return number_; }
  // Whether next() would wait for the writer.
  bool at_end_of_buffer() { return begin_ == buffer_.size() && in_.in_avail() <= 0; }

 private:
  std::streambuf& in_;
  std::string buffer_;
  size_t begin_ = 0;
  int64_t number_ = 0;
};

// Collects what is written; a reader that waits for an answer gets it.
class Output {
 public:
  explicit Output(std::ostream& out) : out_(out) {}
  ~Output() { out_ << rows; }  // also what was answered before a bad line
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;
  std::string rows;
  void row_ends(bool reader_waits) {
    rows += '\n';
    if (!reader_waits && rows.size() < (1 << 16)) return;
    out_ << rows;
    if (reader_waits) out_.flush();
    rows.clear();
  }

 private:
  std::ostream& out_;
};

// Decimal digits of numbers below 10^8, four at a time.
class Decimal {
 public:
  Decimal() {
    for (uint32_t n = 0; n < 10000; ++n)
      for (uint32_t i = 0, rest = n; i < 4; ++i, rest /= 10)
        digits_[n * 4 + 3 - i] = static_cast<char>('0' + rest % 10);
  }
  // Writes at most 8 characters; returns their end.
  char* write(uint32_t n, char* p) const {
    const uint32_t high = n / 10000, low = n % 10000;
    const uint32_t first = high != 0 ? high : low;
    const int zeros = first < 10 ? 3 : first < 100 ? 2 : first < 1000 ? 1 : 0;
    std::copy_n(&digits_[first * 4 + static_cast<uint32_t>(zeros)], 4, p);  // the table has a tail
    p += 4 - zeros;
    if (high == 0) return p;
    std::copy_n(&digits_[low * 4], 4, p);
    return p + 4;
  }

 private:
  char digits_[40000 + 4] = {};
};

void append_ids(const std::vector<int64_t>& ids, std::string& out) {
  static const Decimal decimal;
  const size_t before = out.size();
  out.resize(before + ids.size() * 10 + 16);
  char* p = &out[before];
  *p++ = '[';
  for (size_t i = 0; i < ids.size(); ++i) {
    if (i > 0) *p++ = ',', *p++ = ' ';
    p = decimal.write(static_cast<uint32_t>(ids[i]), p);
  }
  *p++ = ']';
  out.resize(static_cast<size_t>(p - out.data()));
}

void append_json_string(std::string_view text, std::string& out) {
  static const char* hex = "0123456789abcdef";
  out += '"';
  while (true) {
    const size_t plain = plain_length(text);
    out.append(text, 0, plain);
    text.remove_prefix(plain);
    if (text.empty()) break;
    const char c = text.front();
    text.remove_prefix(1);
    const size_t named = std::string_view("\"\\\b\f\n\r\t").find(c);
    out += '\\';
    if (named != std::string_view::npos) {
      out += "\"\\bfnrt"[named];
    } else {
      out += "u00";
      out += hex[c >> 4 & 15];
      out += hex[c & 15];
    }
  }
  out += '"';
}

}  // namespace

int64_t tokenize_lines(const Tokenizer& tokenizer, SpecialMode mode, std::istream& in, std::ostream& out) {
  Lines lines(in);
  Output output(out);
  std::string_view line;
  std::string text;
  std::vector<int64_t> ids;
  int64_t lost = 0;
  while (lines.next(line)) {
    ids.clear();
    json_string(line, lines.number(), text);
    lost += tokenizer.encode(text, mode, ids);
    append_ids(ids, output.rows);
    output.row_ends(lines.at_end_of_buffer());
  }
  return lost;
}

void detokenize_lines(const Tokenizer& tokenizer, std::istream& in, std::ostream& out) {
  Lines lines(in);
  Output output(out);
  std::string_view line;
  std::vector<int64_t> ids;
  while (lines.next(line)) {
    json_ids(line, lines.number(), tokenizer.vocab_size(), ids);
    append_json_string(repair_utf8(tokenizer.decode(ids)), output.rows);
    output.row_ends(lines.at_end_of_buffer());
  }
}

}  // namespace decant
