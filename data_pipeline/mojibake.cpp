#include "data_pipeline/mojibake.h"

#include <unicode/ucnv.h>

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/error.h"
#include "data_pipeline/unicode.h"

namespace decant {

namespace {

constexpr size_t kLeastHan = 4;

// Bytes of a character in the encoding it was wrongly read with; empty when it has none there.
using Encode = std::string (*)(uint32_t);

std::string windows_1252(uint32_t c) {
  static const std::unordered_map<uint32_t, char> high = [] {
    constexpr uint16_t table[32] = {0x20AC, 0x81,   0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021,
                                    0x02C6, 0x2030, 0x0160, 0x2039, 0x0152, 0x8D,   0x017D, 0x8F,
                                    0x90,   0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014,
                                    0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0x9D,   0x017E, 0x0178};
    std::unordered_map<uint32_t, char> map;
    for (uint32_t i = 0; i < 32; ++i) map[table[i]] = static_cast<char>(0x80 + i);
    return map;
  }();
  if (c >= 0x80 && c < 0x100) return {static_cast<char>(c)};  // Latin-1, C1 controls too
  const auto found = high.find(c);
  return found == high.end() ? std::string() : std::string(1, found->second);
}

// Two bytes for each of the Basic Multilingual Plane that GB18030 writes with two.
const std::vector<uint16_t>& gb18030_table() {
  static const std::vector<uint16_t> table = [] {
    std::vector<uint16_t> bytes(0x10000, 0);
    UErrorCode status = U_ZERO_ERROR;
    const std::unique_ptr<UConverter, decltype(&ucnv_close)> converter(ucnv_open("gb18030", &status),
                                                                       &ucnv_close);
    if (U_FAILURE(status)) throw std::logic_error(concat("ICU: ", u_errorName(status)));
    for (int lead = 0x81; lead <= 0xFE; ++lead) {
      for (int trail = 0x40; trail <= 0xFE; ++trail) {
        const char pair[2] = {static_cast<char>(lead), static_cast<char>(trail)};
        std::array<UChar, 4> text{};
        status = U_ZERO_ERROR;
        const int32_t length = ucnv_toUChars(converter.get(), text.data(), 4, pair, 2, &status);
        if (U_SUCCESS(status) && length == 1 && text[0] >= 0x80 && text[0] != 0xFFFD)
          bytes[text[0]] = static_cast<uint16_t>(lead << 8 | trail);
      }
    }
    return bytes;
  }();
  return table;
}

std::string gb18030(uint32_t c) {
  if (c > 0xFFFF) return {};
  const uint16_t pair = gb18030_table()[c];
  if (pair == 0) return {};
  return {static_cast<char>(pair >> 8), static_cast<char>(pair & 0xFF)};
}

bool is_han_text(uint32_t c) {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3000 && c <= 0x303F) || (c >= 0xFF00 && c <= 0xFF65) ||
         (c >= 0x2010 && c <= 0x2026);
}

// The bytes of the whole text, and for each the character it is from; empty when a character has none.
struct Encoded {
  std::string bytes;
  std::vector<uint32_t> from;  // one more than bytes: where each byte's character begins in the text
};

std::optional<Encoded> encoded(std::string_view text, Encode encode) {
  Encoded result;
  const char *p = text.data(), *end = p + text.size();
  while (p < end) {
    const auto begin = static_cast<uint32_t>(p - text.data());
    const uint32_t c = next_code_point(p);
    const std::string bytes = c < 0x80 ? std::string(1, static_cast<char>(c)) : encode(c);
    if (bytes.empty()) return {};
    result.bytes += bytes;
    result.from.insert(result.from.end(), bytes.size(), begin);
  }
  result.from.push_back(static_cast<uint32_t>(text.size()));
  return result;
}

bool repair_from(std::string_view text, Encode encode, bool han_only, MappedText& out) {
  const auto encoded_text = encoded(text, encode);
  if (!encoded_text) return false;
  const std::string& bytes = encoded_text->bytes;
  if (valid_utf8_prefix(bytes) != bytes.size()) return false;
  size_t beyond_ascii = 0;
  for (const char *p = bytes.data(), *end = p + bytes.size(); p < end;) {
    const uint32_t c = next_code_point(p);
    if (c >= 0x80 && han_only && !is_han_text(c)) return false;
    beyond_ascii += c >= 0x80 ? 1 : 0;
  }
  if (beyond_ascii < (han_only ? kLeastHan : 1)) return false;
  const auto& from = encoded_text->from;
  for (size_t at = 0; at < bytes.size();) {
    const char *p = bytes.data() + at, *begin = p;
    next_code_point(p);
    const auto length = static_cast<size_t>(p - begin);
    // All characters that the bytes are from, the last one whole.
    size_t last = at + length;
    while (from[last] == from[last - 1]) ++last;
    if (length == 1) {
      out.copy(text, from[at], 1);
    } else {
      out.replace(from[at], from[last] - from[at], {begin, length});
    }
    at += length;
  }
  return true;
}

}  // namespace

bool repair_mojibake(std::string_view text, MappedText& out) {
  bool ascii = true;
  for (const char c : text) ascii = ascii && static_cast<unsigned char>(c) < 0x80;
  if (ascii) return false;
  return repair_from(text, windows_1252, false, out) || repair_from(text, gb18030, true, out);
}

}  // namespace decant
