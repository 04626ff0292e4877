#include "data_pipeline/language.h"

#include <emmintrin.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "data_pipeline/language_model.h"
#include "data_pipeline/unicode.h"

namespace decant {

namespace {

// --- scripts
// -------------------------------------------------------------------------------------------------

// What a turn can vote for. kLatin is decided by the model, the others stand for one language each.
enum Voice : uint8_t {
  kLatin,
  kChinese,
  kJapanese,
  kKorean,
  kThai,
  kLao,
  kKhmer,
  kBurmese,
  kTibetan,
  kGreek,
  kHebrew,
  kArmenian,
  kGeorgian,
  kHindi,
  kBengali,
  kPunjabi,
  kGujarati,
  kOdia,
  kTamil,
  kTelugu,
  kKannada,
  kMalayalam,
  kSinhala,
  kAmharic,
  kRussian,
  kUkrainian,
  kBelarusian,
  kBulgarian,
  kSerbian,
  kMacedonian,
  kKazakh,
  kMongolian,
  kArabic,
  kPersian,
  kUrdu,
  kNumVoices,
  // Classes of characters only.
  kKana,
  kNeutral,
  kNumClasses
};
static_assert(kNumVoices <= 48);

constexpr std::string_view kVoiceCodes[kNumVoices] = {"",   "zh", "ja", "ko", "th", "lo", "km", "my", "bo",
                                                      "el", "he", "hy", "ka", "hi", "bn", "pa", "gu", "or",
                                                      "ta", "te", "kn", "ml", "si", "am", "ru", "uk", "be",
                                                      "bg", "sr", "mk", "kk", "mn", "ar", "fa", "ur"};

// Characters of a word: a turn's weight is in words.
constexpr float characters_a_word(uint8_t c) {
  switch (c) {
    case kChinese:
      return 1.5f;
    case kJapanese:
    case kKana:
    case kKorean:
      return 2;
    default:
      return 4.5f;
  }
}

struct Block {
  uint32_t first, last;
  uint8_t character_class;
};

// Whole blocks of 64 code points, so that the first two bytes of a three-byte character decide. Letters of
// Latin script count where they are needed, in ASCII and by words.
constexpr Block kBlocks[] = {
    {0x00C0, 0x024F, kLatin},     {0x0370, 0x03FF, kGreek},    {0x0400, 0x052F, kRussian},
    {0x0530, 0x058F, kArmenian},  {0x0590, 0x05FF, kHebrew},   {0x0600, 0x06FF, kArabic},
    {0x0750, 0x077F, kArabic},    {0x0900, 0x097F, kHindi},    {0x0980, 0x09FF, kBengali},
    {0x0A00, 0x0A7F, kPunjabi},   {0x0A80, 0x0AFF, kGujarati}, {0x0B00, 0x0B7F, kOdia},
    {0x0B80, 0x0BFF, kTamil},     {0x0C00, 0x0C7F, kTelugu},   {0x0C80, 0x0CFF, kKannada},
    {0x0D00, 0x0D7F, kMalayalam}, {0x0D80, 0x0DFF, kSinhala},  {0x0E00, 0x0E7F, kThai},
    {0x0E80, 0x0EFF, kLao},       {0x0F00, 0x0FFF, kTibetan},  {0x1000, 0x109F, kBurmese},
    {0x10A0, 0x10FF, kGeorgian},  {0x1100, 0x11FF, kKorean},   {0x1200, 0x139F, kAmharic},
    {0x1780, 0x17FF, kKhmer},     {0x1E00, 0x1EFF, kLatin},    {0x1F00, 0x1FFF, kGreek},
    {0x3040, 0x30FF, kKana},      {0x3100, 0x312F, kChinese},  {0x3130, 0x318F, kKorean},
    {0x3400, 0x4DBF, kChinese},   {0x4E00, 0x9FFF, kChinese},  {0xAC00, 0xD7AF, kKorean},
    {0xF900, 0xFAFF, kChinese},   {0xFB50, 0xFDFF, kArabic},   {0xFE70, 0xFEFF, kArabic},
};

struct ScriptTable {
  std::array<uint8_t, 0x10000 / 64> of_block{};

