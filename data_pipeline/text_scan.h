// One pass over a text: its words, its characters by class, its lines; what quality.h and repetition.h count
// from. Reuse one TextScan for many texts: it keeps its memory.
//
// Words are the segments between the default word boundaries of Unicode (UAX #29, properties of the ICU that
// is linked) that hold more than white space: "can't", "3.14" and "a_b" are one word each, every Han
// character, punctuation mark and Thai character is one of its own.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace decant {

// Bits of a word.
enum WordFlag : uint32_t {
  kHasLetter = 1,     // a character of category L (Python's isalpha)
  kNotSymbols = 2,    // a character outside datatrove's PUNCTUATION_SET
  kWholeNumeric = 4,  // digits, nothing else
};

// Polynomials of bytes modulo 2^61 - 1: of words one after the other, hash(ab) = hash(a) * power(b) +
// hash(b).
struct ScannedWord {
  uint64_t hash = 0, power = 1;
  uint32_t characters = 0, flags = 0;
  uint32_t begin = 0;  // in `joined`
};

__extension__ typedef unsigned __int128 Uint128;
inline constexpr uint64_t kHashPrime = (uint64_t{1} << 61) - 1;

constexpr uint64_t reduce_mod_p(Uint128 x) {  // x < 2^125
  uint64_t r = static_cast<uint64_t>(x & kHashPrime) + static_cast<uint64_t>(x >> 61);
  r = (r & kHashPrime) + (r >> 61);
  return r == kHashPrime ? 0 : r;
}
constexpr uint64_t times_mod_p(uint64_t a, uint64_t b) { return reduce_mod_p(Uint128{a} * b); }
constexpr uint64_t plus_mod_p(uint64_t a, uint64_t b) {
  const uint64_t sum = a + b;
  return sum >= kHashPrime ? sum - kHashPrime : sum;
}
uint64_t word_hash(std::string_view word);

struct TextScan {
  // Well-formed UTF-8; what is beyond kMostBytes is left out, at a character.
  void scan(std::string_view text);

  // Drops the views of a text that ends.
  void forget() {
    text = {};
    lines.clear();
  }

  static constexpr size_t kMostBytes = 16 << 20;

  std::string_view text;
  std::vector<ScannedWord> words;
  std::string joined;  // the words without what stands between them, then kJoinedPadding zeros
  static constexpr size_t kJoinedPadding = 16;
  std::vector<std::string_view> lines;  // as Python's splitlines()

  // Characters (code points).
  uint32_t characters = 0, letters = 0, numbers = 0, marks = 0, spaces = 0, others = 0;
  uint32_t newlines = 0;  // '\n'
  uint32_t hashes = 0, ellipses = 0, curly_brackets = 0, parentheses = 0, replacements = 0;

 private:
  void split_lines(bool only_newlines);
};

// Code points of well-formed UTF-8.
size_t count_characters(std::string_view text);
// Python's str.isspace and datatrove's TERMINAL_PUNCTUATION.
bool is_space_beyond_ascii(uint32_t code_point);
inline bool is_space(uint32_t c) {
  return c < 0x80 ? c == ' ' || (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x1F)
                  : is_space_beyond_ascii(c);
}
bool is_terminal(uint32_t code_point);
// Without white space at an end (Python's lstrip, rstrip).
std::string_view strip_left(std::string_view text);
std::string_view strip_right(std::string_view text);
uint32_t last_code_point(std::string_view text);  // 0 of an empty text

}  // namespace decant
