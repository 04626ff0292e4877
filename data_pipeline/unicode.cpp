#include "data_pipeline/unicode.h"

#include <emmintrin.h>
#include <simdjson.h>
#include <unicode/bytestream.h>

#include <bit>
#include <vector>

#include "core/error.h"
#include "data_pipeline/aged_normalizer.h"

namespace decant {

const uint8_t* character_classes() {
  static const std::vector<uint8_t> table = [] {
    std::vector<uint8_t> classes(kNumCodePoints, 0);
    for (size_t i = 0; i < kNumUnicodeRanges; ++i)
      for (uint32_t c = kUnicodeRanges[i].first; c <= kUnicodeRanges[i].last; ++c)
        classes[c] |= kUnicodeRanges[i].character_class;
    for (uint32_t c = 0x09; c <= 0x0D; ++c) classes[c] |= kSpace;
    for (uint32_t c = 0x2000; c <= 0x200A; ++c) classes[c] |= kSpace;
    for (uint32_t c : {0x20, 0x85, 0xA0, 0x1680, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000})
      classes[c] |= kSpace;
    classes['\r'] |= kLineEnd;
    classes['\n'] |= kLineEnd;
    return classes;
  }();
  return table.data();
}

int utf8_sequence(const unsigned char* p, const unsigned char* end) {
  const unsigned char b = *p;
  if (b < 0x80) return 1;
  if (b < 0xC2 || b > 0xF4) return -1;
  unsigned char low = 0x80, high = 0xBF;
  int length = b < 0xE0 ? 2 : b < 0xF0 ? 3 : 4;
  if (b == 0xE0) low = 0xA0;
  if (b == 0xED) high = 0x9F;
  if (b == 0xF0) low = 0x90;
  if (b == 0xF4) high = 0x8F;
  for (int i = 1; i < length; ++i) {
    if (p + i == end || p[i] < low || p[i] > high) return -i;
    low = 0x80, high = 0xBF;
  }
  return length;
}

size_t valid_utf8_prefix(std::string_view text) {
  const auto* begin = reinterpret_cast<const unsigned char*>(text.data());
  const auto *p = begin, *end = begin + text.size();
  while (p < end) {
    if (end - p >= 8) {
      uint64_t word;
      __builtin_memcpy(&word, p, 8);
      if ((word & 0x8080808080808080ull) == 0) {
        p += 8;
        continue;
      }
    }
    const int length = utf8_sequence(p, end);
    if (length < 0) break;
    p += length;
  }
  return static_cast<size_t>(p - begin);
}

bool is_valid_utf8(std::string_view text) { return simdjson::validate_utf8(text.data(), text.size()); }

std::string repair_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const size_t good = valid_utf8_prefix(text);
    out.append(text.substr(0, good));
    text.remove_prefix(good);
    if (text.empty()) break;
    const auto* p = reinterpret_cast<const unsigned char*>(text.data());
    out += "\xEF\xBF\xBD";
    text.remove_prefix(static_cast<size_t>(-utf8_sequence(p, p + text.size())));
  }
  return out;
}

void append_utf8(std::string& out, uint32_t c) {
  const auto put = [&](uint32_t byte) { out += static_cast<char>(byte); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | c >> 6), put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | c >> 12), put(0x80 | (c >> 6 & 0x3F)), put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | c >> 18), put(0x80 | (c >> 12 & 0x3F)), put(0x80 | (c >> 6 & 0x3F)), put(0x80 | (c & 0x3F));
  }
}