  ScriptTable() {
    of_block.fill(kNeutral);
    for (const Block& b : kBlocks)
      for (uint32_t c = b.first; c <= b.last; c += 64) of_block[c / 64] = b.character_class;
    of_block[0x10C0 / 64] = kGeorgian;
    of_block[0xFF00 / 64] = of_block[0xFF40 / 64] = kNeutral;  // full-width forms
  }
};

const ScriptTable& script_table() {
  static const ScriptTable table;
  return table;
}

// `form` is a code point less U+F000.
uint8_t class_of_form(uint32_t form) {
  const bool letter = (form >= 0xF21 && form <= 0xF3A) || (form >= 0xF41 && form <= 0xF5A);
  return letter ? kLatin : form >= 0xF66 && form <= 0xF9D && form != 0xF70 ? kKana : kNeutral;
}

struct Counts {
  std::array<uint32_t, kNumClasses> of{};
  uint32_t ascii_letters = 0, no = 0;  // no: the kana の
};

// (std::popcount is a call where the processor is not known to have the instruction.)
inline unsigned bits_of(unsigned mask) {
  mask -= mask >> 1 & 0x5555u;
  mask = (mask & 0x3333u) + (mask >> 2 & 0x3333u);
  mask = (mask + (mask >> 4)) & 0x0F0Fu;
  return (mask + (mask >> 8)) & 0x1Fu;
}

// Bits of the ASCII letters among 16 bytes.
inline unsigned letter_mask(__m128i bytes) {
  const __m128i lower = _mm_or_si128(bytes, _mm_set1_epi8(0x20));
  const __m128i above = _mm_cmpgt_epi8(lower, _mm_set1_epi8('a' - 1));
  const __m128i below = _mm_cmplt_epi8(lower, _mm_set1_epi8('z' + 1));
  return static_cast<unsigned>(_mm_movemask_epi8(_mm_and_si128(above, below)));
}

Counts count_scripts(std::string_view text) {
  const auto& of_block = script_table().of_block;
  Counts counts;
  const auto* p = reinterpret_cast<const unsigned char*>(text.data());
  const auto* const end = p + text.size();
  while (p < end) {
    if (*p < 0x80) {
      if (end - p >= 16) {
        const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
        const auto high = static_cast<unsigned>(_mm_movemask_epi8(bytes));
        const unsigned ascii = high == 0 ? 16u : static_cast<unsigned>(std::countr_zero(high));
        counts.ascii_letters += bits_of(letter_mask(bytes) & ((1u << ascii) - 1));
        p += ascii;
      } else {
        counts.ascii_letters += static_cast<unsigned>((*p | 0x20) - 'a') < 26u;
        ++p;
      }
      continue;
    }
    if ((*p & 0xF0) == 0xE0 && end - p >= 3) {
      // A run of one class, counted in a register.
      const uint8_t c = of_block[(p[0] & 0x0Fu) << 6 | (p[1] & 0x3Fu)];
      if (c == kKana) {
        const unsigned code = (p[0] & 0x0Fu) << 12 | (p[1] & 0x3Fu) << 6 | (p[2] & 0x3Fu);
        if (code != 0x30FB && code != 0x30FC) ++counts.of[kKana];  // middle dot, lengthener: Chinese has them
        counts.no += code == 0x306E;
        p += 3;
        continue;
      }
      if (*p == 0xEF && p[1] >= 0xBC) {  // full-width and half-width forms
        ++counts.of[class_of_form((p[1] & 0x3Fu) << 6 | (p[2] & 0x3Fu))];
        p += 3;
        continue;
      }
      uint32_t run = 0;
      do {
        ++run;
        p += 3;
      } while (end - p >= 3 && (*p & 0xF0) == 0xE0 && of_block[(p[0] & 0x0Fu) << 6 | (p[1] & 0x3Fu)] == c);
      counts.of[c] += run;
      continue;
    }
    const int64_t length = *p >= 0xF0 ? 4 : *p >= 0xC0 ? 2 : 1;
    if (length == 2 && end - p >= 2) ++counts.of[of_block[static_cast<size_t>(*p & 0x1Fu)]];
    if (length == 4 && *p == 0xF0 && end - p >= 2 && p[1] >= 0xA0 && p[1] < 0xB4) ++counts.of[kChinese];
    p += std::min<int64_t>(length, end - p);
  }
  return counts;
}

// --- Han
// -----------------------------------------------------------------------------------------------------

// Characters of Chinese grammar: they make the sentence around a term or a quotation Chinese.
constexpr std::string_view kHanGrammar =
    "的了是吗嗎么麼呢吧不我您请請如何怎为為没沒有能问問哪谁誰什啊呀这這那";

struct HanTable {
  std::array<uint8_t, 0x5200> flags{};  // of kHanSets, and 16: grammar

