#include "data_pipeline/json_tree.h"

#include <emmintrin.h>
#include <simdjson.h>

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <limits>

#include "core/error.h"

namespace decant {

namespace {

namespace ondemand = simdjson::ondemand;

constexpr int kMaxDepth = 256;
constexpr size_t kMaxValues = 1000000;
constexpr size_t kSmallObject = 16;

// Bytes up to the next quote or backslash; reads at most 15 bytes beyond it.
size_t plain_run(const char* at) {
  const __m128i quote = _mm_set1_epi8('"'), backslash = _mm_set1_epi8('\\');
  for (size_t done = 0;; done += 16) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at + done));
    const auto found = static_cast<uint32_t>(
        _mm_movemask_epi8(_mm_or_si128(_mm_cmpeq_epi8(bytes, quote), _mm_cmpeq_epi8(bytes, backslash))));
    if (found != 0) return done + static_cast<size_t>(std::countr_zero(found));
  }
}

constexpr std::array<int8_t, 256> kHexDigits = [] {
  std::array<int8_t, 256> digits{};
  digits.fill(-1);
  for (size_t i = 0; i < 10; ++i) digits['0' + i] = static_cast<int8_t>(i);
  for (size_t i = 0; i < 6; ++i) digits['a' + i] = digits['A' + i] = static_cast<int8_t>(10 + i);
  return digits;
}();

// Four hexadecimal digits, or a negative number.
int32_t hex4(const char* at) {
  const auto digit = [&](size_t i) { return int32_t{kHexDigits[static_cast<uint8_t>(at[i])]}; };
  const int32_t bad = digit(0) | digit(1) | digit(2) | digit(3);
  return bad < 0 ? -1 : digit(0) << 12 | digit(1) << 8 | digit(2) << 4 | digit(3);
}

void append_utf8(std::string& out, int32_t c) {
  char bytes[4];
  size_t size = 0;
  const auto put = [&](int32_t byte) { bytes[size++] = static_cast<char>(byte); };
  const auto tail = [&](int shift) { put(0x80 | ((c >> shift) & 0x3f)); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xc0 | (c >> 6));
    tail(0);
  } else if (c < 0x10000) {
    put(0xe0 | (c >> 12));
    tail(6);
    tail(0);
  } else {
    put(0xf0 | (c >> 18));
    tail(12);
    tail(6);
    tail(0);
  }
  out.append(bytes, size);
}

char escaped_character(char c) {
  switch (c) {
    case '"':
    case '\\':
    case '/':
      return c;
    case 'b':
      return '\b';
    case 'f':
      return '\f';
    case 'n':
      return '\n';
    case 'r':
      return '\r';
    case 't':
      return '\t';
    default:
      return '\0';
  }
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// number = [ minus ] int [ frac ] [ exp ], RFC 8259 section 6.
bool is_number(std::string_view text) {
  size_t i = 0;
  const auto digits = [&] {
    const size_t first = i;
    while (i < text.size() && is_digit(text[i])) ++i;
    return i - first;
  };
  if (text.starts_with('-')) ++i;
  const bool zero = i < text.size() && text[i] == '0';
  const size_t whole = digits();
  if (whole == 0 || (zero && whole > 1)) return false;
  if (i < text.size() && text[i] == '.') {
    ++i;
    if (digits() == 0) return false;
  }
  if (i < text.size() && (text[i] == 'e' || text[i] == 'E')) {
    ++i;
    if (i < text.size() && (text[i] == '+' || text[i] == '-')) ++i;
    if (digits() == 0) return false;
  }
  return i == text.size();
}

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  return text;
}

simdjson::error_code token_of(ondemand::document& document, std::string_view& token) {
  return document.raw_json_token().get(token);
}
simdjson::error_code token_of(ondemand::value& value, std::string_view& token) {
  token = value.raw_json_token();
  return simdjson::SUCCESS;
}

JsonFault fault_of(simdjson::error_code error) {
  switch (error) {
    case simdjson::SUCCESS:
      return JsonFault::kNone;
    case simdjson::UTF8_ERROR:
      return JsonFault::kUtf8;
    case simdjson::CAPACITY:
    case simdjson::MEMALLOC:
      return JsonFault::kTooLarge;
    case simdjson::DEPTH_ERROR:
      return JsonFault::kTooDeep;
    default:
      return JsonFault::kInvalid;
  }
}

// A decimal number as digits without zeros at either end, and the power of ten that the last one has.
struct Decimal {
  std::string digits;
  int64_t exponent = 0;
  bool negative = false;
  bool operator==(const Decimal&) const = default;
};

