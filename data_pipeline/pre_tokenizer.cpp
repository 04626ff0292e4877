#include "data_pipeline/pre_tokenizer.h"

#include <emmintrin.h>

#include <algorithm>
#include <array>
#include <bit>

#include "core/error.h"
#include "data_pipeline/unicode.h"

namespace decant {

const char* const kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
const char* const kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
const char* const kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
const char* const kDeepSeekV3Patterns[3] = {
    R"(\p{N}{1,3})", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|"
    " ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"};

int64_t PreTokenizerStep::encode(std::string_view text, const Bpe& bpe, std::vector<int64_t>& ids) const {
  Pieces pieces;
  split(text, pieces);
  return bpe.encode(pieces, text.data() + text.size(), ids);
}

namespace {

// --- runs of characters of a kind, 16 bytes at a time -----------------------------------------------------

__m128i load16(const char* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }

// Bytes within [first, last], as 0xFF.
__m128i within(__m128i bytes, int first, int last) {
  const __m128i shifted = _mm_add_epi8(bytes, _mm_set1_epi8(static_cast<char>(127 - last)));
  return _mm_cmpgt_epi8(shifted, _mm_set1_epi8(static_cast<char>(126 - last + first)));
}

bool is_ascii_letter(char c) { return static_cast<unsigned char>((c | 32) - 'a') < 26; }

const char* ascii_letters(const char* p, const char* end) {
  while (end - p >= 16) {
    const __m128i lower = _mm_or_si128(load16(p), _mm_set1_epi8(32));
    const int letters = _mm_movemask_epi8(within(lower, 'a', 'z'));
    if (letters != 0xFFFF) return p + std::countr_one(static_cast<unsigned>(letters));
    p += 16;
  }
  while (p != end && is_ascii_letter(*p)) ++p;
  return p;
}

// U+4E00-U+9FA5, but for a few that may be left to whoever asks: letters in all grammars.
const char* han_letters(const char* p, const char* end) {
  while (end - p >= 17) {
    // Characters begin with E4 to E9; before E4 B8 and from E9 BE on they need a closer look.
    const __m128i bytes = load16(p), following = load16(p + 1);
    const __m128i inside = _mm_or_si128(within(bytes, 0xE4, 0xE9), within(bytes, 0x80, 0xBF));
    const __m128i below =
        _mm_and_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('\xE4')), within(following, 0x80, 0xB7));
    const __m128i above =
        _mm_and_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('\xE9')), within(following, 0xBE, 0xBF));
    const int good = _mm_movemask_epi8(_mm_andnot_si128(_mm_or_si128(below, above), inside)) & 0x7FFF;
    if (good != 0x7FFF) return p + std::countr_one(static_cast<unsigned>(good));
    p += 15;
  }
  while (p != end) {
    const auto lead = static_cast<unsigned char>(*p);
    if (lead < 0xE4 || lead > 0xE9) break;
    const auto second = static_cast<unsigned char>(p[1]);
    if ((lead == 0xE4 && second < 0xB8) || (lead == 0xE9 && second >= 0xBE)) break;
    p += 3;
  }
  return p;
}

// A text with the classes of its characters.
class Reader {
 public:
  Reader(const uint8_t* classes, const char* end) : end(end), classes_(classes) {}
  const char* end;

  // Classes at `p`, or 0 at the end; `next` is set past the character (left alone at the end).
  uint8_t at(const char* p, const char*& next) const {
    if (p == end) return 0;
    const unsigned char b = static_cast<unsigned char>(*p);
    if (b < 0x80) {
      next = p + 1;
      return classes_[b];
    }
    next = p;
    return classes_[next_code_point(next)];
  }
  bool ends_at(const char* p) const { return p == end; }
  // End of the Han letters at `p`, or null where there are none.
  const char* han(const char* p) const {
    const char* stop = han_letters(p, end);
    return stop == p ? nullptr : stop;
  }
  // End of the longest run from `p` of characters with a class in `any`.
  const char* run(const char* p, uint8_t any) const {
    const char* next = p;
    while (at(p, next) & any) p = next;
    return p;
  }
  // The same of letters, and of `more`.
  const char* letters(const char* p, uint8_t more = 0) const {
    while (p != end) {
      const unsigned char b = static_cast<unsigned char>(*p);
      if (b < 0x80) {
        p = ascii_letters(p, end);
        if (p == end || static_cast<unsigned char>(*p) < 0x80) break;
      }
      if (b >= 0xE4 && b <= 0xE9) p = han_letters(p, end);
      const char* next = p;
      if (!(at(p, next) & (kLetter | more))) break;
      p = next;
    }
    return p;
  }
  // The same of characters with no class in `none`.
  const char* run_without(const char* p, uint8_t none) const {
    const char* next = p;
    while (p != end && !(at(p, next) & none)) p = next;
    return p;
  }
  const char* line_ends(const char* p) const {
    while (p != end && (*p == '\r' || *p == '\n')) ++p;
    return p;
  }

