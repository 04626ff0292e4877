#include "data_pipeline/text_scan.h"

#include <unicode/uchar.h>

#include <algorithm>
#include <cstring>

#include "data_pipeline/unicode.h"

namespace decant {

namespace {

constexpr uint64_t kBase = 0x0B5AD4ECEDA1CE2Bull % kHashPrime;

// Of a byte; never 0, so that no byte is nothing.
uint64_t put_byte(uint64_t hash, unsigned char byte) {
  return reduce_mod_p(Uint128{hash} * kBase + byte + 1u);
}

constexpr auto kPowers = [] {
  std::array<uint64_t, 64> p{};
  p[0] = 1;
  for (size_t i = 1; i < p.size(); ++i) p[i] = times_mod_p(p[i - 1], kBase);
  return p;
}();

// Four bytes at once: the products do not wait for each other.
uint64_t put_letters(uint64_t hash, const char* p, size_t n) {
  const auto byte = [&](size_t i) { return Uint128{static_cast<unsigned char>(p[i]) + 1u}; };
  for (; n >= 4; n -= 4, p += 4)
    hash = reduce_mod_p(Uint128{hash} * kPowers[4] + byte(0) * kPowers[3] + byte(1) * kPowers[2] +
                        byte(2) * kPowers[1] + byte(3));
  if (n >= 2) {
    hash = reduce_mod_p(Uint128{hash} * kPowers[2] + byte(0) * kPowers[1] + byte(1));
    n -= 2, p += 2;
  }
  return n == 1 ? reduce_mod_p(Uint128{hash} * kPowers[1] + byte(0)) : hash;
}

// kBase ^ n.
uint64_t power_of(size_t n) {
  if (n < kPowers.size()) return kPowers[n];
  uint64_t half = power_of(n / 2);
  half = times_mod_p(half, half);
  return n % 2 == 0 ? half : times_mod_p(half, kBase);
}

struct Range {
  uint32_t first, last;
};

// datatrove 0.10's TERMINAL_PUNCTUATION: Sentence_Terminal of an older Unicode, with three Khmer signs.
constexpr Range kTerminal[] = {
    {0x21, 0x21},       {0x2E, 0x2E},       {0x3F, 0x3F},       {0x589, 0x589},     {0x61D, 0x61F},
    {0x6D4, 0x6D4},     {0x700, 0x702},     {0x7F9, 0x7F9},     {0x837, 0x837},     {0x839, 0x839},
    {0x83D, 0x83E},     {0x964, 0x965},     {0x104A, 0x104B},   {0x1362, 0x1362},   {0x1367, 0x1368},
    {0x166E, 0x166E},   {0x1735, 0x1736},   {0x17D4, 0x17D6},   {0x17D9, 0x17DA},   {0x1803, 0x1803},
    {0x1809, 0x1809},   {0x1944, 0x1945},   {0x1AA8, 0x1AAB},   {0x1B5A, 0x1B5B},   {0x1B5E, 0x1B5F},
    {0x1B7D, 0x1B7E},   {0x1C3B, 0x1C3C},   {0x1C7E, 0x1C7F},   {0x203C, 0x203D},   {0x2047, 0x2049},
    {0x2E2E, 0x2E2E},   {0x2E3C, 0x2E3C},   {0x2E53, 0x2E54},   {0x3002, 0x3002},   {0xA4FF, 0xA4FF},
    {0xA60E, 0xA60F},   {0xA6F3, 0xA6F3},   {0xA6F7, 0xA6F7},   {0xA876, 0xA877},   {0xA8CE, 0xA8CF},
    {0xA92F, 0xA92F},   {0xA9C8, 0xA9C9},   {0xAA5D, 0xAA5F},   {0xAAF0, 0xAAF1},   {0xABEB, 0xABEB},
    {0xFE52, 0xFE52},   {0xFE56, 0xFE57},   {0xFF01, 0xFF01},   {0xFF0E, 0xFF0E},   {0xFF1F, 0xFF1F},
    {0xFF61, 0xFF61},   {0x10A56, 0x10A57}, {0x10F55, 0x10F59}, {0x10F86, 0x10F89}, {0x11047, 0x11048},
    {0x110BE, 0x110C1}, {0x11141, 0x11143}, {0x111C5, 0x111C6}, {0x111CD, 0x111CD}, {0x111DE, 0x111DF},
    {0x11238, 0x11239}, {0x1123B, 0x1123C}, {0x112A9, 0x112A9}, {0x1144B, 0x1144C}, {0x115C2, 0x115C3},
    {0x115C9, 0x115D7}, {0x11641, 0x11642}, {0x1173C, 0x1173E}, {0x11944, 0x11944}, {0x11946, 0x11946},
    {0x11A42, 0x11A43}, {0x11A9B, 0x11A9C}, {0x11C41, 0x11C42}, {0x11EF7, 0x11EF8}, {0x11F43, 0x11F44},
    {0x16A6E, 0x16A6F}, {0x16AF5, 0x16AF5}, {0x16B37, 0x16B38}, {0x16B44, 0x16B44}, {0x16E98, 0x16E98},
    {0x1BC9F, 0x1BC9F}, {0x1DA88, 0x1DA88}};

// The rest of its PUNCTUATION_SET (the full-width 1 is one of them).
constexpr Range kOtherPunctuation[] = {{0x0, 0x8},       {0xB, 0x1F},      {0x22, 0x2D},     {0x2F, 0x2F},
                                       {0x3A, 0x3E},     {0x40, 0x40},     {0x5B, 0x60},     {0x7B, 0x9F},
                                       {0xAB, 0xAB},     {0xB4, 0xB4},     {0xBB, 0xBB},     {0x2013, 0x2014},
                                       {0x2019, 0x2019}, {0x201C, 0x201E}, {0x2026, 0x2026}, {0x2236, 0x2236},
                                       {0x2501, 0x2501}, {0x25BA, 0x25BA}, {0x3001, 0x3001}, {0x3008, 0x300D},
                                       {0x3010, 0x3011}, {0xFF05, 0xFF05}, {0xFF08, 0xFF09}, {0xFF0C, 0xFF0C},
                                       {0xFF11, 0xFF11}, {0xFF1A, 0xFF1B}, {0xFF5E, 0xFF5E}};

template <size_t N>
bool in_ranges(const Range (&ranges)[N], uint32_t c) {
  const auto* after =
      std::upper_bound(ranges, ranges + N, c, [](uint32_t code, const Range& r) { return code < r.first; });
  return after != ranges && c <= (after - 1)->last;
}

bool python_space(uint32_t c) { return (character_classes()[c] & kSpace) != 0 || (c >= 0x1C && c <= 0x1F); }

// --- word boundaries
// -----------------------------------------------------------------------------------------

// Low bits of a property: Word_Break.
enum WordBreak : uint16_t {
  kOther,
  kCarriage,
  kLine,
  kNewline,
  kExtend,
  kJoiner,
  kRegional,
  kFormat,
  kKatakana,
  kHebrewLetter,
  kALetter,
  kSingleQuote,
  kDoubleQuote,
  kMidNumberLetter,
  kMidLetter,
  kMidNumber,
  kNumeric,
  kExtendNumberLetter,
  kSpaceSegment,
  kWordBreakMask = 31
};
// The other bits.
enum Property : uint16_t {
  kPictographic = 32,
  kAlpha = 64,
  kDigit = 128,
  kCombining = 256,
  kBlank = 512,
  kPunctuationSet = 1024,
  kBoundary = 2048,  // of Python's splitlines
};

uint16_t find_property(uint32_t c) {
  uint16_t p = 0;
  switch (u_getIntPropertyValue(static_cast<UChar32>(c), UCHAR_WORD_BREAK)) {
    case U_WB_CR:
      p = kCarriage;
      break;
    case U_WB_LF:
      p = kLine;
      break;
    case U_WB_NEWLINE:
      p = kNewline;
      break;
    case U_WB_EXTEND:
      p = kExtend;
      break;
    case U_WB_ZWJ:
      p = kJoiner;
      break;
    case U_WB_REGIONAL_INDICATOR:
      p = kRegional;
      break;
    case U_WB_FORMAT:
      p = kFormat;
      break;
    case U_WB_KATAKANA:
      p = kKatakana;
      break;
    case U_WB_HEBREW_LETTER:
      p = kHebrewLetter;
      break;
    case U_WB_ALETTER:
      p = kALetter;
      break;
    case U_WB_SINGLE_QUOTE:
      p = kSingleQuote;
      break;
    case U_WB_DOUBLE_QUOTE:
      p = kDoubleQuote;
      break;
    case U_WB_MIDNUMLET:
      p = kMidNumberLetter;
      break;
    case U_WB_MIDLETTER:
      p = kMidLetter;
      break;
    case U_WB_MIDNUM:
      p = kMidNumber;
      break;
    case U_WB_NUMERIC:
      p = kNumeric;
      break;
    case U_WB_EXTENDNUMLET:
      p = kExtendNumberLetter;
      break;
    case U_WB_WSEGSPACE:
      p = kSpaceSegment;
      break;
    default:
      break;
  }
  const uint8_t classes = character_classes()[c];
  if (u_hasBinaryProperty(static_cast<UChar32>(c), UCHAR_EXTENDED_PICTOGRAPHIC)) p |= kPictographic;
  if (classes & kLetter) p |= kAlpha;
  if (classes & kNumber) p |= kDigit;
  if (classes & kMark) p |= kCombining;
  if (python_space(c)) p |= kBlank;
  if (in_ranges(kTerminal, c) || in_ranges(kOtherPunctuation, c)) p |= kPunctuationSet;
  const bool boundary =
      (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
  if (boundary) p |= kBoundary;
  return p;
}

const uint16_t* plane_zero() {
  static const std::vector<uint16_t> table = [] {
    std::vector<uint16_t> t(0x10000);
    for (uint32_t c = 0; c < t.size(); ++c) t[c] = find_property(c);
    return t;
  }();
  return table.data();
}

class WordBreaker {
 public:
  explicit WordBreaker(const uint16_t* properties) : properties_(properties) {}

  uint16_t property(uint32_t c) const { return c < 0x10000 ? properties_[c] : find_property(c); }

  void restart() { last_ = raw_ = kNone; }

  // Whether the character with these properties goes on with the segment; `next`..`end` is what follows it.
  bool joins(uint16_t property, const char* next, const char* end) {
    const auto c = static_cast<uint8_t>(property & kWordBreakMask);
    const uint8_t last = last_, raw = raw_;
    raw_ = c;
    if (raw == kNone) return begin(c), false;
    if (raw == kCarriage && c == kLine) return last_ = c, true;                    // WB3
    if (is_newline(raw) || is_newline(c)) return begin(c), false;                  // WB3a, WB3b
    if (raw == kJoiner && (property & kPictographic) != 0) return begin(c), true;  // WB3c
    if (raw == kSpaceSegment && c == kSpaceSegment) return last_ = c, true;        // WB3d
    if (is_ignored(c)) return true;                                                // WB4
    const bool letter = is_letter(c), after_letter = is_letter(last);
    const auto goes_on_as = [this](uint8_t now) {
      last_ = now;
      return true;
    };
    if (after_letter && letter) return goes_on_as(c);  // WB5
    const bool between_letters = c == kMidLetter || is_quote_or_both(c);
    if (after_letter && between_letters && is_letter(peek(next, end)))
      return goes_on_as(last);                                             // WB6, WB7: the next letter joins
    if (last == kHebrewLetter && c == kSingleQuote) return goes_on_as(c);  // WB7a
    if (last == kHebrewLetter && c == kDoubleQuote && peek(next, end) == kHebrewLetter)
      return goes_on_as(kHebrewLetter);                                       // WB7b, WB7c
    if (last == kNumeric && (c == kNumeric || letter)) return goes_on_as(c);  // WB8, WB10
    if (after_letter && c == kNumeric) return goes_on_as(c);                  // WB9
    const bool between_digits = c == kMidNumber || is_quote_or_both(c);
    if (last == kNumeric && between_digits && peek(next, end) == kNumeric)
      return goes_on_as(kNumeric);                                  // WB11, WB12
    if (last == kKatakana && c == kKatakana) return goes_on_as(c);  // WB13
    const bool wordlike =
        after_letter || last == kNumeric || last == kKatakana || last == kExtendNumberLetter;
    if (c == kExtendNumberLetter && wordlike) return goes_on_as(c);  // WB13a
    if (last == kExtendNumberLetter && (letter || c == kNumeric || c == kKatakana))
      return goes_on_as(c);                             // WB13b
    if (last == kRegional && c == kRegional && odd_) {  // WB15, WB16
      odd_ = false;
      return true;
    }
    begin(c);
    return false;
  }

  void after_space() { last_ = raw_ = kSpaceSegment; }
  void after_other() { last_ = raw_ = kOther; }
  void after_letter() { last_ = raw_ = kALetter; }
  // In the middle of a segment whose last character was an ASCII letter.
  bool after_ascii_letter() const { return raw_ == kALetter && last_ == kALetter; }

 private:
  static constexpr uint8_t kNone = 255;

  static bool is_newline(uint8_t c) { return c == kCarriage || c == kLine || c == kNewline; }
  static bool is_ignored(uint8_t c) { return c == kExtend || c == kFormat || c == kJoiner; }
  static bool is_letter(uint8_t c) { return c == kALetter || c == kHebrewLetter; }
  static bool is_quote_or_both(uint8_t c) { return c == kMidNumberLetter || c == kSingleQuote; }

  void begin(uint8_t c) {
    last_ = c;
    odd_ = c == kRegional;
  }

  // The class of the next character that is not ignored.
  uint8_t peek(const char* next, const char* end) const {
    while (next < end) {
      const auto c = static_cast<uint8_t>(property(next_code_point(next)) & kWordBreakMask);
      if (!is_ignored(c)) return c;
    }
    return kNone;
  }

  const uint16_t* properties_;
  uint8_t last_ = kNone, raw_ = kNone;  // without and with what WB4 ignores
  bool odd_ = false;                    // an odd number of regional indicators so far
};

bool ascii_letter(unsigned char b) { return static_cast<unsigned>((b | 0x20) - 'a') < 26u; }

}  // namespace

uint64_t word_hash(std::string_view word) {
  uint64_t hash = 0;
  for (const char c : word) hash = put_byte(hash, static_cast<unsigned char>(c));
  return hash;
}

void TextScan::scan(std::string_view given) {
  if (given.size() > kMostBytes) {
    size_t end = kMostBytes;
    while (end > 0 && (static_cast<unsigned char>(given[end]) & 0xC0) == 0x80) --end;
    given = given.substr(0, end);
  }
  text = given;
  words.clear();
  lines.clear();
  characters = letters = numbers = marks = spaces = others = newlines = 0;
  hashes = ellipses = curly_brackets = parentheses = replacements = 0;

  const uint16_t* const properties = plane_zero();
  WordBreaker breaker(properties);
  bool only_newlines = true;
  ScannedWord word;
  size_t bytes = 0;
  uint16_t seen = 0;  // properties of the word's characters
  bool solid = false, all_digits = true;
  joined.resize(text.size() + kJoinedPadding);
  size_t all_bytes = 0;  // of the words
  const auto close = [&](const char* word_end) {
    if (bytes == 0) return;
    if (solid) {
      word.begin = static_cast<uint32_t>(all_bytes);
      const char* const word_begin = word_end - bytes;
      if (bytes <= 16 && text.data() + text.size() - word_begin >= 16) {
        std::memcpy(joined.data() + all_bytes, word_begin, 16);
      } else {
        std::memcpy(joined.data() + all_bytes, word_begin, bytes);
      }
      all_bytes += bytes;
      word.power = bytes < kPowers.size() ? kPowers[bytes] : power_of(bytes);
      word.flags = ((seen & kAlpha) != 0 ? kHasLetter : 0u) | word.flags;
      if (all_digits) word.flags |= kWholeNumeric;
      words.push_back(word);
    }
    word = {};
    bytes = 0;
    seen = 0;
    solid = false, all_digits = true;
  };

  const char* p = text.data();
  const char* const end = p + text.size();
  int dots = 0;
  while (p < end) {
    if (breaker.after_ascii_letter() &&
        ascii_letter(static_cast<unsigned char>(*p))) {  // WB5, the usual case
      const char* const begin = p;
      do {
        ++p;
      } while (p < end && ascii_letter(static_cast<unsigned char>(*p)));
      const auto length = static_cast<uint32_t>(p - begin);
      word.hash = put_letters(word.hash, begin, length);
      word.characters += length;
      bytes += length;
      characters += length;
      letters += length;
      dots = 0;
      continue;
    }
    if (*p == ' ' && end - p >= 2 && static_cast<signed char>(p[1]) > ' ') {
      // A space before printable ASCII: nothing joins it.
      close(p);
      breaker.after_space();
      ++characters;
      ++spaces;
      dots = 0;
      if (ascii_letter(static_cast<unsigned char>(*++p))) {
        breaker.after_letter();
        seen = kAlpha;
        solid = true, all_digits = false;
        word.flags = kNotSymbols;
      }
      continue;
    }
    const auto lead = static_cast<unsigned char>(*p);
    if (lead >= 0xE5 && lead <= 0xE8) {  // Han, U+5000..U+8FFF: a word of its own
      close(p);
      breaker.after_other();
      word.hash = put_letters(0, p, 3);
      word.characters = 1;
      word.flags = kNotSymbols;
      bytes = 3;
      seen = kAlpha;
      solid = true, all_digits = false;
      ++characters;
      ++letters;
      dots = 0;
      p += 3;
      continue;
    }
    const char* const begin = p;
    const uint32_t c = next_code_point(p);
    const uint16_t property = breaker.property(c);
    if (!breaker.joins(property, p, end)) close(begin);
    for (const char* b = begin; b < p; ++b) word.hash = put_byte(word.hash, static_cast<unsigned char>(*b));
    bytes += static_cast<size_t>(p - begin);
    ++word.characters;
    ++characters;
    seen |= property;
    if ((property & kPunctuationSet) == 0) word.flags |= kNotSymbols;
    if ((property & kDigit) == 0) all_digits = false;
    if ((property & kBlank) == 0) solid = true;
    if (property & kAlpha) {
      ++letters;
    } else if (property & kDigit) {
      ++numbers;
    } else if (property & kBlank) {
      ++spaces;
    } else if (property & kCombining) {
      ++marks;
    } else {
      ++others;
      if (c == '#') ++hashes;
      if (c == '(' || c == ')' || c == 0xFF08 || c == 0xFF09) ++parentheses;
      if (c == '{') ++curly_brackets;
      if (c == 0xFFFD) ++replacements;
      if (c == 0x2026) ++ellipses;
    }
    dots = c == '.' ? dots + 1 : 0;
    if (dots == 3) ++ellipses, dots = 0;
    if (property & kBoundary) {
      if (c == '\n') {
        ++newlines;
      } else {
        only_newlines = false;
      }
    }
  }
  close(end);
  joined.resize(all_bytes);
  joined.resize(all_bytes + kJoinedPadding);  // zeros
  split_lines(only_newlines);
}

void TextScan::split_lines(bool only_newlines) {
  size_t begin = 0;
  if (only_newlines) {
    while (begin < text.size()) {
      const size_t end = std::min(text.find('\n', begin), text.size());
      lines.push_back(text.substr(begin, end - begin));
      begin = end + 1;
    }
    return;
  }
  const uint16_t* const properties = plane_zero();
  const char* p = text.data();
  const char* const end = p + text.size();
  while (p < end) {
    const char* const at = p;
    const uint32_t c = next_code_point(p);
    if (c >= 0x10000 || (properties[c] & kBoundary) == 0) continue;
    const auto stop = static_cast<size_t>(at - text.data());
    lines.push_back(text.substr(begin, stop - begin));
    if (c == '\r' && p < end && *p == '\n') ++p;
    begin = static_cast<size_t>(p - text.data());
  }
  if (begin < text.size()) lines.push_back(text.substr(begin));
}

size_t count_characters(std::string_view text) {
  // Eight bytes at once: a byte that goes on has bit 7 and not bit 6.
  constexpr uint64_t kEach = 0x0101010101010101ull;
  const char* p = text.data();
  size_t left = text.size(), continued = 0;
  for (; left >= 8; left -= 8, p += 8) {
    uint64_t v;
    std::memcpy(&v, p, sizeof v);
    continued += static_cast<size_t>((v >> 7 & ~(v >> 6) & kEach) * kEach >> 56);
  }
  for (; left > 0; --left, ++p) continued += (static_cast<unsigned char>(*p) & 0xC0) == 0x80;
  return text.size() - continued;
}

bool is_space_beyond_ascii(uint32_t c) {
  if (c > 0x3000) return false;  // the last one
  return python_space(c);
}
bool is_terminal(uint32_t c) { return in_ranges(kTerminal, c); }

std::string_view strip_left(std::string_view text) {
  const char* p = text.data();
  const char* const end = p + text.size();
  while (p < end) {
    const char* next = p;
    if (!is_space(next_code_point(next))) break;
    p = next;
  }
  return text.substr(static_cast<size_t>(p - text.data()));
}

std::string_view strip_right(std::string_view text) {
  while (!text.empty()) {
    const char* last = previous_code_point(text.data() + text.size());
    const char* p = last;
    if (!is_space(next_code_point(p))) break;
    text = text.substr(0, static_cast<size_t>(last - text.data()));
  }
  return text;
}

uint32_t last_code_point(std::string_view text) {
  if (text.empty()) return 0;
  const char* last = previous_code_point(text.data() + text.size());
  return next_code_point(last);
}

}  // namespace decant