  HanTable() {
    size_t at = 0;
    for (const char* const* line = kHanSets; *line != nullptr; ++line)
      for (const char* c = *line; *c != '\0'; ++c)
        flags.at(at++) = static_cast<uint8_t>(*c <= '9' ? *c - '0' : *c - 'a' + 10);
    const char* p = kHanGrammar.data();
    while (p < kHanGrammar.data() + kHanGrammar.size()) flags.at(next_code_point(p) - 0x4E00) |= 16;
  }
};

struct HanCounts {
  unsigned simplified = 0, traditional = 0, japanese = 0, chinese = 0, grammar = 0;
};

// Of the first characters; the rest would not tell otherwise.
HanCounts count_han(std::string_view text) {
  static const HanTable table;
  constexpr int kEnough = 96;
  // Five counters of 8 bits in one number.
  static const auto spread = [] {
    std::array<uint64_t, 32> s{};
    for (size_t flags = 0; flags < s.size(); ++flags)
      for (size_t bit = 0; bit < 5; ++bit) s[flags] |= uint64_t{flags >> bit & 1} << 8 * bit;
    return s;
  }();
  uint64_t sum = 0;
  int seen = 0;
  const auto* p = reinterpret_cast<const unsigned char*>(text.data());
  const auto* const end = p + text.size();
  while (end - p >= 3 && seen < kEnough) {
    if (*p < 0xE4 || *p > 0xE9) {
      ++p;
      continue;
    }
    const unsigned code = (p[0] & 0x0Fu) << 12 | (p[1] & 0x3Fu) << 6 | (p[2] & 0x3Fu);
    p += 3;
    if (code < 0x4E00) continue;
    sum += spread[table.flags[code - 0x4E00]];
    ++seen;
  }
  const auto field = [&](int k) { return static_cast<unsigned>(sum >> 8 * k & 255); };
  return {field(0), field(1), field(2), field(3), field(4)};
}

Voice voice_of_han(const Counts& counts, const HanCounts& han) {
  const uint32_t characters = counts.of[kChinese], kana = counts.of[kKana];
  if (kana == 0) return han.japanese > 0 && han.chinese == 0 ? kJapanese : kChinese;
  if (han.chinese == 0) return kana == counts.no && kana * 6 <= characters ? kChinese : kJapanese;
  // Characters that Japanese does not know: it is Chinese unless kana carries the text.
  return kana * 2 <= characters ? kChinese : kJapanese;
}

// --- Latin
// ---------------------------------------------------------------------------------------------------

constexpr uint8_t kNoLetter = 0;

// Bits of the classes of bytes.
enum ByteClass : uint8_t { kAsciiLetter = 1, kCodeByte = 2, kJoint = 4, kSpaceByte = 8, kWide = 16 };

struct Tuning {  // tenths of a nat
  int rare_word = 30, short_word = 45, one_letter = 20, rare_wide_word = 60;
};
constexpr Tuning kAtMost;

uint32_t lower_latin(uint32_t c) {
  if (c >= 0xC0 && c <= 0xDE && c != 0xD7) return c + 0x20;
  if (c == 0x130) return 'i';
  if (c == 0x178) return 0xFF;
  if (c == 0x18F) return 0x259;
  if ((c >= 0x139 && c <= 0x148) || (c >= 0x179 && c <= 0x17E) || c == 0x1AF) return c + c % 2;
  if ((c >= 0x100 && c <= 0x177) || (c >= 0x1A0 && c <= 0x1A1) || (c >= 0x200 && c <= 0x21F) ||
      (c >= 0x1EA0 && c <= 0x1EFF))
    return c | 1;
  return c;
}

constexpr uint32_t fnv(uint32_t hash, uint8_t code) { return (hash ^ code) * 0x01000193u; }
constexpr uint32_t kFnvStart = 0x811C9DC5u;

// Whoever writes these speaks; a quoted error message or product name has none of them.
constexpr const char* kSpeech[] = {"i",    "me",    "my",   "you",    "your",   "we",  "our",   "how",
                                   "what", "where", "when", "why",    "please", "can", "could", "would",
                                   "want", "need",  "do",   "thanks", "hello",  "hi",  "like",  "does"};

class LatinModel {
 public:
  LatinModel() {
    const char* p = kModelLetters;
    uint8_t number = 0;
    while (*p != '\0') code_[slot(next_code_point(p))] = ++number;
    apostrophe_ = static_cast<uint8_t>(number + 1);
    for (uint32_t c = 0x80; c < 0x1F00; ++c)
      if (slot(c) != 0 && lower_latin(c) != c) code_[slot(c)] = code_[slot(lower_latin(c))];
    for (uint32_t c = 'A'; c <= 'Z'; ++c) code_[slot(c)] = code_[slot(c + 32)];
    for (uint32_t c = 0; c < 128; ++c) byte_class_[c] = ascii_class(static_cast<char>(c));
    for (uint32_t c = 128; c < 256; ++c) byte_class_[c] = kWide;
    unpack();
    for (const char* word : kSpeech) {
      uint32_t hash = kFnvStart;
      for (const char* c = word; *c != '\0'; ++c) hash = fnv(hash, code_[slot(static_cast<uint32_t>(*c))]);
      const size_t at = find_word(hash);
      if (at == kNone) throw std::logic_error("the language model lacks a word of kSpeech");
      speech_[at] = 1;
    }
  }