 private:
  const uint8_t* classes_;
};

// Length of 's 't 're 've 'm 'll 'd at `p` (which holds '), or 0. With `fold`, in any case; U+017F is an s
// then.
int contraction(const char* p, const char* end, bool fold) {
  const auto letter = [&](int i) {
    if (end - p <= i) return '\0';
    const char c = p[i];
    return fold && c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  };
  switch (letter(1)) {
    case 's':
    case 't':
    case 'm':
    case 'd':
      return 2;
    case 'r':
    case 'v':
      return letter(2) == 'e' ? 3 : 0;
    case 'l':
      return letter(2) == 'l' ? 3 : 0;
    case '\xC5':
      return fold && letter(2) == '\xBF' ? 3 : 0;
    default:
      return 0;
  }
}

// `\s+(?!\S)|\s+` at `p`, whose run of spaces ends at `stop`: all of it at the end of the text, else all but
// its last character, or that one if it is the only one.
const char* spaces(const char* p, const char* stop, bool at_end) {
  if (at_end) return stop;
  const char* last = previous_code_point(stop);
  return last == p ? stop : last;
}

// `\s*[\r\n]+|\s+(?!\S)|\s+`
const char* spaces_or_lines(const char* p, const char* stop, bool at_end) {
  for (const char* q = stop; q != p; --q)
    if (q[-1] == '\r' || q[-1] == '\n') return q;
  return spaces(p, stop, at_end);
}

// What most pieces are is told from their first bytes alone: ASCII letters with or without a character before
// them, and single ASCII characters.
enum Kind : uint8_t {
  kKindLetter,
  kKindNumber,
  kKindSpace,
  kKindTab,
  kKindLineEnd,
  kKindSign,
  kKindQuote,
  kKindOther
};

constexpr Kind ascii_kind(int c) {
  if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) return kKindLetter;
  if (c >= '0' && c <= '9') return kKindNumber;
  if (c == ' ') return kKindSpace;
  if (c == '\r' || c == '\n') return kKindLineEnd;
  if (c >= '\t' && c <= '\f') return kKindTab;
  if (c == '\'') return kKindQuote;
  return c > ' ' && c < 0x7F ? kKindSign : kKindOther;
}

constexpr uint8_t kinds(std::initializer_list<Kind> list) {
  unsigned bits = 0;
  for (const Kind kind : list) bits |= 1u << kind;
  return static_cast<uint8_t>(bits);
}

constexpr auto kKinds = [] {
  std::array<Kind, 256> made{};
  for (int c = 0; c < 256; ++c) made[static_cast<size_t>(c)] = ascii_kind(c);
  return made;
}();

constexpr uint8_t kAscii = kinds(
                      {kKindLetter, kKindNumber, kKindSpace, kKindTab, kKindLineEnd, kKindSign, kKindQuote}),
                  kNotLetter = kAscii & ~kinds({kKindLetter}), kNotNumber = kAscii & ~kinds({kKindNumber}),
                  kNotSign = kAscii & ~kinds({kKindSign, kKindQuote}),
                  kNotSpace = kinds({kKindLetter, kKindNumber, kKindSign, kKindQuote}),
                  kBlankOrNumber = kinds({kKindSpace, kKindTab, kKindNumber}),
                  kIfNumber = kinds({kKindNumber}),
                  kBlankEndOrNumber = kBlankOrNumber | kinds({kKindLineEnd}), kAnyKind = 0xFF;

// By the first byte of a piece.
struct Quick {
  struct Rule {
    uint8_t letters = 0;  // bit 0: the byte is a letter; bit 1: it joins letters after it
    uint8_t alone = 0;    // of which kinds the next byte must be where it is a piece by itself
  } rules[256];
};

constexpr Quick quick_rules(uint8_t joins, std::array<uint8_t, 8> alone) {
  Quick quick{};
  for (size_t byte = 0; byte < 256; ++byte) {
    const Kind kind = kKinds[byte];
    quick.rules[byte].letters =
        static_cast<uint8_t>((kind == kKindLetter ? 1 : 0) | (joins >> kind & 1) << 1);
    quick.rules[byte].alone = byte < 128 ? alone[kind] : 0;
  }
  return quick;
}

