// An ICU normalizer that knows the characters of one version of Unicode, whatever version the machine's ICU
// has: younger characters neither compose, decompose nor move past others.
#pragma once

#include <unicode/normalizer2.h>
#include <unicode/uniset.h>

namespace decant {

class AgedNormalizer {
 public:
  // `data` and `mode` are ICU's names of a normal form ("nfc" with UNORM2_DECOMPOSE is NFD), `age` a version
  // of Unicode ("15.0"). Error when the machine's ICU lacks the data.
  AgedNormalizer(const char* data, UNormalization2Mode mode, const char* age)
      : known_(characters_of(age)), filtered_(whole(data, mode), known_) {}
  AgedNormalizer(const AgedNormalizer&) = delete;
  AgedNormalizer& operator=(const AgedNormalizer&) = delete;

  const icu::Normalizer2& get() const { return filtered_; }

 private:
  static icu::UnicodeSet characters_of(const char* age);
  static const icu::Normalizer2& whole(const char* data, UNormalization2Mode mode);

  const icu::UnicodeSet known_;  // the filter keeps a reference to it
  const icu::FilteredNormalizer2 filtered_;
};

}  // namespace decant