  uint8_t code(uint32_t c) const {
    if (c >= 0xFF21 && c <= 0xFF5A) c -= 0xFF21 - 'A';  // full-width
    return code_[slot(c)];
  }
  uint8_t apostrophe() const { return apostrophe_; }
  uint8_t byte_class(unsigned char b) const { return byte_class_[b]; }

  static constexpr size_t kNone = SIZE_MAX;
  size_t find_word(uint32_t hash) const { return words_.find(hash); }
  const uint8_t* word_row(size_t at) const { return &rows_[words_.row[at] * size_t{kNumLatin}]; }
  bool is_speech(size_t at) const { return speech_[at] != 0; }
  // Row of three letters, nullptr when there is none.
  const uint8_t* trigram_row(uint8_t a, uint8_t b, uint8_t c) const {
    uint32_t row;
    if ((a | b | c) < 32 && a < 27 && b < 27 && c < 27) {
      row = ascii_trigrams_[(a * 27u + b) * 27u + c];
    } else {
      const size_t at = trigrams_.find(uint32_t{a} << 16 | uint32_t{b} << 8 | c);
      row = at == kNone ? kNoRow : trigrams_.row[at];
    }
    return row == kNoRow ? nullptr : &rows_[row * size_t{kNumLatin}];
  }

 private:
  static constexpr uint16_t kNoRow = UINT16_MAX;

  struct Table {  // open addressing
    static constexpr size_t kSlots = 1 << 15;
    std::vector<uint32_t> key = std::vector<uint32_t>(kSlots);
    std::vector<uint16_t> row = std::vector<uint16_t>(kSlots);
    std::vector<uint8_t> used = std::vector<uint8_t>(kSlots);

    static size_t start(uint32_t k) { return (k * 0x9E3779B1u) >> 17; }
    size_t find(uint32_t k) const {
      for (size_t at = start(k);; at = (at + 1) % kSlots) {
        if (key[at] == k && used[at]) return at;
        if (!used[at]) return kNone;
      }
    }
    void put(uint32_t k, uint16_t r) {
      size_t at = start(k);
      while (used[at]) at = (at + 1) % kSlots;
      key[at] = k, row[at] = r, used[at] = 1;
    }
  };

  // Letters lie below U+0250 and in U+1E00..U+1EFF; 0 is what is neither.
  static size_t slot(uint32_t c) {
    return c < 0x250 ? c : c >= 0x1E00 && c < 0x1F00 ? c - 0x1E00 + 0x250 : 0;
  }

  static uint8_t ascii_class(char c) {
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) return kAsciiLetter;
    if (c == ' ' || (c >= '\t' && c <= '\r')) return kSpaceByte;
    if ((c >= '0' && c <= '9') || std::strchr("/\\_=|@<>{}[]~^", c) != nullptr) return c == 0 ? 0 : kCodeByte;
    if (c == '.' || c == ':') return kJoint;
    return 0;
  }

  void unpack() {
    std::vector<uint8_t> bytes;
    uint32_t bits = 0;
    int have = 0;
    for (const char* const* line = kModelRows; *line != nullptr; ++line) {
      for (const char* c = *line; *c != '\0' && *c != '='; ++c) {
        const auto value = static_cast<uint32_t>(*c >= 'a'   ? *c - 'a' + 26
                                                 : *c >= 'A' ? *c - 'A'
                                                 : *c >= '0' ? *c - '0' + 52
                                                 : *c == '+' ? 62
                                                             : 63);
        bits = bits << 6 | value;
        have += 6;
        if (have >= 8) {
          have -= 8;
          bytes.push_back(static_cast<uint8_t>(bits >> have & 255));
        }
      }
    }
    rows_.resize((kNumModelWords + kNumModelTrigrams) * kNumLatin);
    ascii_trigrams_.assign(size_t{27} * 27 * 27, kNoRow);
    size_t at = 0;
    for (size_t row = 0, key = 0; row < kNumModelWords + kNumModelTrigrams; ++row) {
      const bool word = row < kNumModelWords;
      if (row == kNumModelWords) key = 0;
      size_t delta = 0;
      for (int shift = 0;; shift += 7) {
        delta |= size_t{bytes.at(at) & 127u} << shift;
        if (bytes[at++] < 128) break;
      }
      key += delta;
      const int top = bytes.at(at++);
      uint32_t named = 0;
      for (int shift = 0; shift < 32; shift += 8) named |= uint32_t{bytes.at(at++)} << shift;
      int nibble = 0;
      for (size_t l = 0; l < kNumLatin; ++l) {
        const int floor = word ? kWordFloors[l] : kTrigramFloor;
        uint8_t level = static_cast<uint8_t>(std::clamp(floor - top, 0, 15));
        if (named >> l & 1) {
          level = bytes.at(at) >> (nibble * 4) & 15;
          at += static_cast<size_t>(nibble);
          nibble ^= 1;
        }
        rows_[row * kNumLatin + l] = level;
      }
      at += static_cast<size_t>(nibble);
      const auto k = static_cast<uint32_t>(key);
      (word ? words_ : trigrams_).put(k, static_cast<uint16_t>(row));
      const uint32_t a = k >> 16, b = k >> 8 & 255, c = k & 255;
      if (!word && a < 27 && b < 27 && c < 27)
        ascii_trigrams_[(a * 27 + b) * 27 + c] = static_cast<uint16_t>(row);
    }
    if (at != bytes.size()) throw std::logic_error("the language model does not fit its reader");
    speech_.resize(Table::kSlots);
  }

