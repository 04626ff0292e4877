#include "data_pipeline/shingles.h"

#include <emmintrin.h>
#include <unicode/bytestream.h>
#include <unicode/casemap.h>
#include <unicode/uchar.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <stdexcept>

#include "core/error.h"
#include "core/hash.h"
#include "data_pipeline/unicode.h"

namespace decant {

namespace {

constexpr size_t kPadding = 32;  // bytes behind a key that may be read
// Letters of scripts without spaces: one in so many makes a text one of characters.
constexpr int64_t kLettersPerUnspaced = 25;

// Constants of the mixing functions: odd, the fractions of square roots of primes.
constexpr uint64_t kA = 0x6A09E667F3BCC909, kB = 0xBB67AE8584CAA73B, kC = 0x3C6EF372FE94F82B;
constexpr uint64_t kStep = 0xA54FF53A5F1D36F1;  // of the rolling polynomial
constexpr uint64_t kWhole = 0x510E527FADE682D1;

uint64_t load(const char* p) {
  uint64_t word;
  std::memcpy(&word, p, sizeof word);
  return word;
}

__extension__ using Wide = unsigned __int128;

uint64_t fold_product(uint64_t a, uint64_t b) {
  const auto product = static_cast<Wide>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

// Every bit of the result depends on every bit of x, and no two x have the same result.
uint64_t finish(uint64_t x) {
  x = (x ^ (x >> 32)) * kA;
  x = (x ^ (x >> 29)) * kB;
  return x ^ (x >> 32);
}

// At least kPadding bytes must be readable from `p`.
uint64_t hash_word(const char* p, size_t size) {
  if (size > 16) return xxh3_64({p, size}, kA);
  const auto mask = [](size_t bytes) { return bytes >= 8 ? ~uint64_t{0} : (uint64_t{1} << (8 * bytes)) - 1; };
  const uint64_t low = load(p) & mask(size);
  const uint64_t high = size > 8 ? load(p + 8) & mask(size - 8) : 0;
  return fold_product(low ^ kA, high ^ kB ^ (size << 56));
}

// What a byte of ASCII becomes.
constexpr std::array<char, 128> kFold = [] {
  std::array<char, 128> table{};
  for (int c = 0; c < 128; ++c) {
    char folded = static_cast<char>(c);
    if (c >= 'A' && c <= 'Z') folded = static_cast<char>(c + 32);
    if (c == ' ' || (c >= 9 && c <= 13)) folded = ' ';
    table[static_cast<size_t>(c)] = folded;
  }
  return table;
}();

// Writes a key: one space for a run of them, and one 0 for a run of at least `mask` digits.
class KeyWriter {
 public:
  char* out;  // where the next byte goes

  KeyWriter(char* begin, int64_t mask_digits)
      : out(begin),
        begin_(begin),
        mask_(mask_digits > 0 ? mask_digits : std::numeric_limits<int64_t>::max()) {}
  void put(char c) {
    if (c >= '0' && c <= '9') {
      ++digits_;
      if (digits_ > mask_) return;
      if (digits_ == mask_) {
        out -= mask_ - 1;
        c = '0';
      }
    } else {
      digits_ = 0;
      if (c == ' ' && ends_in_space()) return;
    }
    *out++ = c;
  }
  // Bytes that were put at `out`; the last `digits` of them are digits.
  void copied(size_t bytes, int64_t digits) {
    digits_ = digits;
    out += bytes;
  }
  bool ends_in_digit() const { return digits_ > 0; }
  bool ends_in_space() const { return out == begin_ || out[-1] == ' '; }
  size_t finish() {
    if (out > begin_ && out[-1] == ' ') --out;
    return static_cast<size_t>(out - begin_);
  }

 private:
  char* begin_;
  int64_t mask_, digits_ = 0;
};

bool has_no_spaces(uint32_t c) {
  if (c < 0x0E00) return false;
  if (c < 0x1100) return true;  // Thai, Lao, Tibetan, Burmese; Georgian begins at 10A0
  if (c < 0x2E80) return c >= 0x1780 && c < 0x1800;
  return (c >= 0x2E80 && c < 0x3100) || (c >= 0x31F0 && c < 0x3200) || (c >= 0x3400 && c < 0xA000) ||
         (c >= 0xF900 && c < 0xFB00) || (c >= 0xFF66 && c < 0xFF9E) || (c >= 0x20000 && c < 0x40000);
}

bool is_georgian(uint32_t c) { return c >= 0x10A0 && c < 0x1100; }

bool has_other_upper_case(std::string_view text) {
  for (const char *p = text.data(), *end = p + text.size(); p < end;) {
    if (static_cast<unsigned char>(*p) < 0x80) {
      ++p;
      continue;
    }
    const uint32_t c = next_code_point(p);
    if (c >= 0x2E80 && c < 0xA640) continue;  // Han and kana
    if (static_cast<uint32_t>(u_tolower(static_cast<UChar32>(c))) != c) return true;
  }
  return false;
}

}  // namespace

void ShingleConfig::validate(const Place& place) const {
  check(words >= 1 && words <= 32, place("words"), ": must be 1 to 32, found ", words);
  check(characters >= 1 && characters <= 32, place("characters"), ": must be 1 to 32, found ", characters);
  check(mask_digits >= 0, place("mask_digits"), ": must not be negative, found ", mask_digits);
}

Shingler::Shingler(const ShingleConfig& config) : config_(config) {
  check(config.words >= 1 && config.characters >= 1, "shingles: 'words' and 'characters' must be at least 1");
}

// Sixteen bytes at a time where nothing but case changes; else byte by byte.
void Shingler::fold_ascii(std::string_view text) {
  key_.resize(text.size() + kPadding);
  KeyWriter key(key_.data(), config_.mask_digits);
  const auto all = [](char c) { return _mm_set1_epi8(c); };
  const int64_t mask = config_.mask_digits > 0 ? std::min<int64_t>(config_.mask_digits, 17) : 17;
  size_t i = 0;
  for (; i + 16 <= text.size(); i += 16) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(text.data() + i));
    const auto spaces = static_cast<uint32_t>(_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, all(' '))));
    const uint32_t doubled = spaces & ((spaces << 1) | static_cast<uint32_t>(key.ends_in_space()));
    const __m128i control = _mm_cmplt_epi8(bytes, all(' '));
    const __m128i digit =
        _mm_and_si128(_mm_cmpgt_epi8(bytes, all('0' - 1)), _mm_cmplt_epi8(bytes, all('9' + 1)));
    const auto controls = static_cast<uint32_t>(_mm_movemask_epi8(control));
    const auto digits = static_cast<uint32_t>(_mm_movemask_epi8(digit));
    uint32_t masked = digits;  // becomes the places where a run of `mask` digits begins
    for (int64_t k = 1; k < mask && masked != 0; ++k) masked &= masked >> 1;
    const bool continued = (digits & 1) != 0 && key.ends_in_digit();
    if ((doubled | controls | masked) == 0 && !continued) {
      const __m128i upper =
          _mm_and_si128(_mm_cmpgt_epi8(bytes, all('A' - 1)), _mm_cmplt_epi8(bytes, all('Z' + 1)));
      const __m128i folded = _mm_or_si128(bytes, _mm_and_si128(upper, all(32)));
      _mm_storeu_si128(reinterpret_cast<__m128i*>(key.out), folded);
      key.copied(16, std::countl_one(digits << 16));
    } else {
      for (size_t j = i; j < i + 16; ++j) key.put(kFold[static_cast<unsigned char>(text[j])]);
    }
  }
  for (; i < text.size(); ++i) key.put(kFold[static_cast<unsigned char>(text[i])]);
  key_.resize(key.finish());
  by_characters_ = config_.kind == ShingleKind::kCharacters;
}

