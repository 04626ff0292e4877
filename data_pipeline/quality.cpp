#include "data_pipeline/quality.h"

#include <unicode/uchar.h>

#include <algorithm>
#include <array>
#include <functional>
#include <string>

#include "data_pipeline/phrases.h"
#include "data_pipeline/unicode.h"

namespace decant {

namespace {

float ratio(double part, double whole) { return whole == 0 ? 0 : static_cast<float>(part / whole); }

template <size_t N>
std::array<uint64_t, N> hashes_of(const std::array<std::string_view, N>& words) {
  std::array<uint64_t, N> hashes;
  std::transform(words.begin(), words.end(), hashes.begin(), word_hash);
  return hashes;
}

// How many of N words, known by their hashes, a text has.
template <size_t N>
class StopWords {
 public:
  explicit StopWords(const std::array<std::string_view, N>& words) : hashes_(hashes_of(words)) {
    for (const uint64_t h : hashes_) filter_[h % 1024 / 64] |= uint64_t{1} << h % 64;
  }

  float count(const std::vector<ScannedWord>& words) const {
    uint64_t found = 0;
    for (const ScannedWord& word : words) {
      if ((filter_[word.hash % 1024 / 64] >> word.hash % 64 & 1) == 0) continue;
      for (size_t i = 0; i < N; ++i)
        if (word.hash == hashes_[i]) found |= uint64_t{1} << i;
    }
    float n = 0;
    for (; found != 0; found &= found - 1) ++n;
    return n;
  }