  std::array<uint8_t, 0x350> code_{};
  std::array<uint8_t, 256> byte_class_{};
  uint8_t apostrophe_ = 0;
  std::vector<uint8_t> rows_;
  Table words_, trigrams_;
  std::vector<uint16_t> ascii_trigrams_;
  std::vector<uint8_t> speech_;
};

const LatinModel& latin_model() {
  static const LatinModel model;
  return model;
}

// Against each language, in tenths of a nat; 32 lanes of 16 bits.
struct Lanes {
  __m128i sum[4] = {_mm_setzero_si128(), _mm_setzero_si128(), _mm_setzero_si128(), _mm_setzero_si128()};

  // Bytes, none above 127.
  void add(__m128i low, __m128i high) {
    const __m128i zero = _mm_setzero_si128();
    sum[0] = _mm_adds_epi16(sum[0], _mm_unpacklo_epi8(low, zero));
    sum[1] = _mm_adds_epi16(sum[1], _mm_unpackhi_epi8(low, zero));
    sum[2] = _mm_adds_epi16(sum[2], _mm_unpacklo_epi8(high, zero));
    sum[3] = _mm_adds_epi16(sum[3], _mm_unpackhi_epi8(high, zero));
  }

  std::array<int16_t, kNumLatin> values() const {
    std::array<int16_t, kNumLatin> v;
    std::memcpy(v.data(), sum, sizeof v);
    return v;
  }
};

struct LatinText {
  Lanes lanes;
  int words = 0, speech = 0;
  int longer = 0;     // words of two letters and more: single letters alone tell nothing
  int code_like = 0;  // tokens that were left out
};

__m128i load(const uint8_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }

// How far the best language is before the second.
int margin(const Lanes& lanes) {
  const auto v = lanes.values();
  int best = INT16_MAX, second = INT16_MAX;
  for (const int x : v) {
    second = std::min(second, std::max(x, best));
    best = std::min(x, best);
  }
  return second - best;
}

class LatinReader {
 public:
  LatinReader(const LatinModel& model, bool code_like) : model_(model), code_like_(code_like) {}

  // The words of `text`, until `most` words are read or the language is clear.
  void read(std::string_view text, int most) {
    const auto* p = reinterpret_cast<const unsigned char*>(text.data());
    const auto* const end = p + text.size();
    most += result_.words;
    while (p < end && result_.words < most) {
      if (model_.byte_class(*p) == kSpaceByte) {
        ++p;
        continue;
      }
      p = token(p, end);
      if (result_.words >= next_look_) {
        next_look_ = result_.words + 16;
        if (margin(result_.lanes) >= kClear) return;
      }
    }
  }

  const LatinText& result() const { return result_; }

 private:
  static constexpr int kClear = 250;      // e^-25
  static constexpr size_t kLongest = 40;  // letters of a word

  struct Word {
    uint32_t hash = kFnvStart;
    uint8_t length = 0;
    bool wide = false;
    std::array<uint8_t, kLongest> letters;
  };

