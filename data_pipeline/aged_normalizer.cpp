#include "data_pipeline/aged_normalizer.h"

#include "core/error.h"

namespace decant {

icu::UnicodeSet AgedNormalizer::characters_of(const char* age) {
  UErrorCode status = U_ZERO_ERROR;
  icu::UnicodeSet known;
  known.applyPattern(icu::UnicodeString::fromUTF8(concat("[:age=", age, ":]")), status);
  check(U_SUCCESS(status), "ICU does not know the characters of Unicode ", age, ": ", u_errorName(status),
        "; install its data (Debian: libicu-dev)");
  known.freeze();
  return known;
}

const icu::Normalizer2& AgedNormalizer::whole(const char* data, UNormalization2Mode mode) {
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* found = icu::Normalizer2::getInstance(nullptr, data, mode, status);
  check(U_SUCCESS(status) && found != nullptr, "ICU has no normalisation data '", data,
        "': ", u_errorName(status), "; install its data (Debian: libicu-dev)");
  return *found;
}

}  // namespace decant
