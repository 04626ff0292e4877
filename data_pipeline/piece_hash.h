// Hash of the short byte strings that tokenizers look up: multiply and fold, 16 bytes a step.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

namespace decant {

inline uint64_t fold_multiply(uint64_t a, uint64_t b) {
  __extension__ using Wide = unsigned __int128;
  const Wide product = static_cast<Wide>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

inline uint64_t load64(const char* p) {
  uint64_t word;
  std::memcpy(&word, p, 8);
  return word;
}

// At most 16 bytes, as two words that are zero beyond them.
inline uint64_t piece_hash_short(uint64_t low, uint64_t high) {
  return fold_multiply(low ^ 0x9E3779B97F4A7C15ull, high ^ 0xD6E8FEB86659FD93ull);
}

// Reads nothing beyond `piece`.
inline uint64_t piece_hash(std::string_view piece) {
  const char* p = piece.data();
  size_t left = piece.size();
  uint64_t h = piece.size() * 0x9FB21C651E98DF25ull;
  for (; left > 16; left -= 16, p += 16)
    h = fold_multiply(load64(p) ^ h ^ 0x9E3779B97F4A7C15ull, load64(p + 8) ^ 0xD6E8FEB86659FD93ull);
  uint64_t low = 0, high = 0;
  if (left >= 8) {
    low = load64(p);
    high = load64(p + left - 8);  // overlaps; the length is in `h`
  } else if (left >= 4) {
    uint32_t a, b;
    std::memcpy(&a, p, 4);
    std::memcpy(&b, p + left - 4, 4);
    low = a, high = b;
  } else if (left > 0) {
    low = static_cast<unsigned char>(p[0]) | uint64_t{static_cast<unsigned char>(p[left / 2])} << 8 |
          uint64_t{static_cast<unsigned char>(p[left - 1])} << 16;
  }
  return fold_multiply(low ^ h ^ 0xA0761D6478BD642Full, high ^ 0xE7037ED1A0B428DBull);
}

}  // namespace decant