  // Up to the next white space or character outside Latin script. The words are taken when all of it was read
  // and does not look like code.
  const unsigned char* token(const unsigned char* p, const unsigned char* end) {
    pending_ = 0;
    bool code = *p == '-' && end - p > 1 && model_.byte_class(p[1]) == kAsciiLetter;
    bool joint = false;   // a dot or colon after a letter or digit
    bool inside = false;  // after a letter or digit
    Word* word = nullptr;
    const auto close = [&] { word = nullptr; };
    while (p < end) {
      const uint8_t c = model_.byte_class(*p);
      if (c == kAsciiLetter) {
        code |= joint;
        joint = false, inside = true;
        if (word == nullptr) word = open();
        put(*word, static_cast<uint8_t>((*p | 0x20) - 'a' + 1));
        ++p;
        continue;
      }
      if (c == kSpaceByte) break;
      if (c == kWide) {
        const unsigned char* const begin = p;
        uint32_t letter = 0;
        if ((*p & 0xE0) == 0xC0 && end - p >= 2) {
          letter = (*p & 0x1Fu) << 6 | (p[1] & 0x3Fu);
          p += 2;
        } else if ((*p & 0xF0) == 0xE0 && end - p >= 3) {
          letter = (*p & 0x0Fu) << 12 | (p[1] & 0x3Fu) << 6 | (p[2] & 0x3Fu);
          p += 3;
        } else {
          p += *p >= 0xF0 ? std::min<int64_t>(4, end - p) : 1;
        }
        const uint8_t number = model_.code(letter);
        if (number != kNoLetter) {
          code |= joint;
          joint = false, inside = true;
          if (word == nullptr) word = open();
          put(*word, number);
          word->wide = true;
          continue;
        }
        if (letter == 0x2019) {
          const auto* after = contraction(p, end);
          if (word != nullptr && after != nullptr) p = take_contraction(p, after);
          close();
          continue;
        }
        // Outside Latin script: the token ends here.
        if (p == begin) ++p;
        break;
      }
      if (*p == '\'' && word != nullptr) {
        if (const auto* after = contraction(p + 1, end)) {
          p = take_contraction(p + 1, after);
          close();
          continue;
        }
      }
      close();
      if (c == kCodeByte) {
        code = true;
        inside = *p >= '0' && *p <= '9';
        joint = false;
      } else {
        joint = c == kJoint && inside;
        inside = false;
      }
      ++p;
    }
    if (pending_ == 0) return p;
    if (code && !code_like_) {
      ++result_.code_like;
      return p;
    }
    for (size_t i = 0; i < pending_; ++i) take(words_[i]);
    return p;
  }

  Word* open() {
    // More words in one token than there is room for are not prose; the last one is written over.
    if (pending_ < words_.size()) ++pending_;
    Word& word = words_[pending_ - 1];
    word.hash = kFnvStart, word.length = 0, word.wide = false;
    return &word;
  }

  static void put(Word& word, uint8_t letter) {
    word.hash = fnv(word.hash, letter);
    if (word.length < kLongest) word.letters[word.length++] = letter;
  }

  // `p` is behind an apostrophe: the end of d, ll, s, t, m, re or ve, else nullptr.
  const unsigned char* contraction(const unsigned char* p, const unsigned char* end) const {
    const auto at = [&](ptrdiff_t k) { return k < end - p ? p[k] | 0x20 : 0; };
    const auto letter = [&](ptrdiff_t k) {
      return k < end - p && (model_.byte_class(p[k]) & (kAsciiLetter | kWide)) != 0;
    };
    ptrdiff_t length = 0;
    if ((at(0) == 'l' && at(1) == 'l') || ((at(0) == 'r' || at(0) == 'v') && at(1) == 'e')) {
      length = 2;
    } else if (at(0) == 'd' || at(0) == 's' || at(0) == 't' || at(0) == 'm') {
      length = 1;
    }
    return length != 0 && !letter(length) ? p + length : nullptr;
  }

  const unsigned char* take_contraction(const unsigned char* p, const unsigned char* after) {
    Word* word = open();
    put(*word, model_.apostrophe());
    for (; p < after; ++p) put(*word, static_cast<uint8_t>((*p | 0x20) - 'a' + 1));
    return after;
  }

  void take(const Word& word) {
    if (word.length >= kLongest || (code_like_ && word.length < 2)) return;
    ++result_.words;
    result_.longer += word.length > 1;
    const size_t known = model_.find_word(word.hash);
    if (known != LatinModel::kNone) {
      result_.speech += model_.is_speech(known);
      const uint8_t* row = model_.word_row(known);
      const int at_most = word.length == 1                ? kAtMost.one_letter
                          : word.length < 4 && !word.wide ? kAtMost.short_word
                                                          : 127;
      const __m128i cap = _mm_set1_epi8(static_cast<char>(at_most));
      __m128i low = load(row), high = load(row + 16);
      low = _mm_min_epu8(_mm_sub_epi8(_mm_slli_epi16(low, 3), low), cap);  // 0.7 nat: 15 * 7 fits a byte
      high = _mm_min_epu8(_mm_sub_epi8(_mm_slli_epi16(high, 3), high), cap);
      result_.lanes.add(low, high);
      return;
    }
    __m128i low = _mm_setzero_si128(), high = _mm_setzero_si128();
    uint8_t a = 0, b = word.letters[0];
    const size_t letters = std::min<size_t>(word.length, 16);  // 16 * 15 fits a byte
    for (size_t i = 1; i <= letters; ++i) {
      const uint8_t c = i < word.length ? word.letters[i] : 0;
      if (const uint8_t* row = model_.trigram_row(a, b, c)) {
        low = _mm_add_epi8(low, load(row));
        high = _mm_add_epi8(high, load(row + 16));
      }
      a = b, b = c;
    }
    __m128i least = _mm_min_epu8(low, high);
    least = _mm_min_epu8(least, _mm_srli_si128(least, 8));
    least = _mm_min_epu8(least, _mm_srli_si128(least, 4));
    least = _mm_min_epu8(least, _mm_srli_si128(least, 2));
    least = _mm_min_epu8(least, _mm_srli_si128(least, 1));
    const __m128i base = _mm_set1_epi8(static_cast<char>(_mm_cvtsi128_si32(least) & 255));
    const int at_most = word.wide ? kAtMost.rare_wide_word : kAtMost.rare_word;
    // Half of 0.4 nat: times two.
    const __m128i cap = _mm_set1_epi8(static_cast<char>(at_most / 2));
    low = _mm_min_epu8(_mm_sub_epi8(low, base), cap);
    high = _mm_min_epu8(_mm_sub_epi8(high, base), cap);
    result_.lanes.add(_mm_add_epi8(low, low), _mm_add_epi8(high, high));
  }