Decimal decimal_of(std::string_view text) {
  Decimal d;
  bool fraction = false;
  size_t i = 0;
  for (; i < text.size() && text[i] != 'e' && text[i] != 'E'; ++i) {
    if (text[i] == '-') d.negative = true;
    if (text[i] == '.') fraction = true;
    if (!is_digit(text[i])) continue;
    d.digits += text[i];
    if (fraction) --d.exponent;
  }
  if (i < text.size()) {
    ++i;
    if (i < text.size() && text[i] == '+') ++i;
    int64_t exponent = 0;
    const auto [end, error] = std::from_chars(text.data() + i, text.data() + text.size(), exponent);
    d.exponent += error == std::errc() ? exponent : std::numeric_limits<int32_t>::max();
  }
  d.digits.erase(0, d.digits.find_first_not_of('0'));
  while (d.digits.ends_with('0')) {
    d.digits.pop_back();
    ++d.exponent;
  }
  if (d.digits.empty()) d.exponent = 0;
  return d;
}

Json number_json(std::string_view text, bool inexact_numbers_as_text) {
  const char *begin = text.data(), *end = begin + text.size();
  const bool whole = text.find_first_of(".eE") == std::string_view::npos;
  if (whole && text != "-0") {
    int64_t value = 0;
    if (std::from_chars(begin, end, value).ec == std::errc()) return value;
    uint64_t positive = 0;
    if (std::from_chars(begin, end, positive).ec == std::errc()) return positive;
  }
  double value = 0;
  const auto read = std::from_chars(begin, end, value);
  if (read.ec == std::errc() && std::isfinite(value)) {
    Json json = value;
    if (decimal_of(json.dump()) == decimal_of(text)) return json;
  }
  check(inexact_numbers_as_text, "a number has more digits than 64 bits hold; write it as text");
  return std::string(text);
}

}  // namespace

struct JsonTree::Parser {
  ondemand::parser parser;
};

const char* fault_text(JsonFault fault) {
  switch (fault) {
    case JsonFault::kNone:
      return "";
    case JsonFault::kUtf8:
      return "the record is not UTF-8";
    case JsonFault::kTooDeep:
      return "the JSON is nested deeper than 256 levels";
    case JsonFault::kSurrogate:
      return "the JSON has an escape of half a surrogate pair";
    case JsonFault::kDuplicateKey:
      return "a key stands twice in one object";
    case JsonFault::kTooManyValues:
      return "the record has more than a million values";
    case JsonFault::kTooLarge:
      return "the record is too large to be parsed";
    case JsonFault::kInvalid:
      break;
  }
  return "the record is not valid JSON";
}

const char* kind_name(JsonValue value) {
  if (!value) return "nothing";
  switch (value.kind()) {
    case JsonKind::kNull:
      return "null";
    case JsonKind::kFalse:
    case JsonKind::kTrue:
      return "boolean";
    case JsonKind::kNumber:
      return "number";
    case JsonKind::kString:
      return "string";
    case JsonKind::kArray:
      return "array";
    case JsonKind::kObject:
      break;
  }
  return "object";
}

JsonValue JsonValue::find(std::string_view key) const {
  if (!is(JsonKind::kObject)) return {};
  for (const JsonValue member : *this)
    if (member.key() == key) return member;
  return {};
}

JsonValue JsonValue::at(size_t position) const {
  if (!is(JsonKind::kArray) || position >= size()) return {};
  Iterator i = begin();
  while (position-- > 0) ++i;
  return *i;
}

JsonTree::JsonTree() : parser_(std::make_unique<Parser>()) {}
JsonTree::~JsonTree() = default;

// `quoted` points behind the opening quote; the closing one is there, and no control character, as simdjson's
// first stage has seen.
bool JsonTree::unescape(const char* quoted, std::string_view& text) {
  size_t run = plain_run(quoted);
  if (quoted[run] == '"') {
    text = {quoted, run};
    return true;
  }
  const size_t begin = unescaped_.size();
  for (;;) {
    unescaped_.append(quoted, run);
    quoted += run;
    if (*quoted == '"') break;
    const char c = quoted[1];
    quoted += 2;
    if (c != 'u') {
      const char plain = escaped_character(c);
      if (plain == '\0') return false;
      unescaped_ += plain;
    } else {
      int32_t point = hex4(quoted);
      if (point < 0) return false;
      quoted += 4;
      const auto surrogate = [&] {
        fault_ = JsonFault::kSurrogate;
        return false;
      };
      if (point >= 0xdc00 && point < 0xe000) return surrogate();
      if (point >= 0xd800 && point < 0xdc00) {
        if (quoted[0] != '\\' || quoted[1] != 'u') return surrogate();
        const int32_t low = hex4(quoted + 2);
        if (low < 0) return false;
        if (low < 0xdc00 || low >= 0xe000) return surrogate();
        quoted += 6;
        point = 0x10000 + ((point - 0xd800) << 10) + (low - 0xdc00);
      }
      append_utf8(unescaped_, point);
    }
    run = plain_run(quoted);
  }
  text = std::string_view(unescaped_).substr(begin);
  return true;
}

