// The short byte strings that tokenizers look up: their hash (multiply and fold, 16 bytes a step), and the
// key of a piece of text.
#pragma once

#include <emmintrin.h>

#include <cstddef>
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

// 16 bytes of -1, then 16 of 0.
alignas(32) inline constexpr int8_t kFirstBytes[32] = {-1, -1, -1, -1, -1, -1, -1, -1,
                                                       -1, -1, -1, -1, -1, -1, -1, -1};

struct PieceKey {
  std::string_view text;
  uint64_t hash = 0;
  __m128i bytes = {};  // of a short piece: its bytes, zeros, and its length in the last byte
  bool is_short() const { return text.size() < 16; }
};

// Of fewer than 16 bytes; `bytes` begins with them.
inline PieceKey short_key(const char* p, size_t size, __m128i bytes) {
  PieceKey key;
  key.text = std::string_view(p, size);
  bytes = _mm_and_si128(bytes, _mm_loadu_si128(reinterpret_cast<const __m128i*>(kFirstBytes + 16 - size)));
  key.bytes = _mm_or_si128(bytes, _mm_set_epi64x(static_cast<int64_t>(uint64_t{size} << 56), 0));
  key.hash = piece_hash_short(static_cast<uint64_t>(_mm_cvtsi128_si64(key.bytes)),
                              static_cast<uint64_t>(_mm_cvtsi128_si64(_mm_srli_si128(key.bytes, 8))));
  return key;
}

// `readable` is the end of the text in which the piece lies.
inline void make_key(const char* p, size_t size, const char* readable, PieceKey& key) {
  if (size >= 16) {
    key.text = std::string_view(p, size);
    key.hash = piece_hash(key.text);
    return;
  }
  alignas(16) char copy[16] = {};
  const bool whole = readable - p >= 16;
  if (!whole) std::memcpy(copy, p, size);
  key = short_key(p, size, _mm_loadu_si128(reinterpret_cast<const __m128i*>(whole ? p : copy)));
}

}  // namespace decant