  const LatinModel& model_;
  const bool code_like_;
  LatinText result_;
  int next_look_ = 16;
  size_t pending_ = 0;
  std::array<Word, 16> words_;
};

// A long text is looked at in four places.
LatinText read_latin(std::string_view text, bool code_like) {
  constexpr size_t kLong = 1 << 14;
  constexpr int kWords = 256;
  LatinReader reader(latin_model(), code_like);
  if (text.size() < kLong) {
    reader.read(text, kWords);
  } else {
    for (size_t part = 0; part < 4; ++part) {
      std::string_view rest = text.substr(text.size() / 4 * part, text.size() / 4);
      if (part > 0) rest.remove_prefix(std::min(rest.find(' '), rest.size()));
      reader.read(rest, kWords / 4);
    }
  }
  return reader.result();
}

// Who writes to a service desk, in tenths of a nat.
constexpr std::array<int, kNumLatin> kPrior = {40, 10, 10, 10, 10,  10,  10, 10,  10,  10, 10,
                                               5,  5,  5,  5,  5,   5,   5,  0,   0,   0,  -10,
                                               0,  0,  0,  0,  -10, -10, 0,  -10, -10, 0};
constexpr int kCodeLikePrior = 50;  // more for English where only code speaks

// --- other scripts
// ---------------------------------------------------------------------------------------------

bool any_of(uint32_t c, std::u32string_view set) { return set.find(static_cast<char32_t>(c)) != set.npos; }

// Enough of a text to see its letters, with room for reading on at its end.
constexpr size_t kPadding = 4;
std::string beginning(std::string_view text) {
  return std::string(text.substr(0, 4096)) + std::string(kPadding, '\0');
}

// The language of a text in Cyrillic letters, by the letters that the others lack.
Voice cyrillic(std::string_view text) {
  int russian = 0, hard = 0, ukrainian = 0, belarusian = 0, serbian = 0, macedonian = 0, kazakh = 0,
      mongolian = 0, dotted = 0;
  const std::string start = beginning(text);
  const char* p = start.data();
  while (p < start.data() + start.size() - kPadding) {
    const uint32_t upper = next_code_point(p);
    if (upper < 0x400 || upper > 0x52F) continue;
    const uint32_t c = upper < 0x410    ? upper + 0x50
                       : upper < 0x430  ? upper + 0x20
                       : upper >= 0x460 ? upper | 1
                                        : upper;
    russian += any_of(c, U"ыэё");
    hard += c == U'ъ';
    dotted += c == U'і';
    ukrainian += any_of(c, U"їєґ");
    belarusian += c == U'ў';
    serbian += any_of(c, U"ђјљњћџ");
    macedonian += any_of(c, U"ѓќѕ");
    kazakh += any_of(c, U"әғқңұһ") || upper == 0x4D9;
    mongolian += any_of(c, U"өү");
  }
  if (kazakh > 0) return kKazakh;
  if (belarusian > 0 || (dotted > 0 && russian > 0 && ukrainian == 0)) return kBelarusian;
  if (ukrainian + dotted > 0) return kUkrainian;
  if (macedonian > 0) return kMacedonian;
  if (serbian > 0) return kSerbian;
  if (mongolian > 0) return kMongolian;
  return hard > 0 && russian == 0 ? kBulgarian : kRussian;
}

Voice arabic(std::string_view text) {
  int persian = 0, urdu = 0, own = 0;
  const std::string start = beginning(text);
  const char* p = start.data();
  while (p < start.data() + start.size() - kPadding) {
    const uint32_t c = next_code_point(p);
    persian += c == 0x67E || c == 0x686 || c == 0x698 || c == 0x6AF || c == 0x6A9 || c == 0x6CC;
    urdu += c == 0x679 || c == 0x688 || c == 0x691 || c == 0x6BA || c == 0x6C1 || c == 0x6D2 || c == 0x6BE;
    own += c == 0x629 || c == 0x64A || c == 0x643 || c == 0x649;
  }
  if (urdu > 0 && urdu * 2 >= own) return kUrdu;
  return persian > own ? kPersian : kArabic;
}

float confidence(float words) { return words / (words + 0.4f); }

}  // namespace

