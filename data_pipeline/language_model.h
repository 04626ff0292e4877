// Data of language.cpp, made by scripts that lie beside it: make_language_model.py and make_han_sets.py.
#pragma once

#include <cstddef>
#include <cstdint>

namespace decant {

inline constexpr size_t kNumLatin = 32;

extern const char* const kLatinLanguages[kNumLatin];  // English is the first
// Lower-case letters of the model, numbered from 1 in this order (UTF-8); the apostrophe of 'll and 's
// follows.
extern const char kModelLetters[];
// Base64 in lines, nullptr last: kNumModelWords rows of words (key: a hash of the letters' numbers), then
// kNumModelTrigrams rows of trigrams (key: three numbers, 0 for a word's end). pack() of the script says how.
extern const char* const kModelRows[];
extern const size_t kNumModelWords, kNumModelTrigrams;
// Level of a language that a row does not name.
extern const uint8_t kWordFloors[kNumLatin];
extern const uint8_t kTrigramFloor;

// One hex digit for each of U+4E00..U+9FFF, in lines, nullptr last; bits: 1 only simplified Chinese writes
// it, 2 only traditional Chinese, 4 only Japanese, 8 only Chinese.
extern const char* const kHanSets[];

}  // namespace decant