// The end of the piece at `p`, at most 15 bytes on, or null where that takes a closer look; 17 bytes are
// readable. One branch: which kind of piece it is cannot be foreseen.
[[gnu::always_inline]] inline const char* quick_piece(const Quick& quick, const char* p) {
  const Quick::Rule rule = quick.rules[static_cast<unsigned char>(*p)];
  const __m128i lower = _mm_or_si128(load16(p), _mm_set1_epi8(32));
  const auto letters = static_cast<unsigned>(_mm_movemask_epi8(within(lower, 'a', 'z')));
  const unsigned word = -static_cast<unsigned>((letters & rule.letters) != 0);  // all bits, or none
  const char* stop = p + std::countr_one((letters & word & 0x7FFF) | 1);
  const unsigned wanted = (kNotLetter & word) | (rule.alone & ~word);
  return wanted >> kKinds[static_cast<unsigned char>(*stop)] & 1 ? stop : nullptr;
}

// A grammar's `next` is the end of the piece that starts at `p`, which is not the end of the text.

struct Gpt2 {
  //                               letter number      space tab line end   sign      quote              other
  static constexpr Quick kQuick =
      quick_rules(kinds({kKindSpace}), {0, kNotNumber, 0, 0, kNotSpace, kNotSign, kBlankEndOrNumber, 0});
  static const char* next(const Reader& r, const char* p) {
    constexpr uint8_t kNotOther = kSpace | kLetter | kNumber;
    const char* start = *p == ' ' && p + 1 != r.end ? p + 1 : p;
    if (is_ascii_letter(*start)) return r.letters(start);
    if (*p == '\'')
      if (const int length = contraction(p, r.end, false)) return p + length;
    const char* after = start;
    const uint8_t c = r.at(start, after);
    if (c & kLetter) return r.letters(after);
    if (c & kNumber) return r.run(after, kNumber);
    if (!(c & kSpace)) return r.run_without(after, kNotOther);
    const char* stop = r.run(after, kSpace);
    return spaces(p, stop, stop == r.end);
  }
};

// A number character is a piece, and the end of the text before it.
struct DigitsGpt2 {
  static constexpr Quick kQuick = quick_rules(
      kinds({kKindSpace}), {0, kAnyKind, kIfNumber, 0, kNotSpace, kNotSign, kBlankEndOrNumber, 0});
  static const char* next(const Reader& r, const char* p) {
    constexpr uint8_t kNotOther = kSpace | kLetter | kNumber;
    const char* start = p;
    if (*p == ' ' && p + 1 != r.end) {
      const char* after = p;
      start = is_ascii_letter(p[1]) || !(r.at(p + 1, after) & kNumber) ? p + 1 : p;
    }
    if (is_ascii_letter(*start)) return r.letters(start);
    if (*p == '\'')
      if (const int length = contraction(p, r.end, false)) return p + length;
    const char* after = start;
    const uint8_t c = r.at(start, after);
    if (c & kLetter) return r.letters(after);
    if (c & kNumber) return after;
    if (!(c & kSpace)) return r.run_without(after, kNotOther);
    const char* stop = r.run(after, kSpace);
    const char* unused = stop;
    return spaces(p, stop, stop == r.end || (r.at(stop, unused) & kNumber));
  }
};

template <int kMaxDigits>
struct Qwen2 {
  static constexpr Quick kQuick = quick_rules(kinds({kKindSpace, kKindTab, kKindSign, kKindOther}),
                                              {0, kMaxDigits == 1 ? kAnyKind : kNotNumber, kIfNumber, 0,
                                               kNotSpace, kBlankOrNumber, kBlankOrNumber, 0});
  static const char* next(const Reader& r, const char* p) {
    constexpr uint8_t kNotOther = kSpace | kLetter | kNumber;
    if (const char* han = r.han(p)) return r.letters(han);
    const char *next = p, *after = p;
    const uint8_t c = r.at(p, next);
    if (c & kLetter) return r.letters(next);
    if (c & kNumber) {
      for (int n = 1; n < kMaxDigits && (r.at(next, after) & kNumber); ++n) next = after;
      return next;
    }
    if (*p == '\'')
      if (const int length = contraction(p, r.end, true)) return p + length;
    const uint8_t following = r.at(next, after);
    if (!(c & kLineEnd) && (following & kLetter)) return r.letters(after);
    if (!(c & kSpace)) return r.line_ends(r.run_without(next, kNotOther));
    if (*p == ' ' && next != r.end && !(following & kNotOther))
      return r.line_ends(r.run_without(after, kNotOther));
    const char* stop = r.run(next, kSpace);
    return spaces_or_lines(p, stop, stop == r.end);
  }
};