bool is_ascii(std::string_view text) {
  const char *p = text.data(), *end = p + text.size();
  __m128i seen = _mm_setzero_si128();
  for (; end - p >= 16; p += 16) {
    seen = _mm_or_si128(seen, _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    if (((p - text.data()) & 1023) == 0 && _mm_movemask_epi8(seen) != 0) return false;
  }
  for (; p != end; ++p) seen = _mm_or_si128(seen, _mm_set1_epi8(*p));
  return _mm_movemask_epi8(seen) == 0;
}

namespace {

// By its bytes, whether the character at `p` is one that in no context changes under NFC: it neither composes
// with what comes before, nor decomposes, nor moves. Called for lead bytes from CC on, without E4 to E9
// (CJK).
bool stays_in_nfc(const unsigned char* p) {
  const unsigned char second = p[1];
  switch (p[0]) {
    case 0xCE:  // Greek without U+0387; Cyrillic
      return second != 0x87;
    case 0xCF:
    case 0xD0:
    case 0xD1:
      return true;
    case 0xE1:  // U+1E00-1EFF, Latin (Vietnamese)
      return second >= 0xB8 && second <= 0xBB;
    case 0xE2:  // U+2002-20BF, U+2140-22FF, U+2340-2ABF: punctuation and symbols
      return second == 0x80 ? p[2] >= 0x82
                            : second <= 0x82 || (second >= 0x85 && second <= 0xAA && second != 0x8C);
    case 0xE3:  // U+3000-3029, kana without U+3099 and U+309A, what follows them up to U+3FFF
      return second == 0x80 ? p[2] < 0xAA : second != 0x82 || (p[2] != 0x99 && p[2] != 0x9A);
    case 0xEA:  // Hangul syllables
      return second >= 0xB0;
    case 0xEB:
    case 0xEC:
      return true;
    case 0xED:
      return second <= 0x9D;
    case 0xEF:  // U+FF00-FFFF
      return second >= 0xBC;
    case 0xF0:  // U+1F000-1FFFF, emoji
      return second == 0x9F;
    default:
      return false;
  }
}

}  // namespace

bool surely_nfc(std::string_view text) {
  const auto* p = reinterpret_cast<const unsigned char*>(text.data());
  const auto* end = p + text.size();
  for (; end - p >= 16; p += 16) {
    // Below CC: ASCII, the tail of a character, or one up to U+02FF. Plus 52, CC becomes 0.
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    const __m128i from_cc = _mm_xor_si128(_mm_add_epi8(bytes, _mm_set1_epi8(52)), _mm_set1_epi8(-128));
    const __m128i lead = _mm_cmplt_epi8(from_cc, _mm_set1_epi8(52 - 128));
    const __m128i cjk =
        _mm_cmplt_epi8(_mm_xor_si128(_mm_sub_epi8(bytes, _mm_set1_epi8('\xE4')), _mm_set1_epi8(-128)),
                       _mm_set1_epi8(6 - 128));
    auto unsure = static_cast<unsigned>(_mm_movemask_epi8(_mm_andnot_si128(cjk, lead)));
    for (; unsure != 0; unsure &= unsure - 1)
      if (!stays_in_nfc(p + std::countr_zero(unsure))) return false;
  }
  for (; p != end; ++p)
    if (*p >= 0xCC && (*p < 0xE4 || *p > 0xE9) && !stays_in_nfc(p)) return false;
  return true;
}

namespace {

// The crate of Hugging Face tokenizers (unicode-normalization-alignments) knows Unicode 9.0.
const icu::Normalizer2& normalizer(NormalForm form) {
  static const AgedNormalizer c("nfc", UNORM2_COMPOSE, "9.0"), d("nfc", UNORM2_DECOMPOSE, "9.0"),
      kc("nfkc", UNORM2_COMPOSE, "9.0"), kd("nfkc", UNORM2_DECOMPOSE, "9.0");
  switch (form) {
    case NormalForm::kNFC:
      return c.get();
    case NormalForm::kNFD:
      return d.get();
    case NormalForm::kNFKC:
      return kc.get();
    default:
      return kd.get();
  }
}

}  // namespace

std::string_view normalize(std::string_view text, NormalForm form, std::string& buffer) {
  if (form == NormalForm::kNFC && surely_nfc(text)) return text;
  check(text.size() < (1u << 30), "a text of ", text.size(), " bytes is too long to be normalised at once");
  const icu::Normalizer2& with = normalizer(form);
  const icu::StringPiece piece(text.data(), static_cast<int32_t>(text.size()));
  UErrorCode status = U_ZERO_ERROR;
  if (with.isNormalizedUTF8(piece, status)) return text;
  buffer.clear();
  icu::StringByteSink<std::string> sink(&buffer, piece.length());
  with.normalizeUTF8(0, piece, sink, nullptr, status);
  check(U_SUCCESS(status), "a text could not be normalised: ", u_errorName(status));
  return buffer;
}

}  // namespace decant
