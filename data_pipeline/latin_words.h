// The evidence of a text's words for each language in Latin script; the half of language.h that knows words.
#pragma once

#include <emmintrin.h>

#include <array>
#include <cstdint>
#include <string_view>

#include "data_pipeline/language_model.h"

namespace decant {

// Bits of the ASCII letters among 16 bytes.
inline unsigned letter_mask(__m128i bytes) {
  const __m128i lower = _mm_or_si128(bytes, _mm_set1_epi8(0x20));
  const __m128i above = _mm_cmpgt_epi8(lower, _mm_set1_epi8('a' - 1));
  const __m128i below = _mm_cmplt_epi8(lower, _mm_set1_epi8('z' + 1));
  return static_cast<unsigned>(_mm_movemask_epi8(_mm_and_si128(above, below)));
}

// Against each language, in tenths of a nat.
struct LatinText {
  std::array<int16_t, kNumLatin> against{};
  int words = 0, speech = 0;  // speech: words by which one speaks, which quoted terms and messages lack
  int longer = 0;             // words of two letters and more: single letters alone tell nothing
};

// Well-formed UTF-8. Tokens that look like code, paths, addresses or numbers are left out, or, with
// `code_like`, nothing but single letters is. Of a long text, words in four places.
LatinText read_latin(std::string_view text, bool code_like);

}  // namespace decant