// The three patterns of DeepSeek-V3 in one pass. The first takes the numbers out, the second the runs of Han
// and kana; the third sees what lies between two such cuts, a segment, as a text of its own: its end is
// wherever the next character is a number or on the other side of the second pattern.
struct DeepSeekV3 {
  static constexpr Quick kQuick =
      quick_rules(kinds({kKindSpace, kKindTab, kKindSign, kKindQuote, kKindOther}),
                  {0, kNotNumber, kIfNumber, 0, kNotSpace, kBlankOrNumber, kBlankOrNumber, 0});
  static constexpr uint8_t kWord = kLetter | kMark, kSign = kPunctuation | kSymbol;

  static bool is_cjk(uint32_t c) { return (c >= 0x4E00 && c <= 0x9FA5) || (c >= 0x3040 && c <= 0x30FF); }

  class Segment {
   public:
    Segment(const Reader& text, bool cjk) : text_(text), cjk_(cjk) {}
    uint8_t at(const char* p, const char*& next) const {
      if (p == text_.end) return 0;
      const unsigned char b = static_cast<unsigned char>(*p);
      if (b < 0x80 && cjk_) return 0;
      const char* after = p;
      const uint8_t c = text_.at(p, after);
      if (c & kNumber) return 0;
      if (b >= 0xE3 && b <= 0xE9) {
        const char* again = p;
        if (is_cjk(next_code_point(again)) != cjk_) return 0;
      } else if (cjk_) {
        return 0;
      }
      next = after;
      return c;
    }
    const char* text_end() const { return text_.end; }
    // `next` stays where it is at the end only: a character without class has length, too.
    bool ends_at(const char* p) const {
      const char* next = p;
      return at(p, next) == 0 && next == p;
    }
    const char* run(const char* p, uint8_t any) const {
      const char* next = p;
      while (at(p, next) & any) p = next;
      return p;
    }
    const char* words(const char* p) const {
      while (p != text_.end) {
        const unsigned char b = static_cast<unsigned char>(*p);
        if (cjk_) {
          if (b < 0xE3 || b > 0xE9) break;
          if (b != 0xE3) p = han_letters(p, text_.end);
        } else if (b < 0x80) {
          p = ascii_letters(p, text_.end);
          if (p == text_.end || static_cast<unsigned char>(*p) < 0x80) break;
        }
        const char* next = p;
        if (!(at(p, next) & kWord)) break;
        p = next;
      }
      return p;
    }

   private:
    const Reader& text_;
    const bool cjk_;
  };

  static const char* next(const Reader& r, const char* p) {
    const auto b = static_cast<unsigned char>(*p);
    if (const char* han = r.han(p)) return Segment(r, true).words(han);
    if (is_ascii_letter(*p)) return Segment(r, false).words(p + 1);
    if (b < 0x80 && p + 1 != r.end && is_ascii_letter(p[1])) {
      if (*p == ' ') return Segment(r, false).words(p + 2);
      const char* unused = p;
      if (r.at(p, unused) & kSign) return ascii_letters(p + 1, r.end);
    }
    const char *next = p, *after = p;
    const uint8_t c = r.at(p, next);
    if (c & kNumber) {
      for (int n = 1; n < 3 && (r.at(next, after) & kNumber); ++n) next = after;
      return next;
    }
    const char* again = p;
    const Segment segment(r, b >= 0xE3 && is_cjk(next_code_point(again)));
    if (const char* stop = match(segment, p, c, next)) return stop;
    // What the pattern does not match is a piece, up to its next match.
    for (p = next; !segment.ends_at(p); p = next) {
      const uint8_t kind = segment.at(p, next);
      if (match(segment, p, kind, next) != nullptr) break;
    }
    return p;
  }

  // End of the third pattern's match at `p`, a character of classes `c` that ends at `next`; null without
  // one.
  static const char* match(const Segment& s, const char* p, uint8_t c, const char* next) {
    if (c & kWord) return s.words(next);
    const char* after = next;
    const uint8_t following = s.at(next, after);
    if (c & kSign) {
      if (static_cast<unsigned char>(*p) >= 0x80 || !(following & kLetter) || !is_ascii_letter(*next))
        return following & (kSign | kLineEnd) ? lines(s, s.run(next, kSign)) : next;
      return ascii_letters(next, s.text_end());
    }
    if (!(c & kLineEnd) && (following & kWord)) return s.words(after);
    if (*p == ' ' && (following & kSign)) return lines(s, s.run(after, kSign));
    if (!(c & kSpace)) return nullptr;
    const char* stop = s.run(next, kSpace);
    return spaces_or_lines(p, stop, s.ends_at(stop));
  }

