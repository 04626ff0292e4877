// Which language a text or a conversation is in: by script first, then, for Latin script, by known words and
// letter trigrams (naive Bayes, language_model.h). Made for short turns of a service desk: a turn in Chinese
// stays Chinese however many product names and error messages it quotes, and a score never drops a turn.
//
// - Han without kana is zh, unless characters that only Japanese writes stand there and none that it does not
//   know; with kana it is ja, unless the kana is a decoration of Chinese text. Hangul is ko. Cyrillic is told
//   apart as ru uk be bg sr mk kk mn by its letters, Arabic script as ar fa ur; Devanagari is hi; other
//   scripts are one language each (th lo km my bo el he hy ka bn pa gu or ta te kn ml si am).
// - Latin: en de fr es it pt nl pl tr id vi sv da no fi cs ro hu hr sk sl ca tl et lv lt af sq sw so cy is.
//   English has the benefit of the doubt. Tokens that look like code, numbers, paths or addresses count only
//   where nothing else stands.
// - und: no letters that tell anything ("123456", "A1", "???").
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace decant {

struct Language {
  std::string_view code = "und";  // ISO 639-1; lives as long as the program
  std::string_view script;        // of zh: Hans or Hant, empty where no character tells; else empty
  float score = 0;                // 0 to 1; 0 is und
};

// The turns of one conversation, in any order: each votes for its own language with its length in words.
class LanguageEvidence {
 public:
  void add(std::string_view text);  // well-formed UTF-8
  Language language() const;

 private:
  static constexpr size_t kVoices = 48;
  std::array<float, kVoices> weight_{};  // words by language or, of Latin script, by script
  uint64_t voted_ = 0;                   // bits of those that have any
  std::array<int32_t, 32> latin_{};      // tenths of a nat against each Latin language
  std::array<int32_t, 32> code_like_{};  // the same of tokens that look like code
  int64_t latin_words_ = 0, code_like_words_ = 0;
  int64_t simplified_ = 0, traditional_ = 0;
};

Language detect_language(std::string_view text);

}  // namespace decant