 private:
  std::array<uint64_t, N> hashes_;
  std::array<uint64_t, 16> filter_{};
};

constexpr std::array<std::string_view, 8> kEnglish = {"the", "be", "to", "of", "and", "that", "have", "with"};
constexpr std::array<std::string_view, 22> kChinese = {"的", "年", "在", "月", "是", "和", "日", "了",
                                                       "於", "·",  "為", "有", "被", "人", "中", "为",
                                                       "他", "與", "後", "也", "而", "由"};

// What C4 drops lines for.
const Phrases& policy() {
  static const Phrases phrases = {"terms of use", "privacy policy", "cookie policy",
                                  "uses cookies", "use of cookies", "use cookies"};
  return phrases;
}
const Phrases& lorem_ipsum() {
  static const Phrases phrases = {"lorem ipsum"};
  return phrases;
}
const Phrases& unwanted() {
  static const Phrases phrases = {"terms of use",   "privacy policy", "cookie policy", "uses cookies",
                                  "use of cookies", "use cookies",    "lorem ipsum",   "javascript"};
  return phrases;
}

// Without [edit], [citation needed] and [12].
std::string_view without_citations(std::string_view line, std::string& buffer) {
  if (line.find('[') == std::string_view::npos) return line;
  buffer.clear();
  for (size_t i = 0; i < line.size();) {
    if (line[i] == '[') {
      size_t digits = i + 1;
      while (digits < line.size()) {  // \d is any decimal digit
        const char* p = line.data() + digits;
        const char* const at = p;
        const uint32_t c = next_code_point(p);
        const bool digit = c < 0x80 ? c >= '0' && c <= '9' : u_isdigit(static_cast<UChar32>(c)) != 0;
        if (!digit) break;
        digits += static_cast<size_t>(p - at);
      }
      const std::string_view rest = line.substr(i);
      if (digits < line.size() && line[digits] == ']') {
        i = digits + 1;
        continue;
      }
      if (rest.starts_with("[edit]")) {
        i += 6;
        continue;
      }
      if (rest.starts_with("[citation needed]")) {
        i += 17;
        continue;
      }
    }
    buffer.push_back(line[i++]);
  }
  return buffer;
}

// Runs of characters that are not white space, and the length of the longest.
struct Spaced {
  uint32_t words = 0, longest = 0;
};
Spaced split_at_spaces(std::string_view line) {
  Spaced found;
  uint32_t length = 0;
  const char* p = line.data();
  const char* const end = p + line.size();
  while (p < end) {
    const uint32_t c = next_code_point(p);
    if (is_space(c)) {
      length = 0;
      continue;
    }
    found.words += length == 0;
    found.longest = std::max(found.longest, ++length);
  }
  return found;
}

// Sentence ends: a run of . ? ! before white space or the end (with closing marks between), or of Han and
// full-width terminators anywhere; what stands after the last end is one more.
uint32_t count_sentences(std::string_view line) {
  uint32_t sentences = 0;
  bool open = false,
       ended = false;  // words since the last end; an ASCII terminator that white space confirms
  const char* p = line.data();
  const char* const end = p + line.size();
  while (p < end) {
    const uint32_t c = next_code_point(p);
    if (is_space(c)) {
      if (ended) ++sentences, open = ended = false;
    } else if (c == 0x3002 || c == 0xFF01 || c == 0xFF1F || c == 0xFF61) {
      sentences += open || ended;
      open = ended = false;
    } else if (c == '.' || c == '?' || c == '!' || c == 0x2026) {
      ended = ended || open;
    } else if (c == '"' || c == '\'' || c == ')' || c == 0x201D || c == 0x2019 || c == 0x300D) {
    } else {
      open = true, ended = false;
    }
  }
  return sentences + (open || ended);
}

struct Lines {
  uint32_t bullets = 0, ellipses = 0, c4 = 0, sentences = 0, lorem = 0, policy = 0, longest_word = 0;
};

Lines read_lines(const std::vector<std::string_view>& lines, std::string& buffer) {
  Lines n;
  for (const std::string_view whole : lines) {
    const std::string_view left = strip_left(whole), line = strip_right(left);
    n.bullets += left.starts_with("\u2022") || left.starts_with("-");
    n.ellipses += line.ends_with("...") || line.ends_with("\u2026");
    const Spaced spaced = split_at_spaces(line);
    n.longest_word = std::max(n.longest_word, spaced.longest);
    const std::string_view clean = without_citations(line, buffer);
    const bool bad = unwanted().count(clean) > 0;
    if (bad) {
      n.lorem += lorem_ipsum().count(clean) > 0;
      n.policy += policy().count(clean) > 0;
    }
    if (spaced.longest > 1000 || clean.empty()) continue;
    const char last = clean.back();
    const bool terminal = last == '.' || last == '?' || last == '!' || last == '"' || last == '\'';
    if (!terminal || clean.ends_with("...") || spaced.words < 3) continue;
    if (bad) continue;
    ++n.c4;
    n.sentences += count_sentences(clean);
  }
  return n;
}

// FineWeb's and mC4's lines are those between '\n'.
void read_newline_lines(std::string_view text, Quality& q) {
  uint32_t lines = 0, terminal = 0, short_ones = 0;
  std::array<size_t, 3> longest{};
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = text.substr(begin, end - begin);
    begin = end + 1;
    const size_t characters = count_characters(line);
    if (characters > longest[2]) {
      longest[2] = characters;
      std::sort(longest.begin(), longest.end(), std::greater<>());
    }
    if (strip_left(line).empty()) continue;
    ++lines;
    terminal += is_terminal(last_code_point(line));
    short_ones += characters <= 30;
  }
  q.terminal_line_fraction = ratio(terminal, lines);
  q.short_line_fraction = ratio(short_ones, lines);
  q.third_line_characters = static_cast<float>(longest[2]);
}

// The next byte from `i` on that begins something: a URL, a tag, a character reference.
size_t next_mark(std::string_view text, size_t i) {
  static const auto marks = [] {
    std::array<bool, 256> m{};
    for (const char c : {':', 'w', '<', '&'}) m[static_cast<unsigned char>(c)] = true;
    return m;
  }();
  while (i < text.size() && !marks[static_cast<unsigned char>(text[i])]) ++i;
  return i;
}

// Up to white space, quotes, brackets or a character outside ASCII.
// Characters of the URL whose "://" or "www." is at `at`, and `end` behind it; 0 when it is none.
size_t read_url(std::string_view text, size_t at, size_t floor, size_t& end) {
  size_t begin = at;
  const std::string_view rest = text.substr(at);
  if (rest.starts_with("://")) {
    const std::string_view before = text.substr(floor, at - floor);
    if (!before.ends_with("http") && !before.ends_with("https")) return 0;
    begin -= before.ends_with("https") ? 5 : 4;
    end = at + 3;
  } else if (rest.starts_with("www.")) {
    end = at + 4;
  } else {
    return 0;
  }
  const size_t head = end;
  while (end < text.size()) {
    const auto c = static_cast<unsigned char>(text[end]);
    if (c <= ' ' || c >= 0x7F || c == '"' || c == '<' || c == '>' || c == '\'') break;
    ++end;
  }
  return end > head ? end - begin : 0;
}

bool is_html_name(std::string_view name) {
  static constexpr std::array<std::string_view, 34> kNames = {
      "a",  "b",      "body", "br",     "center", "div",   "em",    "font", "form", "h1",   "h2", "h3",
      "h4", "head",   "hr",   "html",   "i",      "img",   "input", "li",   "link", "meta", "ol", "option",
      "p",  "script", "span", "strong", "style",  "table", "td",    "tr",   "u",    "ul"};
  std::string low(name);
  for (char& c : low) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return std::binary_search(kNames.begin(), kNames.end(), low);
}

bool is_html(std::string_view rest) {
  const auto alnum = [](char c) {
    return (c >= '0' && c <= '9') || static_cast<unsigned>((c | 0x20) - 'a') < 26u;
  };
  size_t k = 1;
  if (rest[0] == '&') {
    k += k < rest.size() && rest[k] == '#';
    const size_t name = k;
    while (k < rest.size() && k - name < 8 && alnum(rest[k])) ++k;
    return k - name >= 2 && k < rest.size() && rest[k] == ';';
  }
  k += k < rest.size() && rest[k] == '/';
  const size_t name = k;
  while (k < rest.size() && k - name < 8 && alnum(rest[k])) ++k;
  if (k == name || k == rest.size() || !is_html_name(rest.substr(name, k - name))) return false;
  return (rest[k] == '>' || rest[k] == ' ' || rest[k] == '/') &&
         rest.substr(k, 1024).find('>') != std::string_view::npos;
}

void read_marks(const TextScan& scan, Quality& q) {
  const std::string_view text = scan.text;
  size_t characters = 0, floor = 0;
  for (size_t i = next_mark(text, 0); i < text.size(); i = next_mark(text, i)) {
    if (text[i] == '<' || text[i] == '&') {
      q.html_tags += is_html(text.substr(i));
    } else if (size_t end = 0; const size_t length = read_url(text, i, floor, end)) {
      ++q.urls;
      characters += length;
      i = floor = end;
      continue;
    }
    ++i;
  }
  q.url_ratio = ratio(static_cast<double>(characters), scan.characters);
}

// What UTF-8 looks like when it was read as Latin-1, Windows-1252 or GBK, and debug fill read as GBK.
const Phrases& mojibake() {
  static const Phrases phrases = {
      "锟斤拷",  "烫烫", "屯屯", "ï»¿", "ï¿½", "â€", "â‚¬",     "Ã©", "Ã¨", "Ãª", "Ã«", "Ã¤",      "Ã¶",
      "Ã¼",      "Ã¡",   "Ã³",   "Ãº",  "Ã±",  "Ã§", "Ã¢",      "Ã´", "Ã®", "Ã¯", "ÃŸ", "Ã\u00A0", "Ã\u00AD",
      "Â\u00A0", "Â°",   "Â£",   "Â©",  "Â®",  "ä¸", "å\u00A4", "æ˜", "çš", "ã€", "ï¼"};
  return phrases;
}

}  // namespace