  static const char* lines(const Segment& s, const char* p) { return s.run(p, kLineEnd); }
};

template <class Grammar>
class Scanner final : public PreTokenizerStep {
 public:
  void split(std::string_view text, Pieces& pieces) const override {
    const Reader r(classes_, text.data() + text.size());
    for (const char *p = text.data(), *stop; p != r.end; p = stop) {
      stop = r.end - p >= 17 ? quick_piece(Grammar::kQuick, p) : nullptr;
      if (stop == nullptr) stop = Grammar::next(r, p);
      pieces.emplace_back(p, static_cast<size_t>(stop - p));
    }
  }

  // Cutting and looking up in one loop, since the one waits for the last piece's end while the other
  // computes; a piece is looked up some pieces after its place in the cache was asked for.
  int64_t encode(std::string_view text, const Bpe& bpe, std::vector<int64_t>& ids) const override {
    constexpr size_t kAhead = 6, kRoom = 1024;
    PieceCache& cache = bpe.cache();
    const Reader r(classes_, text.data() + text.size());
    PieceKey keys[kAhead];
    int64_t known[kRoom], *out = known, lost = 0;
    const auto flush = [&] {
      ids.insert(ids.end(), known, out);
      out = known;
    };
    const auto look_up = [&](const PieceKey& key) {
      const int count = cache.find(key, out, lost);
      if (count >= 0) [[likely]] {
        out += count;
        if (out > known + kRoom - PieceCache::kMostIds - 3) flush();
      } else {
        flush();
        lost += bpe.encode_unknown(key, cache, ids);
      }
    };
    size_t cut = 0;
    for (const char *p = text.data(), *stop; p != r.end; p = stop) {
      PieceKey& key = keys[cut % kAhead];
      if (cut >= kAhead) look_up(key);
      ++cut;
      stop = r.end - p >= 17 ? quick_piece(Grammar::kQuick, p) : nullptr;
      if (stop != nullptr) {
        key = short_key(p, static_cast<size_t>(stop - p), load16(p));
      } else {
        stop = Grammar::next(r, p);
        make_key(p, static_cast<size_t>(stop - p), r.end, key);
      }
      cache.prefetch(key);
    }
    for (size_t i = cut - std::min(cut, kAhead); i < cut; ++i) look_up(keys[i % kAhead]);
    flush();
    return lost;
  }

 private:
  const uint8_t* classes_ = character_classes();
};

class DigitsScanner final : public PreTokenizerStep {
 public:
  explicit DigitsScanner(bool individual) : individual_(individual) {}
  void split(std::string_view text, Pieces& pieces) const override {
    const Reader r(character_classes(), text.data() + text.size());
    const char* p = text.data();
    while (p != r.end) {
      const char* stop = r.run_without(p, kNumber);
      if (stop == p) {
        if (individual_)
          r.at(p, stop);
        else
          stop = r.run(p, kNumber);
      }
      pieces.emplace_back(p, static_cast<size_t>(stop - p));
      p = stop;
    }
  }

 private:
  bool individual_;
};

}  // namespace

std::unique_ptr<PreTokenizerStep> gpt2_step() { return std::make_unique<Scanner<Gpt2>>(); }
std::unique_ptr<PreTokenizerStep> digits_gpt2_step() { return std::make_unique<Scanner<DigitsGpt2>>(); }
std::unique_ptr<PreTokenizerStep> deepseek_v3_step() { return std::make_unique<Scanner<DeepSeekV3>>(); }
std::unique_ptr<PreTokenizerStep> qwen2_step(int max_digits) {
  check(max_digits == 1 || max_digits == 3, "numbers of ", max_digits, " digits are of no known grammar");
  if (max_digits == 1) return std::make_unique<Scanner<Qwen2<1>>>();
  return std::make_unique<Scanner<Qwen2<3>>>();
}
std::unique_ptr<PreTokenizerStep> digits_step(bool individual) {
  return std::make_unique<DigitsScanner>(individual);
}

std::unique_ptr<PreTokenizerStep> split_step(const std::string& pattern, const std::string& where) {
  if (pattern == kGpt2Pattern) return gpt2_step();
  if (pattern == kQwen2Pattern) return qwen2_step(1);
  if (pattern == kLlama3Pattern) return qwen2_step(3);
  return pattern_step(pattern, where);
}

}  // namespace decant