void Shingler::fold_unicode(std::string_view text) {
  if (valid_utf8_prefix(text) < text.size()) text = repaired_ = repair_utf8(text);
  if (config_.compatibility) text = normalize(text, NormalForm::kNFKC, normal_);
  if (has_other_upper_case(text)) {
    lower_.clear();
    icu::StringByteSink<std::string> sink(&lower_);
    UErrorCode status = U_ZERO_ERROR;
    icu::CaseMap::utf8ToLower("", 0, icu::StringPiece(text.data(), static_cast<int32_t>(text.size())), sink,
                              nullptr, status);
    if (U_FAILURE(status)) throw std::logic_error(concat("ICU: ", u_errorName(status)));
    text = lower_;
  }
  const uint8_t* classes = character_classes();
  key_.resize(text.size() + kPadding);
  KeyWriter key(key_.data(), config_.mask_digits);
  int64_t letters = 0, unspaced = 0;
  for (const char *p = text.data(), *end = p + text.size(); p < end;) {
    const auto byte = static_cast<unsigned char>(*p);
    if (byte < 0x80) {
      key.put(kFold[byte]);
      letters += (byte | 32) >= 'a' && (byte | 32) <= 'z';
      ++p;
      continue;
    }
    const char* begin = p;
    const uint32_t c = next_code_point(p);
    const uint8_t of = classes[c];
    letters += (of & kLetter) != 0;
    unspaced += (of & kLetter) != 0 && has_no_spaces(c) && !is_georgian(c);
    if (config_.compatibility && (of & kSpace) != 0) {
      key.put(' ');
    } else if (config_.mask_digits > 0 && (of & kNumber) != 0 && u_isdigit(static_cast<UChar32>(c)) != 0) {
      key.put(static_cast<char>('0' + u_charDigitValue(static_cast<UChar32>(c))));
    } else {
      const auto bytes = static_cast<size_t>(p - begin);
      std::copy(begin, p, key.out);
      key.copied(bytes, 0);
    }
  }
  key_.resize(key.finish());
  by_characters_ =
      config_.kind == ShingleKind::kCharacters ||
      (config_.kind == ShingleKind::kAuto && unspaced > 0 && unspaced * kLettersPerUnspaced >= letters);
}

