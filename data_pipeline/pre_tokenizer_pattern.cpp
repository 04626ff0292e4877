// Any Split pattern, through PCRE2 with JIT. Oniguruma (Ruby syntax, which Hugging Face uses) and PCRE2
// differ in places: \s, the version of Unicode, `{n}?`, `{n}+`, \h, \v, \w, \b, class set operations. What
// can be translated is, the rest is refused.
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <unicode/uchar.h>

#include <cctype>
#include <optional>

#include "core/error.h"
#include "data_pipeline/pre_tokenizer.h"
#include "data_pipeline/unicode.h"

namespace decant {

namespace {

constexpr size_t kMaxPattern = 64 << 10;

std::string hex_point(uint32_t c) {
  static const char* digits = "0123456789abcdef";
  std::string text;
  do {
    text.insert(text.begin(), digits[c & 15]);
    c >>= 4;
  } while (c != 0);
  return "\\x{" + text + "}";
}

std::string ranges_text(const std::vector<std::pair<uint32_t, uint32_t>>& ranges) {
  std::string text;
  for (const auto& [first, last] : ranges)
    text += first == last ? hex_point(first) : hex_point(first) + "-" + hex_point(last);
  return text;
}

// Code points for which `member` holds, as ranges without the surrogates.
template <class Member>
std::string ranges_of(const Member& member) {
  std::vector<std::pair<uint32_t, uint32_t>> ranges;
  for (uint32_t c = 0; c < kNumCodePoints; ++c) {
    if (c == 0xD800) c = 0xE000;
    if (!member(c)) continue;
    if (!ranges.empty() && ranges.back().second + 1 == c)
      ranges.back().second = c;
    else
      ranges.emplace_back(c, c);
  }
  return ranges_text(ranges);
}

// What PCRE2 10.42 (Unicode 14) lacks of the category.
const std::string& newer_than_pcre2(CharacterClass wanted) {
  const auto build = [](CharacterClass k) {
    return ranges_of([k](uint32_t c) {
      if (!(character_classes()[c] & k)) return false;
      UVersionInfo age;
      u_charAge(static_cast<UChar32>(c), age);
      return age[0] == 0 || age[0] > 14;
    });
  };
  static const std::string letter = build(kLetter), number = build(kNumber), mark = build(kMark),
                           punctuation = build(kPunctuation), symbol = build(kSymbol);
  switch (wanted) {
    case kLetter:
      return letter;
    case kNumber:
      return number;
    case kMark:
      return mark;
    case kPunctuation:
      return punctuation;
    default:
      return symbol;
  }
}

const std::string& space_ranges(bool inverted) {
  static const std::string in = ranges_of([](uint32_t c) { return (character_classes()[c] & kSpace) != 0; });
  static const std::string out = ranges_of([](uint32_t c) { return (character_classes()[c] & kSpace) == 0; });
  return inverted ? out : in;
}

class Translator {
 public:
  Translator(const std::string& pattern, const std::string& where) : in_(pattern), where_(where) {}

  std::string translate() {
    check(in_.size() <= kMaxPattern, where_, ": a pattern of ", in_.size(), " bytes; at most ", kMaxPattern);
    check(valid_utf8_prefix(in_) == in_.size(), where_, ": the pattern is not UTF-8");
    while (at_ < in_.size()) item();
    return out_;
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    fail(where_, ": the pattern ", in_, " uses ", what, " at byte ", at_,
         ", which decant does not reproduce exactly; see docs/limitations.md");
  }
  char peek(size_t ahead = 0) const { return at_ + ahead < in_.size() ? in_[at_ + ahead] : '\0'; }

  void item() {
    const char c = in_[at_];
    if (c == '\\') return escape(false);
    if (c == '[') return character_class();
    if (c == '(') return group();
    if (c == '{') return counted();
    if (c == '.') {
      out_ += "[^\\n]";
    } else {
      out_ += c;
    }
    ++at_;
  }

