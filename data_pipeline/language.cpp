#include "data_pipeline/language.h"

#include <emmintrin.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <string>

#include "data_pipeline/language_model.h"
#include "data_pipeline/latin_words.h"
#include "data_pipeline/unicode.h"

namespace decant {

namespace {

// --- scripts ---

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

// --- Han ---

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

const uint8_t* han_flags() {
  static const HanTable table;
  return table.flags.data();
}

struct HanCounts {
  unsigned simplified = 0, traditional = 0, japanese = 0, chinese = 0, grammar = 0;
};

// Five counters of 8 bits in one number.
constexpr auto kSpread = [] {
  std::array<uint64_t, 32> s{};
  for (size_t flags = 0; flags < s.size(); ++flags)
    for (size_t bit = 0; bit < 5; ++bit) s[flags] |= uint64_t{flags >> bit & 1} << 8 * bit;
  return s;
}();

// Of the first characters; the rest would not tell otherwise.
class HanCounter {
 public:
  // `p` is at a character of U+4E00..U+9FFF.
  void add(const unsigned char* p) {
    if (seen_ == kEnough) return;
    const unsigned code = (p[0] & 0x0Fu) << 12 | (p[1] & 0x3Fu) << 6 | (p[2] & 0x3Fu);
    sum_ += kSpread[flags_[code - 0x4E00]];
    ++seen_;
  }
  HanCounts counts() const {
    const auto field = [&](int k) { return static_cast<unsigned>(sum_ >> 8 * k & 255); };
    return {field(0), field(1), field(2), field(3), field(4)};
  }

 private:
  static constexpr int kEnough = 96;
  const uint8_t* flags_ = han_flags();
  uint64_t sum_ = 0;
  int seen_ = 0;
};

struct Counts {
  std::array<uint32_t, kNumClasses> of{};
  uint64_t seen = 0;                   // bits of the classes that were
  uint32_t ascii_letters = 0, no = 0;  // no: the kana の
  HanCounts han;

