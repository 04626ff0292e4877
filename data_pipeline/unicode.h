// Unicode for the tokenizers: general categories as the regex engine of Hugging Face tokenizers has them
// (Unicode 16.0, own tables, so that ids do not depend on the ICU or PCRE2 of the machine), UTF-8, and the
// normal forms (ICU's).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace decant {

// Bits of character_classes(). kSpace is White_Space, that is \s: with U+0085 and U+00A0, without U+180E and
// U+200B.
enum CharacterClass : uint8_t {
  kLetter = 1,
  kNumber = 2,
  kMark = 4,
  kPunctuation = 8,
  kSymbol = 16,
  kSpace = 32,
  kLineEnd = 64,  // \r and \n
};

struct UnicodeRange {
  uint32_t first, last;
  CharacterClass character_class;
};
extern const UnicodeRange kUnicodeRanges[];  // ascending, disjoint; without kSpace and kLineEnd
extern const size_t kNumUnicodeRanges;

inline constexpr uint32_t kNumCodePoints = 0x110000;

// One byte of CharacterClass bits for each code point; built once.
const uint8_t* character_classes();

// Length of the longest prefix that is well-formed UTF-8.
size_t valid_utf8_prefix(std::string_view text);

// Whether all of the text is.
bool is_ascii(std::string_view text);
bool is_valid_utf8(std::string_view text);

// Length of the well-formed sequence at `p` < `end`, or minus the length of the maximal ill-formed
// subsequence (table 3-7).
int utf8_sequence(const unsigned char* p, const unsigned char* end);

// Each maximal ill-formed subsequence (Unicode 15, 3.9, as Python's errors='replace' and Rust's
// from_utf8_lossy) becomes U+FFFD.
std::string repair_utf8(std::string_view text);

// Code point at `p` of well-formed UTF-8; `p` moves past it.
inline uint32_t next_code_point(const char*& p) {
  const auto byte = [&](int i) { return static_cast<uint32_t>(static_cast<unsigned char>(p[i])); };
  const uint32_t b = byte(0);
  uint32_t c;
  if (b < 0x80) {
    c = b, p += 1;
  } else if (b < 0xE0) {
    c = (b & 0x1F) << 6 | (byte(1) & 0x3F), p += 2;
  } else if (b < 0xF0) {
    c = (b & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F), p += 3;
  } else {
    c = (b & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F), p += 4;
  }
  return c;
}

// Start of the code point that ends before `p`.
inline const char* previous_code_point(const char* p) {
  do {
    --p;
  } while ((static_cast<unsigned char>(*p) & 0xC0) == 0x80);
  return p;
}

void append_utf8(std::string& out, uint32_t code_point);

enum class NormalForm { kNFC, kNFD, kNFKC, kNFKD };

// True only where `text` (well-formed UTF-8) is in NFC, and fast; false for some that is.
bool surely_nfc(std::string_view text);

// `text` (well-formed UTF-8) in the normal form: `text` itself when it is in it already, else a view of
// `buffer`.
std::string_view normalize(std::string_view text, NormalForm form, std::string& buffer);

}  // namespace decant