  void group() {
    if (peek(1) == '?') {
      for (const char* known : {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?i:", "(?>"})
        if (in_.compare(at_, std::char_traits<char>::length(known), known) == 0) {
          out_ += known;
          at_ += std::char_traits<char>::length(known);
          return;
        }
      refuse("a group of this kind");
    }
    if (peek(1) == '*') refuse("a verb");
    out_ += in_[at_++];
  }

  void counted() {
    size_t end = at_ + 1;
    bool exact = true;
    if (!isdigit(static_cast<unsigned char>(peek(1)))) refuse("'{'");
    while (end < in_.size() && (isdigit(static_cast<unsigned char>(in_[end])) || in_[end] == ',')) {
      exact = exact && in_[end] != ',';
      ++end;
    }
    if (end >= in_.size() || in_[end] != '}') refuse("'{'");
    out_.append(in_, at_, end + 1 - at_);
    at_ = end + 1;
    if (peek() == '+' || (exact && peek() == '?')) refuse("a counted repetition with a suffix");
  }

  void character_class() {
    out_ += in_[at_++];
    if (peek() == '^') out_ += in_[at_++];
    if (peek() == ']') refuse("an empty class");
    while (true) {
      if (at_ >= in_.size()) refuse("a class without end");
      const char c = in_[at_];
      if (c == ']') break;
      if (c == '\\') {
        escape(true);
        continue;
      }
      if (c == '[') refuse("'[' in a class");
      if (c == '&' && peek(1) == '&') refuse("'&&' in a class");
      out_ += c;
      ++at_;
    }
    out_ += in_[at_++];
  }

  void escape(bool in_class) {
    const char c = peek(1);
    const auto set = [&](const std::string& ranges) {
      out_ += in_class ? ranges : "[" + ranges + "]";
      at_ += 2;
    };
    switch (c) {
      case '\0':
        refuse("a lone backslash");
      case 's':
        return set(space_ranges(false));
      case 'S':
        return set(space_ranges(true));
      case 'p':
      case 'P':
        return property(in_class, c == 'P');
      case 'r':
      case 'n':
      case 't':
      case 'f':
        out_ += {'\\', c};
        at_ += 2;
        return;
      case 'x':
      case 'u':
        return code_point();
      default:
        break;
    }
    if (isalnum(static_cast<unsigned char>(c))) refuse(std::string("\\") + c);
    out_ += '\\';
    ++at_;
    out_ += in_[at_++];
  }

  void code_point() {
    const bool braces = peek(1) == 'x' && peek(2) == '{';
    const size_t start = at_ + (braces ? 3 : 2), most = braces ? 8 : peek(1) == 'x' ? 2 : 4;
    uint32_t value = 0;
    size_t digits = 0;
    while (digits < most && isxdigit(static_cast<unsigned char>(peek(start - at_ + digits)))) {
      const char d = peek(start - at_ + digits);
      value = value * 16 +
              static_cast<uint32_t>(isdigit(static_cast<unsigned char>(d)) ? d - '0' : (d | 32) - 'a' + 10);
      ++digits;
    }
    const bool closed = braces ? digits > 0 && peek(start - at_ + digits) == '}' : digits == most;
    if (!closed || value >= kNumCodePoints || (value >= 0xD800 && value < 0xE000) ||
        (!braces && most == 2 && value > 0x7F))
      refuse("a code point");
    out_ += hex_point(value);
    at_ = start + digits + (braces ? 1 : 0);
  }

  void property(bool in_class, bool negated) {
    const size_t end = in_.find('}', at_);
    if (peek(2) != '{' || end == std::string::npos) refuse("\\p without braces");
    const std::string name = in_.substr(at_ + 3, end - at_ - 3);
    const std::string categories = "LNMPS";
    const size_t which = name.size() == 1 ? categories.find(name) : std::string::npos;
    if (negated && in_class) refuse("\\P in a class");
    std::string set;
    if (which != std::string::npos) {
      constexpr CharacterClass kinds[] = {kLetter, kNumber, kMark, kPunctuation, kSymbol};
      set = "\\p{" + name + "}" + newer_than_pcre2(kinds[which]);
    } else {
      // Other categories and scripts: PCRE2's own tables.
      for (const char* known : {"Lu",     "Ll",    "Lt",    "Lm",       "Lo",     "Mn",       "Mc",
                                "Me",     "Nd",    "Nl",    "No",       "Han",    "Hiragana", "Katakana",
                                "Hangul", "Latin", "Greek", "Cyrillic", "Arabic", "Hebrew",   "Thai"})
        if (name == known) set = "\\p{" + name + "}";
      if (set.empty()) refuse("\\p{" + name + "}");
    }
    if (in_class)
      out_ += set;
    else
      out_ += (negated ? "[^" : "[") + set + "]";
    at_ = end + 1;
  }

  const std::string& in_;
  const std::string& where_;
  std::string out_;
  size_t at_ = 0;
};

std::string pcre2_message(int code) {
  PCRE2_UCHAR buffer[256];
  pcre2_get_error_message(code, buffer, sizeof(buffer));
  return reinterpret_cast<const char*>(buffer);
}

struct JitStack {
  pcre2_jit_stack* stack = pcre2_jit_stack_create(32 << 10, 32 << 20, nullptr);
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  JitStack() { pcre2_jit_stack_assign(context, nullptr, stack); }
  ~JitStack() {
    pcre2_match_context_free(context);
    pcre2_jit_stack_free(stack);
  }
  JitStack(const JitStack&) = delete;
  JitStack& operator=(const JitStack&) = delete;
};

class PatternStep final : public PreTokenizerStep {
 public:
  PatternStep(const std::string& pattern, const std::string& where) : pattern_(pattern), where_(where) {
    const std::string translated = translate_pattern(pattern, where);
    int error = 0;
    size_t at = 0;
    code_ = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                          PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error, &at,
                          nullptr);
    check(code_ != nullptr, where, ": the pattern ", pattern,
          " is not a regular expression: ", pcre2_message(error));
    uint32_t matches_empty = 0;
    pcre2_pattern_info(code_, PCRE2_INFO_MATCHEMPTY, &matches_empty);
    if (matches_empty != 0) {
      pcre2_code_free(code_);
      fail(where, ": the pattern ", pattern, " matches the empty text, which decant does not reproduce");
    }
    pcre2_jit_compile(code_, PCRE2_JIT_COMPLETE);  // where there is no JIT, the interpreter does it
  }
  ~PatternStep() override { pcre2_code_free(code_); }

  void split(std::string_view text, Pieces& pieces) const override {
    thread_local JitStack jit;
    struct Free {
      void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
    };
    const std::unique_ptr<pcre2_match_data, Free> data(pcre2_match_data_create_from_pattern(code_, nullptr));
    const size_t* found = pcre2_get_ovector_pointer(data.get());
    const auto put = [&](size_t from, size_t to) {
      if (from != to) pieces.push_back(text.substr(from, to - from));
    };
    size_t at = 0;
    while (at < text.size()) {
      const int count = pcre2_match(code_, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), at,
                                    PCRE2_NO_UTF_CHECK, data.get(), jit.context);
      if (count == PCRE2_ERROR_NOMATCH) break;
      check(count >= 0, where_, ": the pattern ", pattern_, " failed on a text: ", pcre2_message(count));
      put(at, found[0]);
      put(found[0], found[1]);
      at = found[1];
    }
    put(at, text.size());
  }

 private:
  std::string pattern_, where_;
  pcre2_code* code_ = nullptr;
};

}  // namespace

std::string translate_pattern(const std::string& pattern, const std::string& where) {
  return Translator(pattern, where).translate();
}

std::unique_ptr<PreTokenizerStep> pattern_step(const std::string& pattern, const std::string& where) {
  return std::make_unique<PatternStep>(pattern, where);
}

}  // namespace decant