  void add(uint8_t c, uint32_t n = 1) {
    of[c] += n;
    seen |= uint64_t{1} << c;
  }
};

// (std::popcount is a call where the processor is not known to have the instruction.)
inline unsigned bits_of(unsigned mask) {
  mask -= mask >> 1 & 0x5555u;
  mask = (mask & 0x3333u) + (mask >> 2 & 0x3333u);
  mask = (mask + (mask >> 4)) & 0x0F0Fu;
  return (mask + (mask >> 8)) & 0x1Fu;
}

// U+4E00..U+9FFF.
inline bool is_unified_han(const unsigned char* p, const unsigned char* end) {
  return end - p >= 3 && *p >= 0xE4 && *p <= 0xE9 && (*p != 0xE4 || (p[1] & 0x3F) >= 0x38);
}

Counts count_scripts(std::string_view text) {
  const auto& of_block = script_table().of_block;
  Counts counts;
  HanCounter han;
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
    if (is_unified_han(p, end)) {
      uint32_t run = 0;
      do {
        han.add(p);
        ++run;
        p += 3;
      } while (is_unified_han(p, end));
      counts.add(kChinese, run);
      continue;
    }
    if ((*p & 0xF0) == 0xE0 && end - p >= 3) {
      // A run of one class, counted in a register.
      const uint8_t c = of_block[(p[0] & 0x0Fu) << 6 | (p[1] & 0x3Fu)];
      if (c == kKana) {
        const unsigned code = (p[0] & 0x0Fu) << 12 | (p[1] & 0x3Fu) << 6 | (p[2] & 0x3Fu);
        if (code != 0x30FB && code != 0x30FC) counts.add(kKana);  // middle dot, lengthener: Chinese has them
        counts.no += code == 0x306E;
        p += 3;
        continue;
      }
      if (*p == 0xEF && p[1] >= 0xBC) {  // full-width and half-width forms
        counts.add(class_of_form((p[1] & 0x3Fu) << 6 | (p[2] & 0x3Fu)));
        p += 3;
        continue;
      }
      uint32_t run = 0;
      do {
        ++run;
        p += 3;
      } while (end - p >= 3 && (*p & 0xF0) == 0xE0 && of_block[(p[0] & 0x0Fu) << 6 | (p[1] & 0x3Fu)] == c);
      counts.add(c, run);
      continue;
    }
    const int64_t length = *p >= 0xF0 ? 4 : *p >= 0xC0 ? 2 : 1;
    if (length == 2 && end - p >= 2) counts.add(of_block[static_cast<size_t>(*p & 0x1Fu)]);
    if (length == 4 && *p == 0xF0 && end - p >= 2 && p[1] >= 0xA0 && p[1] < 0xB4) counts.add(kChinese);
    p += std::min<int64_t>(length, end - p);
  }
  counts.han = han.counts();
  return counts;
}

Voice voice_of_han(const Counts& counts, const HanCounts& han) {
  const uint32_t characters = counts.of[kChinese], kana = counts.of[kKana];
  if (kana == 0) return han.japanese > 0 && han.chinese == 0 ? kJapanese : kChinese;
  if (han.chinese == 0) return kana == counts.no && kana * 6 <= characters ? kChinese : kJapanese;
  // Characters that Japanese does not know: it is Chinese unless kana carries the text.
  return kana * 2 <= characters ? kChinese : kJapanese;
}

// Who writes to a service desk, in tenths of a nat.
constexpr std::array<int, kNumLatin> kPrior = {40, 10, 10, 10, 10,  10,  10, 10,  10,  10, 10,
                                               5,  5,  5,  5,  5,   5,   5,  0,   0,   0,  -10,
                                               0,  0,  0,  0,  -10, -10, 0,  -10, -10, 0};
constexpr int kCodeLikePrior = 50;  // more for English where only code speaks

// --- other scripts ---

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
  constexpr uint64_t kNot = uint64_t{1} << kLatin | uint64_t{1} << kNeutral;
  for (uint64_t left = counts.seen & ~kNot; left != 0; left &= left - 1) {
    const auto c = static_cast<uint8_t>(std::countr_zero(left));
    float words = static_cast<float>(counts.of[c]) / characters_a_word(c);
    all_words += words;
    if (c == kChinese) words += static_cast<float>(kana) / 2;
    if (words > other_words) other = c, other_words = words;
  }
  HanCounts marks;
  if (other == kChinese || other == kKana) {
    marks = counts.han;
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
      for (size_t l = 0; l < kNumLatin; ++l) latin_[l] += latin.against[l];
      latin_words_ += latin.words;
    } else if (other == kNeutral) {
      const LatinText code = read_latin(text, true);
      for (size_t l = 0; l < kNumLatin; ++l) code_like_[l] += code.against[l];
      code_like_words_ += code.words;
      return;
    }
    all_words += latin.words > 0 ? static_cast<float>(letters) / 5 : 0;
  }
  if (other == kNeutral) return;
  weight_[other] += all_words;
  voted_ |= uint64_t{1} << other;
  if (other == kChinese) {
    simplified_ += marks.simplified;
    traditional_ += marks.traditional;
  }
}

Language LanguageEvidence::language() const {
  Language language;
  size_t best = 0;
  float total = 0;
  for (uint64_t left = voted_; left != 0; left &= left - 1) {
    const auto v = static_cast<size_t>(std::countr_zero(left));
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
  std::array<int, kNumLatin> score;
  for (size_t l = 0; l < kNumLatin; ++l) score[l] = kPrior[l] - against[l];
  if (code_only) score[0] += kCodeLikePrior;
  int most = score[0];
  for (const int x : score) most = std::max(most, x);
  size_t first = 0;
  while (score[first] != most) ++first;
  double others = 0;  // naive Bayes is too sure of itself: at half the evidence
  static const auto half = [] {
    std::array<double, 200> e{};
    for (size_t i = 0; i < e.size(); ++i) e[i] = std::exp(-static_cast<double>(i) / 20.0);
    return e;
  }();
  for (size_t l = 0; l < kNumLatin; ++l)
    if (most - score[l] < 200) others += half[static_cast<size_t>(most - score[l])];
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
