#include "data_pipeline/pinned_unicode.h"

#include <unicode/bytestream.h>
#include <unicode/edits.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "core/error.h"
#include "data_pipeline/aged_normalizer.h"

namespace decant {

namespace {

void expect_icu(UErrorCode status) {
  if (U_FAILURE(status)) throw std::logic_error(concat("ICU: ", u_errorName(status)));
}

const icu::Normalizer2& pinned(PinnedForm form) {
  static const AgedNormalizer nfc("nfc", UNORM2_COMPOSE, "15.0"), nfkc("nfkc", UNORM2_COMPOSE, "15.0"),
      folded("nfkc_cf", UNORM2_COMPOSE, "15.0");
  return (form == PinnedForm::kNFC ? nfc : form == PinnedForm::kNFKC ? nfkc : folded).get();
}

icu::StringPiece icu_piece(std::string_view text) {
  check(text.size() < (1u << 30), "a text of ", text.size(), " bytes is too long to be normalised at once");
  return {text.data(), static_cast<int32_t>(text.size())};
}

bool stable_by_icu(UChar32 c) {
  const icu::Normalizer2& nfc = pinned(PinnedForm::kNFC);
  UErrorCode status = U_ZERO_ERROR;
  return nfc.hasBoundaryBefore(c) && nfc.isNormalized(icu::UnicodeString(c), status);
}

}  // namespace

std::string_view normal_form(std::string_view text, PinnedForm form, std::string& buffer) {
  const icu::StringPiece piece = icu_piece(text);
  const icu::Normalizer2& with = pinned(form);
  UErrorCode status = U_ZERO_ERROR;
  if (with.isNormalizedUTF8(piece, status)) return text;
  buffer.clear();
  icu::StringByteSink<std::string> sink(&buffer);
  with.normalizeUTF8(0, piece, sink, nullptr, status);
  expect_icu(status);
  return buffer;
}

void append_normal_form(std::string_view text, PinnedForm form, size_t source_offset, MappedText& out) {
  const icu::StringPiece piece = icu_piece(text);
  const icu::Normalizer2& with = pinned(form);
  UErrorCode status = U_ZERO_ERROR;
  if (with.isNormalizedUTF8(piece, status)) {
    out.text += text;
    out.map.copy(source_offset, text.size());
    return;
  }
  icu::Edits edits;
  icu::StringByteSink<std::string> sink(&out.text);
  with.normalizeUTF8(0, piece, sink, &edits, status);
  expect_icu(status);
  auto edit = edits.getFineIterator();
  while (edit.next(status)) {
    const size_t begin = source_offset + static_cast<size_t>(edit.sourceIndex());
    const auto length = static_cast<size_t>(edit.newLength());
    if (edit.hasChange()) {
      out.map.replace(begin, static_cast<size_t>(edit.oldLength()), length);
    } else {
      out.map.copy(begin, length);
    }
  }
  expect_icu(status);
}

bool nfc_stable(uint32_t c) {
  // The planes of Han beyond the table have no other change than the compatibility supplement's.
  constexpr uint32_t kTable = 0x20000;
  if (c >= kTable) {
    if (c < 0x2F800 || (c >= 0x30000 && c < 0xE0000)) return true;
    return stable_by_icu(static_cast<UChar32>(c));
  }
  static const std::vector<bool> table = [] {
    std::vector<bool> stable(kTable);
    for (uint32_t i = 0; i < kTable; ++i) {
      const bool plain = i < 0x300 || (i >= 0x4000 && i < 0xA000) || (i >= 0xAC00 && i < 0xD7A4);
      stable[i] = plain || stable_by_icu(static_cast<UChar32>(i));
    }
    return stable;
  }();
  return table[c];
}

}  // namespace decant
