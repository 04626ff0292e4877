#include "data_pipeline/pre_tokenizer.h"

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

namespace {

// A place in the text with the classes of the character there.
struct Reader {
  const uint8_t* classes;
  const char* end;

  // Classes at `p`, or 0 at the end; `next` is set past the character (left alone at the end).
  uint8_t at(const char* p, const char*& next) const {
    if (p == end) return 0;
    const unsigned char b = static_cast<unsigned char>(*p);
    if (b < 0x80) {
      next = p + 1;
      return classes[b];
    }
    next = p;
    return classes[next_code_point(next)];
  }
  // End of the longest run from `p` of characters with a class in `any`.
  const char* run(const char* p, uint8_t any) const {
    const char* next = p;
    while (at(p, next) & any) p = next;
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
const char* spaces(const char* p, const char* stop, const char* end) {
  if (stop == end) return stop;
  const char* last = previous_code_point(stop);
  return last == p ? stop : last;
}

// `\s*[\r\n]+|\s+(?!\S)|\s+`
const char* spaces_or_lines(const char* p, const char* stop, const char* end) {
  for (const char* q = stop; q != p; --q)
    if (q[-1] == '\r' || q[-1] == '\n') return q;
  return spaces(p, stop, end);
}

struct Gpt2 {
  static void scan(const Reader& r, const char* p, Pieces& pieces) {
    constexpr uint8_t kNotOther = kSpace | kLetter | kNumber;
    while (p != r.end) {
      const char* stop = nullptr;
      if (*p == '\'')
        if (const int length = contraction(p, r.end, false)) stop = p + length;
      if (stop == nullptr) {
        const char* start = *p == ' ' && p + 1 != r.end ? p + 1 : p;
        const char* next = start;
        const uint8_t c = r.at(start, next);
        if (c & kLetter) {
          stop = r.run(next, kLetter);
        } else if (c & kNumber) {
          stop = r.run(next, kNumber);
        } else if (!(c & kSpace)) {
          stop = r.run_without(next, kNotOther);
        } else {
          stop = spaces(p, r.run(next, kSpace), r.end);
        }
      }
      pieces.emplace_back(p, static_cast<size_t>(stop - p));
      p = stop;
    }
  }
};

struct DigitsGpt2 {
  static void scan(const Reader& r, const char* p, Pieces& pieces) {
    while (p != r.end) {
      const char* digit = r.run_without(p, kNumber);
      if (digit != p) Gpt2::scan(Reader{r.classes, digit}, p, pieces);
      const char* next = digit;
      for (p = digit; r.at(p, next) & kNumber; p = next)
        pieces.emplace_back(p, static_cast<size_t>(next - p));
    }
  }
};

struct Qwen2 {
  static void scan(const Reader& r, const char* p, int max_digits, Pieces& pieces) {
    constexpr uint8_t kNotOther = kSpace | kLetter | kNumber;
    while (p != r.end) {
      const char *next = p, *after = p;
      const uint8_t c = r.at(p, next);
      const char* stop = nullptr;
      if (c & kLetter) {
        stop = r.run(next, kLetter);
      } else if (c & kNumber) {
        stop = next;
        for (int n = 1; n < max_digits && (r.at(stop, after) & kNumber); ++n) stop = after;
      } else {
        const int length = *p == '\'' ? contraction(p, r.end, true) : 0;
        const uint8_t following = r.at(next, after);
        if (length > 0) {
          stop = p + length;
        } else if (!(c & kLineEnd) && (following & kLetter)) {
          stop = r.run(after, kLetter);
        } else if (!(c & kSpace)) {
          stop = r.line_ends(r.run_without(next, kNotOther));
        } else if (*p == ' ' && next != r.end && !(following & kNotOther)) {
          stop = r.line_ends(r.run_without(after, kNotOther));
        } else {
          stop = spaces_or_lines(p, r.run(next, kSpace), r.end);
        }
      }
      pieces.emplace_back(p, static_cast<size_t>(stop - p));
      p = stop;
    }
  }
};

struct DeepSeekV3 {
  static bool is_cjk(uint32_t c) { return (c >= 0x4E00 && c <= 0x9FA5) || (c >= 0x3040 && c <= 0x30FF); }

  static bool is_ascii_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

  // The third pattern; what it does not match is a piece from one match to the next.
  static void third(const Reader& r, const char* p, Pieces& pieces) {
    constexpr uint8_t kWord = kLetter | kMark, kSign = kPunctuation | kSymbol;
    const char* gap = p;
    while (p != r.end) {
      const char *next = p, *after = p;
      const uint8_t c = r.at(p, next);
      const uint8_t following = r.at(next, after);
      const char* stop = nullptr;
      if (static_cast<unsigned char>(*p) < 0x80 && (c & kSign) && next != r.end && is_ascii_letter(*next)) {
        stop = next;
        while (stop != r.end && is_ascii_letter(*stop)) ++stop;
      } else if (c & kWord) {
        stop = r.run(next, kWord);
      } else if (!(c & (kLineEnd | kSign)) && (following & kWord)) {
        stop = r.run(after, kWord);
      } else if (c & kSign) {
        stop = r.line_ends(r.run(next, kSign));
      } else if (*p == ' ' && (following & kSign)) {
        stop = r.line_ends(r.run(after, kSign));
      } else if (c & kSpace) {
        stop = spaces_or_lines(p, r.run(next, kSpace), r.end);
      } else {
        p = next;
        continue;
      }
      if (gap != p) pieces.emplace_back(gap, static_cast<size_t>(p - gap));
      pieces.emplace_back(p, static_cast<size_t>(stop - p));
      p = gap = stop;
    }
    if (gap != p) pieces.emplace_back(gap, static_cast<size_t>(p - gap));
  }

  static void scan(const Reader& r, const char* p, Pieces& pieces) {
    while (p != r.end) {
      // Numbers, three at a time; the third pattern leaves them whole.
      const char* next = p;
      if (r.at(p, next) & kNumber) {
        const char* stop = next;
        for (int n = 1; n < 3 && (r.at(stop, next) & kNumber); ++n) stop = next;
        pieces.emplace_back(p, static_cast<size_t>(stop - p));
        p = stop;
        continue;
      }
      // The longest run of one kind: within or without the second pattern's ranges.
      const char* q = p;
      const bool cjk = is_cjk(next_code_point(q));
      while (q != r.end) {
        const char* ahead = q;
        const uint32_t c = next_code_point(ahead);
        if ((r.classes[c] & kNumber) || is_cjk(c) != cjk) break;
        q = ahead;
      }
      third(Reader{r.classes, q}, p, pieces);
      p = q;
    }
  }
};

template <class Grammar>
class Scanner final : public PreTokenizerStep {
 public:
  void split(std::string_view text, Pieces& pieces) const override {
    Grammar::scan(Reader{character_classes(), text.data() + text.size()}, text.data(), pieces);
  }
};

class Qwen2Scanner final : public PreTokenizerStep {
 public:
  explicit Qwen2Scanner(int max_digits) : max_digits_(max_digits) {}
  void split(std::string_view text, Pieces& pieces) const override {
    Qwen2::scan(Reader{character_classes(), text.data() + text.size()}, text.data(), max_digits_, pieces);
  }

 private:
  int max_digits_;
};

class DigitsScanner final : public PreTokenizerStep {
 public:
  explicit DigitsScanner(bool individual) : individual_(individual) {}
  void split(std::string_view text, Pieces& pieces) const override {
    const Reader r{character_classes(), text.data() + text.size()};
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
  return std::make_unique<Qwen2Scanner>(max_digits);
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
