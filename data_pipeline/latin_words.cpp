#include "data_pipeline/latin_words.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "data_pipeline/unicode.h"

namespace decant {

namespace {

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

// Hash of a word: the numbers of its letters, eight at a time (word_hash of make_language_model.py).
constexpr uint64_t put_eight(uint64_t hash, uint64_t letters) {
  hash = (hash ^ letters) * 0x9E3779B97F4A7C15ull;
  return hash ^ hash >> 32;
}

uint32_t word_key(const uint8_t* letters, size_t count) {
  uint64_t hash = 0;
  for (size_t i = 0; i < count; i += 8) {
    uint64_t eight = 0;
    std::memcpy(&eight, letters + i, std::min<size_t>(8, count - i));
    hash = put_eight(hash, eight);
  }
  return static_cast<uint32_t>(hash);
}

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
      std::array<uint8_t, 16> numbers{};
      const size_t length = std::strlen(word);
      for (size_t i = 0; i < length; ++i) numbers.at(i) = static_cast<uint8_t>(word[i] & 0x1F);
      const size_t at = words_.find(word_key(numbers.data(), length));
      if (at == kNone) throw std::logic_error("the language model lacks a word of kSpeech");
      words_.slots[at].speech = 1;
    }
  }

  uint8_t code(uint32_t c) const {
    if (c >= 0xFF21 && c <= 0xFF5A) c -= 0xFF21 - 'A';  // full-width
    return code_[slot(c)];
  }
  uint8_t apostrophe() const { return apostrophe_; }
  uint8_t byte_class(unsigned char b) const { return byte_class_[b]; }

  static constexpr size_t kNone = SIZE_MAX;
  // Row of a word, nullptr when it is not known; `speech` tells whether it is one of kSpeech.
  const uint8_t* word_row(uint32_t key, bool& speech) const {
    const size_t at = words_.find(key);
    if (at == kNone) return nullptr;
    speech = words_.slots[at].speech != 0;
    return &rows_[words_.slots[at].row * size_t{kNumLatin}];
  }
  // Row of three letters, nullptr when there is none.
  const uint8_t* trigram_row(uint8_t a, uint8_t b, uint8_t c) const {
    uint32_t row;
    if ((a | b | c) < 32 && a < 27 && b < 27 && c < 27) {
      row = ascii_trigrams_[(a * 27u + b) * 27u + c];
    } else {
      const size_t at = trigrams_.find(uint32_t{a} << 16 | uint32_t{b} << 8 | c);
      row = at == kNone ? kNoRow : trigrams_.slots[at].row;
    }
    return row == kNoRow ? nullptr : &rows_[row * size_t{kNumLatin}];
  }

 private:
  static constexpr uint16_t kNoRow = UINT16_MAX;

  struct Slot {
    uint32_t key = 0;
    uint16_t row = 0;
    uint8_t used = 0, speech = 0;
  };

  struct Table {  // open addressing
    static constexpr size_t kSlots = 1 << 15;
    std::vector<Slot> slots = std::vector<Slot>(kSlots);

    static size_t start(uint32_t k) { return (k * 0x9E3779B1u) >> 17; }
    size_t find(uint32_t k) const {
      for (size_t at = start(k);; at = (at + 1) % kSlots) {
        if (slots[at].used == 0) return kNone;
        if (slots[at].key == k) return at;
      }
    }
    void put(uint32_t k, uint16_t r) {
      size_t at = start(k);
      while (slots[at].used) at = (at + 1) % kSlots;
      slots[at] = {k, r, 1, 0};
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
  }

  std::array<uint8_t, 0x350> code_{};
  std::array<uint8_t, 256> byte_class_{};
  uint8_t apostrophe_ = 0;
  std::vector<uint8_t> rows_;
  Table words_, trigrams_;
  std::vector<uint16_t> ascii_trigrams_;
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

struct Words {
  Lanes lanes;
  int words = 0, speech = 0, longer = 0;
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
    std::array<char, kShort + 16> padded;
    if (text.size() <= kShort) {  // room to load 16 bytes anywhere
      std::memcpy(padded.data(), text.data(), text.size());
      std::memset(padded.data() + text.size(), ' ', 16);
      read(padded.data(), text.size(), text.size(), most);
    } else {
      read(text.data(), text.size(), text.size() - 16, most);
    }
  }

  const Words& result() const { return result_; }

 private:
  static constexpr int kClear = 250;  // e^-25
  static constexpr size_t kShort = 240;
  static constexpr size_t kLongest = 40;  // letters of a word

  struct Word {
    uint8_t length = 0;
    bool wide = false;
    alignas(16) std::array<uint8_t, kLongest> letters;
  };

  // `loadable` bytes of the text have 16 bytes behind their beginning.
  void read(const char* text, size_t size, size_t loadable, int most) {
    const auto* p = reinterpret_cast<const unsigned char*>(text);
    const auto* const end = p + size;
    const auto* const last_load = p + loadable;
    most += result_.words;
    while (p < end && result_.words < most) {
      if (model_.byte_class(*p) == kSpaceByte) {
        ++p;
        continue;
      }
      const unsigned char* const after = p < last_load ? plain_word(p) : nullptr;
      p = after != nullptr ? after : token(p, end);
      if (result_.words >= next_look_) {
        next_look_ = result_.words + 16;
        if (margin(result_.lanes) >= kClear) return;
      }
    }
  }

  // The usual token: at most 14 ASCII letters, perhaps a mark, a space. The end of it, else nullptr.
  const unsigned char* plain_word(const unsigned char* p) {
    const __m128i bytes = load(p);
    const auto length = static_cast<size_t>(std::countr_one(letter_mask(bytes)));
    if (length == 0 || length > 14) return nullptr;
    const unsigned char next = p[length];
    size_t after = length;
    if (next != ' ') {
      if ((next != ',' && next != '.' && next != '?' && next != '!') || p[length + 1] != ' ') return nullptr;
      ++after;
    }
    // A letter's number is its five low bits, in either case.
    static constexpr auto kMask = [] {
      std::array<uint8_t, 32> m{};
      for (size_t i = 0; i < 16; ++i) m[i] = 0x1F;
      return m;
    }();
    const __m128i letters = _mm_and_si128(bytes, load(kMask.data() + 16 - length));
    Word& word = words_[0];
    word.length = static_cast<uint8_t>(length);
    word.wide = false;
    _mm_store_si128(reinterpret_cast<__m128i*>(word.letters.data()), letters);
    if (code_like_ && length < 2) return p + after;
    uint64_t hash = put_eight(0, static_cast<uint64_t>(_mm_cvtsi128_si64(letters)));
    if (length > 8)
      hash = put_eight(hash, static_cast<uint64_t>(_mm_cvtsi128_si64(_mm_srli_si128(letters, 8))));
    take(word, static_cast<uint32_t>(hash));
    return p + after;
  }

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
      return p;
    }
    for (size_t i = 0; i < pending_; ++i) take(words_[i]);
    return p;
  }

  Word* open() {
    // More words in one token than there is room for are not prose; the last one is written over.
    if (pending_ < words_.size()) ++pending_;
    Word& word = words_[pending_ - 1];
    word.length = 0, word.wide = false;
    return &word;
  }

  static void put(Word& word, uint8_t letter) {
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
    take(word, word_key(word.letters.data(), word.length));
  }

  void take(const Word& word, uint32_t key) {
    ++result_.words;
    result_.longer += word.length > 1;
    bool speech = false;
    if (const uint8_t* const row = model_.word_row(key, speech)) {
      result_.speech += speech;
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
  Words result_;
  int next_look_ = 16;
  size_t pending_ = 0;
  std::array<Word, 16> words_;
};

}  // namespace

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
  const Words& found = reader.result();
  return {found.lanes.values(), found.words, found.speech, found.longer};
}

}  // namespace decant