void Shingler::hash_words() {
  const size_t size = key_.size();
  key_.resize(size + kPadding);  // zeros
  const char* data = key_.data();
  size_t begin = 0, count = 0;
  units_.resize(size / 2 + 1);  // a word and its space are two bytes at least
  for (size_t at = 0; at < size; at += 16) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(data + at));
    auto spaces = static_cast<uint32_t>(_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_set1_epi8(' '))));
    for (; spaces != 0; spaces &= spaces - 1) {
      const size_t end = at + static_cast<size_t>(std::countr_zero(spaces));
      units_[count++] = hash_word(data + begin, end - begin);
      begin = end + 1;
    }
  }
  if (begin < size) units_[count++] = hash_word(data + begin, size - begin);
  units_.resize(count);
  key_.resize(size);
}

void Shingler::hash_characters() {
  units_.clear();
  for (const char *p = key_.data(), *end = p + key_.size(); p < end;) {
    const uint32_t c = next_code_point(p);
    if (c != ' ') units_.push_back(fold_product(c + kC, kA));
  }
}

// hashes_ of every n neighbouring units: u[0] k^(n-1) + ... + u[n-1], finished; or one of them all.
void Shingler::roll(int64_t wanted) {
  const auto n = static_cast<size_t>(wanted);
  hashes_.clear();
  if (units_.empty()) return;
  uint64_t sum = 0, out_of_window = 1;
  if (units_.size() < n) {
    for (const uint64_t unit : units_) sum = sum * kStep + unit;
    hashes_.push_back(finish(sum ^ (units_.size() * kWhole)));
    return;
  }
  for (size_t i = 0; i < n; ++i) out_of_window *= kStep;
  for (size_t i = 0; i < n; ++i) sum = sum * kStep + units_[i];
  hashes_.resize(units_.size() - n + 1);
  hashes_[0] = finish(sum);
  for (size_t i = n; i < units_.size(); ++i) {
    sum = sum * kStep + units_[i] - units_[i - n] * out_of_window;
    hashes_[i - n + 1] = finish(sum);
  }
}

void Shingler::keep_distinct() {
  const size_t n = hashes_.size();
  const int bits = std::bit_width(n * 2);
  table_.assign(size_t{1} << bits, 0);  // 0: free
  const size_t mask = table_.size() - 1;
  size_t kept = 0;
  for (size_t i = 0; i < n; ++i) {
    const uint64_t hash = hashes_[i] + (hashes_[i] == 0);
    size_t at = hash & mask;
    while (table_[at] != 0 && table_[at] != hash) at = (at + 1) & mask;
    hashes_[kept] = hash;
    kept += table_[at] == 0;
    table_[at] = hash;
  }
  hashes_.resize(kept);
}

std::span<const uint64_t> Shingler::shingles(std::string_view text) {
  check(text.size() < size_t{1} << 30, "shingles: a text of ", text.size(), " bytes is too long");
  if (is_ascii(text)) {
    fold_ascii(text);
  } else {
    fold_unicode(text);
  }
  if (by_characters_) {
    hash_characters();
    roll(config_.characters);
  } else {
    hash_words();
    roll(config_.words);
  }
  keep_distinct();
  return hashes_;
}

std::span<const uint64_t> Shingler::shingles(std::span<const std::string_view> parts) {
  if (parts.size() == 1) return shingles(parts[0]);
  joined_.clear();
  for (const std::string_view part : parts) joined_.append(joined_.empty() ? 0 : 1, '\n').append(part);
  return shingles(joined_);
}

std::string matching_key(std::string_view text, const ShingleConfig& config) {
  Shingler shingler(config);
  (void)shingler.shingles(text);
  return std::string(shingler.key());
}

double jaccard(std::span<const uint64_t> a, std::span<const uint64_t> b) {
  if (a.empty() || b.empty()) return 0;
  std::vector<uint64_t> x(a.begin(), a.end()), y(b.begin(), b.end()), both;
  std::sort(x.begin(), x.end());
  std::sort(y.begin(), y.end());
  std::set_intersection(x.begin(), x.end(), y.begin(), y.end(), std::back_inserter(both));
  return static_cast<double>(both.size()) / static_cast<double>(x.size() + y.size() - both.size());
}

}  // namespace decant