JsonFault JsonTree::add_scalar(std::string_view token, std::string_view key) {
  token = trimmed(token);
  Node& node = nodes_.emplace_back();
  node.key = key;
  node.end = static_cast<uint32_t>(nodes_.size());
  if (token == "null") {
    node.kind = JsonKind::kNull;
  } else if (token == "true") {
    node.kind = JsonKind::kTrue;
  } else if (token == "false") {
    node.kind = JsonKind::kFalse;
  } else if (is_number(token)) {
    node.kind = JsonKind::kNumber;
    node.text = token;
  } else {
    return JsonFault::kInvalid;
  }
  return JsonFault::kNone;
}

template <class Value>
JsonFault JsonTree::add(Value& value, std::string_view key, int depth) {
  if (nodes_.size() >= kMaxValues) return JsonFault::kTooManyValues;
  std::string_view token;
  if (const auto error = token_of(value, token)) return fault_of(error);
  if (token.empty()) return JsonFault::kInvalid;
  const char first = token[0];
  if (first == '"') {
    ondemand::raw_json_string raw;
    if (const auto error = value.get_raw_json_string().get(raw)) return fault_of(error);
    std::string_view text;
    if (!unescape(raw.raw(), text)) return fault_;
    const auto end = static_cast<uint32_t>(nodes_.size() + 1);
    nodes_.push_back({key, text, end, 0, JsonKind::kString});
    return JsonFault::kNone;
  }
  if (first != '[' && first != '{') return add_scalar(token, key);
  if (depth >= kMaxDepth) return JsonFault::kTooDeep;
  const auto index = static_cast<uint32_t>(nodes_.size());
  nodes_.push_back({key, {}, 0, 0, first == '[' ? JsonKind::kArray : JsonKind::kObject});
  uint32_t count = 0;
  if (first == '[') {
    ondemand::array array;
    if (const auto error = value.get_array().get(array)) return fault_of(error);
    for (auto item : array) {
      ondemand::value element;
      if (const auto error = item.get(element)) return fault_of(error);
      if (const auto fault = add(element, {}, depth + 1); fault != JsonFault::kNone) return fault;
      ++count;
    }
  } else {
    ondemand::object object;
    if (const auto error = value.get_object().get(object)) return fault_of(error);
    for (auto item : object) {
      ondemand::field field;
      if (const auto error = std::move(item).get(field)) return fault_of(error);
      std::string_view name;
      if (!unescape(field.key().raw(), name)) return fault_;
      if (const auto fault = add(field.value(), name, depth + 1); fault != JsonFault::kNone) return fault;
      ++count;
    }
  }
  nodes_[index].size = count;
  nodes_[index].end = static_cast<uint32_t>(nodes_.size());
  if (first == '{' && has_duplicates(index)) duplicate_ = true;
  return JsonFault::kNone;
}

bool JsonTree::has_duplicates(uint32_t object) {
  const uint32_t end = nodes_[object].end;
  if (nodes_[object].size <= kSmallObject) {
    for (uint32_t a = object + 1; a < end; a = nodes_[a].end)
      for (uint32_t b = object + 1; b < a; b = nodes_[b].end)
        if (nodes_[a].key == nodes_[b].key) return true;
    return false;
  }
  keys_.clear();
  for (uint32_t a = object + 1; a < end; a = nodes_[a].end) keys_.push_back(nodes_[a].key);
  std::sort(keys_.begin(), keys_.end());
  return std::adjacent_find(keys_.begin(), keys_.end()) != keys_.end();
}

JsonFault JsonTree::parse(std::string_view text, size_t readable) {
  static_assert(simdjson::SIMDJSON_PADDING <= kJsonPadding);
  nodes_.clear();
  unescaped_.clear();
  fault_ = JsonFault::kInvalid;
  duplicate_ = false;
  if (text.size() > std::numeric_limits<uint32_t>::max() / 2) return JsonFault::kTooLarge;
  if (readable < text.size() + kJsonPadding) {
    padded_.clear();
    padded_.reserve(text.size() + kJsonPadding);
    padded_.append(text);
    readable = text.size() + kJsonPadding;
    text = padded_;
  }
  if (unescaped_.capacity() < text.size()) unescaped_.reserve(std::bit_ceil(text.size()));
  // By powers of two: the parser itself would grow to each longer text in turn.
  if (parser_->parser.capacity() < text.size())
    if (const auto error = parser_->parser.allocate(std::bit_ceil(text.size() + 1))) return fault_of(error);
  ondemand::document document;
  const simdjson::padded_string_view padded(text.data(), text.size(), readable);
  if (const auto error = parser_->parser.iterate(padded).get(document)) return fault_of(error);
  const std::string_view whole = trimmed(text);
  if (whole.empty()) return JsonFault::kInvalid;
  if (whole[0] != '[' && whole[0] != '{') {
    // A document that is one value: simdjson must have found that one token and nothing behind it.
    std::string_view token;
    if (const auto error = document.raw_json_token().get(token)) return fault_of(error);
    if (trimmed(token).size() != whole.size()) return JsonFault::kInvalid;
  }
  if (const auto fault = add(document, {}, 0); fault != JsonFault::kNone) return fault;
  if ((whole[0] == '[' || whole[0] == '{') && document.current_location().error() != simdjson::OUT_OF_BOUNDS)
    return JsonFault::kInvalid;
  return duplicate_ ? JsonFault::kDuplicateKey : JsonFault::kNone;
}