Quality measure_quality(const TextScan& scan) {
  Quality q;
  const double words = static_cast<double>(scan.words.size());
  double solid = 0, solid_characters = 0, alphabetic = 0;
  for (const ScannedWord& word : scan.words) {
    if (word.flags & kNotSymbols) ++solid, solid_characters += word.characters;
    alphabetic += (word.flags & kHasLetter) != 0;
  }
  q.words = static_cast<float>(solid);
  q.mean_word_length = ratio(solid_characters, solid);
  q.hash_ratio = ratio(scan.hashes, words);
  q.ellipsis_ratio = ratio(scan.ellipses, words);
  q.alphabetic_word_fraction = ratio(alphabetic, words);
  q.newline_ratio = ratio(scan.newlines, words);
  static const StopWords english(kEnglish);
  static const StopWords chinese(kChinese);
  q.stop_words_en = english.count(scan.words);
  q.stop_words_zh = chinese.count(scan.words);

  std::string buffer;
  const Lines lines = read_lines(scan.lines, buffer);
  const auto num_lines = static_cast<double>(scan.lines.size());
  q.bullet_line_fraction = ratio(lines.bullets, num_lines);
  q.ellipsis_line_fraction = ratio(lines.ellipses, num_lines);
  q.c4_line_fraction = ratio(lines.c4, num_lines);
  q.c4_sentences = static_cast<float>(lines.sentences);
  q.lorem_ipsum = static_cast<float>(lines.lorem);
  q.policy_lines = static_cast<float>(lines.policy);
  q.longest_word = static_cast<float>(lines.longest_word);
  q.curly_brackets = static_cast<float>(scan.curly_brackets);
  read_newline_lines(scan.text, q);

  const double characters = scan.characters;
  q.symbol_ratio = ratio(scan.others, characters);
  q.number_ratio = ratio(scan.numbers, characters);
  q.space_ratio = ratio(scan.spaces, characters);
  q.parenthesis_ratio = ratio(scan.parentheses, characters);
  q.letter_ratio = ratio(scan.letters, characters);
  read_marks(scan, q);
  q.replacement_characters = static_cast<float>(scan.replacements);
  q.mojibake =
      ratio(100.0 * static_cast<double>(mojibake().count(scan.text) + scan.replacements), characters);
  return q;
}

}  // namespace decant