void LanguageEvidence::add(std::string_view text) {
  const Counts counts = count_scripts(text);
  // The script with most words beside Latin's.
  uint8_t other = kNeutral;
  float other_words = 0, all_words = 0;
  const uint32_t han = counts.of[kChinese], kana = counts.of[kKana];
  for (uint8_t c = kLatin + 1; c < kNumClasses; ++c) {
    if (c == kNeutral || counts.of[c] == 0) continue;
    float words = static_cast<float>(counts.of[c]) / characters_a_word(c);
    all_words += words;
    if (c == kChinese) words += static_cast<float>(kana) / 2;
    if (words > other_words) other = c, other_words = words;
  }
  HanCounts marks;
  if (other == kChinese || other == kKana) {
    marks = count_han(text);
    other = voice_of_han(counts, marks);
  } else if (other == kRussian) {
    other = cyrillic(text);
  } else if (other == kArabic) {
    other = arabic(text);
  }

  const uint32_t letters = counts.ascii_letters + counts.of[kLatin];
  if (other != kNeutral && letters <= 2 * (han + kana)) {  // a few terms in Latin letters tell nothing
    all_words += static_cast<float>(letters) / 5;
  } else if (letters > 0) {
    const LatinText latin = read_latin(text, false);
    bool is_latin = other == kNeutral || static_cast<float>(latin.words) > other_words;
    if (other == kChinese || other == kJapanese) {
      // Chinese and Japanese sentences quote; English ones seldom quote Han, and then they speak.
      const bool grammar = marks.grammar > 0 || kana > 0;
      const auto words = static_cast<uint32_t>(latin.words);
      is_latin = words > 8 * (han + kana) ||
                 (!grammar && (latin.speech > 0 ? words * 3 >= 2 * han : words >= 3 * han));
    }
    if (is_latin && latin.longer > 0) {
      other = kLatin;
      const auto values = latin.lanes.values();
      const int best = *std::min_element(values.begin(), values.end());
      for (size_t l = 0; l < kNumLatin; ++l) latin_[l] += values[l] - best;
      latin_words_ += latin.words;
    } else if (other == kNeutral) {
      const LatinText code = read_latin(text, true);
      const auto values = code.lanes.values();
      for (size_t l = 0; l < kNumLatin; ++l) code_like_[l] += values[l];
      code_like_words_ += code.words;
      return;
    }
    all_words += latin.words > 0 ? static_cast<float>(letters) / 5 : 0;
  }
  if (other == kNeutral) return;
  weight_[other] += all_words;
  if (other == kChinese) {
    simplified_ += marks.simplified;
    traditional_ += marks.traditional;
  }
}

Language LanguageEvidence::language() const {
  Language language;
  size_t best = 0;
  float total = 0;
  for (size_t v = 0; v < kNumVoices; ++v) {
    total += weight_[v];
    if (weight_[v] > weight_[best]) best = v;
  }
  if (total > 0 && best != kLatin) {
    language.code = kVoiceCodes[best];
    language.score = weight_[best] / total * confidence(weight_[best]);
    if (best == kChinese && simplified_ != traditional_)
      language.script = simplified_ > traditional_ ? "Hans" : "Hant";
    return language;
  }
  const bool code_only = total == 0;
  if (code_only && code_like_words_ == 0) return language;
  const auto& against = code_only ? code_like_ : latin_;
  size_t first = 0;
  std::array<int, kNumLatin> score;
  for (size_t l = 0; l < kNumLatin; ++l) {
    score[l] = kPrior[l] + (code_only && l == 0 ? kCodeLikePrior : 0) - against[l];
    if (score[l] > score[first]) first = l;
  }
  double others = 0;  // naive Bayes is too sure of itself: at half the evidence
  for (size_t l = 0; l < kNumLatin; ++l)
    if (score[first] - score[l] < 200) others += std::exp((score[l] - score[first]) / 20.0);
  language.code = kLatinLanguages[first];
  const float share = code_only ? 0.3f : weight_[kLatin] / total;
  const auto words = static_cast<float>(code_only ? code_like_words_ : latin_words_);
  language.score = static_cast<float>(share * confidence(words) / others);
  return language;
}

Language detect_language(std::string_view text) {
  LanguageEvidence evidence;
  evidence.add(text);
  return evidence.language();
}

}  // namespace decant