void JsonTree::set_row(const std::vector<std::string>& keys, const std::vector<std::string_view>& values) {
  nodes_.clear();
  const size_t size = std::min(keys.size(), values.size());
  nodes_.push_back({{}, {}, static_cast<uint32_t>(size + 1), static_cast<uint32_t>(size), JsonKind::kObject});
  for (size_t i = 0; i < size; ++i)
    nodes_.push_back({keys[i], values[i], static_cast<uint32_t>(i + 2), 0, JsonKind::kString});
}

Json to_json(JsonValue value, bool inexact_numbers_as_text) {
  switch (value.kind()) {
    case JsonKind::kNull:
      return nullptr;
    case JsonKind::kFalse:
      return false;
    case JsonKind::kTrue:
      return true;
    case JsonKind::kNumber:
      return number_json(value.text(), inexact_numbers_as_text);
    case JsonKind::kString:
      return std::string(value.text());
    case JsonKind::kArray: {
      Json json = Json::array();
      auto& items = json.get_ref<Json::array_t&>();
      items.reserve(value.size());
      for (const JsonValue item : value) items.push_back(to_json(item, inexact_numbers_as_text));
      return json;
    }
    case JsonKind::kObject:
      break;
  }
  Json json = Json::object();
  auto& members = json.get_ref<Json::object_t&>();
  members.reserve(value.size());
  for (const JsonValue member : value)  // ordered_map is a vector of pairs; the keys are known to differ
    members.emplace_back(std::string(member.key()), to_json(member, inexact_numbers_as_text));
  return json;
}

namespace {

bool escaped(unsigned char c) { return c < 0x20 || c == '"' || c == '\\'; }

// Of eight bytes. The lowest byte that a test finds is right, which is all that "any" needs.
bool any_escaped(const char* p) {
  constexpr uint64_t kEach = 0x0101010101010101ull;
  uint64_t v;
  std::memcpy(&v, p, sizeof v);
  const auto zero = [](uint64_t x) { return (x - kEach) & ~x; };
  const uint64_t control = (v - 0x20 * kEach) & ~v;
  return ((control | zero(v ^ '"' * kEach) | zero(v ^ '\\' * kEach)) & 0x80 * kEach) != 0;
}

}  // namespace

void append_json_string(std::string& out, std::string_view text) {
  out += '"';
  size_t begin = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    while (i + 8 <= text.size() && !any_escaped(text.data() + i)) i += 8;
    if (i == text.size()) break;
    const auto c = static_cast<unsigned char>(text[i]);
    if (!escaped(c)) continue;
    out.append(text, begin, i - begin);
    begin = i + 1;
    out += '\\';
    switch (c) {
      case '"':
      case '\\':
        out += static_cast<char>(c);
        break;
      case '\b':
        out += 'b';
        break;
      case '\f':
        out += 'f';
        break;
      case '\n':
        out += 'n';
        break;
      case '\r':
        out += 'r';
        break;
      case '\t':
        out += 't';
        break;
      default:
        constexpr const char* kHex = "0123456789abcdef";
        out += "u00";
        out += kHex[c >> 4];
        out += kHex[c & 15];
    }
  }
  out.append(text, begin, text.size() - begin);
  out += '"';
}

void append_json(std::string& out, JsonValue value) {
  switch (value.kind()) {
    case JsonKind::kNull:
      out += "null";
      return;
    case JsonKind::kFalse:
      out += "false";
      return;
    case JsonKind::kTrue:
      out += "true";
      return;
    case JsonKind::kNumber:
      out += value.text();
      return;
    case JsonKind::kString:
      append_json_string(out, value.text());
      return;
    case JsonKind::kArray:
    case JsonKind::kObject:
      break;
  }
  const bool object = value.kind() == JsonKind::kObject;
  out += object ? '{' : '[';
  bool first = true;
  for (const JsonValue item : value) {
    if (!first) out += ',';
    first = false;
    if (object) {
      append_json_string(out, item.key());
      out += ':';
    }
    append_json(out, item);
  }
  out += object ? '}' : ']';
}

}  // namespace decant
