#include "data_pipeline/strip_html.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <vector>

#include "data_pipeline/ascii.h"
#include "data_pipeline/unicode.h"

namespace decant {

namespace {

constexpr size_t kMaxTagBytes = 8192;
constexpr size_t kMaxEntityBytes = 34;  // the longest name has 31
constexpr int kMaxQuotedBrackets = 8;   // '>' inside the quoted values of one tag

constexpr auto kInlineTags = std::to_array<std::string_view>(
    {"a",        "abbr",     "acronym", "area",     "audio",  "b",      "base",   "bdi",      "bdo",
     "big",      "body",     "button",  "canvas",   "cite",   "code",   "col",    "colgroup", "data",
     "datalist", "del",      "dfn",     "em",       "embed",  "font",   "frame",  "head",     "html",
     "i",        "iframe",   "img",     "input",    "ins",    "kbd",    "label",  "link",     "map",
     "mark",     "meta",     "meter",   "noscript", "object", "option", "output", "param",    "picture",
     "progress", "q",        "ruby",    "rp",       "rt",     "s",      "samp",   "script",   "select",
     "small",    "source",   "span",    "strike",   "strong", "style",  "sub",    "sup",      "svg",
     "path",     "textarea", "time",    "title",    "tt",     "u",      "var",    "video",    "wbr"});
constexpr auto kBlockTags = std::to_array<std::string_view>(
    {"address", "article",  "aside",      "blockquote", "caption", "center", "dd",    "details", "div", "dl",
     "dt",      "fieldset", "figcaption", "figure",     "footer",  "form",   "h1",    "h2",      "h3",  "h4",
     "h5",      "h6",       "header",     "hr",         "legend",  "li",     "main",  "nav",     "ol",  "p",
     "pre",     "section",  "summary",    "table",      "tbody",   "tfoot",  "thead", "tr",      "ul"});

template <size_t N>
bool contains(const std::array<std::string_view, N>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n'; }

bool starts_with_lower(std::string_view text, std::string_view prefix) {
  return text.size() >= prefix.size() && ascii_lower(text.substr(0, prefix.size())) == prefix;
}

enum class Tag { kNone, kOpenQuote, kInline, kCell, kBlock, kBreak, kRawBegin, kRawEnd };

// `text` begins with '<' and ends with '>'.
Tag tag_kind(std::string_view text) {
  std::string_view inner = text.substr(1, text.size() - 2);
  if (starts_with_lower(inner, "!doctype") || starts_with_lower(inner, "?xml") ||
      starts_with_lower(inner, "![if") || starts_with_lower(inner, "![endif"))
    return Tag::kInline;
  const bool closing = !inner.empty() && inner[0] == '/';
  if (closing) inner.remove_prefix(1);
  size_t length = 0;
  while (length < inner.size() && (is_ascii_letter(inner[length]) || inner[length] == ':' ||
                                   (length > 0 && (is_ascii_digit(inner[length]) || inner[length] == '-'))))
    ++length;
  const std::string name = ascii_lower(inner.substr(0, std::min<size_t>(length, 32)));
  inner.remove_prefix(length);
  if (!inner.empty() && !is_blank(inner[0]) && inner[0] != '/') return Tag::kNone;
  Tag kind = Tag::kNone;
  if (name == "script" || name == "style") {
    kind = closing ? Tag::kRawEnd : Tag::kRawBegin;
  } else if (name == "br") {
    kind = Tag::kBreak;
  } else if (name == "td" || name == "th") {
    kind = Tag::kCell;
  } else if (contains(kBlockTags, name)) {
    kind = Tag::kBlock;
  } else if (contains(kInlineTags, name) ||
             (name.size() > 2 && (name[1] == ':' || name.starts_with("st1:")) && is_ascii_letter(name[0]))) {
    kind = Tag::kInline;
  }
  if (kind == Tag::kNone) return kind;
  // A quote opens a value only after '='.
  for (size_t i = 0; i < inner.size(); ++i) {
    if (inner[i] != '=') continue;
    while (i + 1 < inner.size() && is_blank(inner[i + 1])) ++i;
    if (i + 1 == inner.size() || (inner[i + 1] != '"' && inner[i + 1] != '\'')) continue;
    const size_t close = inner.find(inner[i + 1], i + 2);
    if (close == std::string_view::npos) return Tag::kOpenQuote;
    i = close;
  }
  return kind;
}

// windows-1252 at 0x80 to 0x9F; 0 where it has nothing.
constexpr uint16_t kWindows1252[32] = {0x20AC, 0,      0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021,
                                       0x02C6, 0x2030, 0x0160, 0x2039, 0x0152, 0,      0x017D, 0,
                                       0,      0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014,
                                       0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0,      0x017E, 0x0178};

std::optional<std::string> numeric_entity(std::string_view digits) {  // after '#'
  const bool hex = !digits.empty() && (digits[0] == 'x' || digits[0] == 'X');
  if (hex) digits.remove_prefix(1);
  if (digits.empty() || digits.size() > 8) return {};
  uint64_t value = 0;
  for (const char c : digits) {
    const bool letter = hex && ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'));
    if (!is_ascii_digit(c) && !letter) return {};
    value =
        value * (hex ? 16 : 10) + static_cast<uint64_t>(is_ascii_digit(c) ? c - '0' : (c | 0x20) - 'a' + 10);
  }
  if (value >= 0x80 && value < 0xA0 && kWindows1252[value - 0x80] != 0) value = kWindows1252[value - 0x80];
  if (value == 0 || value > 0x10FFFF || (value >= 0xD800 && value < 0xE000)) value = 0xFFFD;
  if (value == 0xA0) value = ' ';
  std::string text;
  append_utf8(text, static_cast<uint32_t>(value));
  return text;
}

std::optional<std::string> entity_text(std::string_view name) {  // without & and ;
  if (name.empty()) return {};
  if (name[0] == '#') return numeric_entity(name.substr(1));
  if (name == "nbsp") return " ";
  const HtmlEntity* end = kHtmlEntities + kNumHtmlEntities;
  const HtmlEntity* found = std::lower_bound(
      kHtmlEntities, end, name, [](const HtmlEntity& entity, std::string_view n) { return entity.name < n; });
  if (found == end || found->name != name) return {};
  return found->text;
}

// What may be reduced ends in '>' or ';' and is looked for backwards from there, in the text as reduced so
// far. Whether it is depends on that text alone, so the result holds nothing that could be reduced once more.
class Stripper {
 public:
  Stripper(std::string_view text, MappedText& out) : text_(text), out_(out) {}

  bool run() {
    static constexpr std::string_view kSpecial = "<>;-";
    for (size_t at = 0; at < text_.size();) {
      const size_t special = std::min(text_.find_first_of(kSpecial, at), text_.size());
      out_.copy(text_, at, special - at);
      if (special == text_.size()) break;
      const size_t mark = out_.text.size();
      out_.copy(text_, special, 1);
      at = special + 1;
      react(text_[special], mark, at);
    }
    return changed_;
  }

 private:
  struct Bracket {
    size_t at;
    int tries = 0;
  };

  void truncate(size_t size) {
    out_.truncate(size);
    while (!brackets_.empty() && brackets_.back().at >= size) brackets_.pop_back();
    if (comment_ != kNone && comment_ >= size) comment_ = kNone;
    if (raw_ != kNone && raw_ > size) raw_ = kNone;
    changed_ = true;
  }

  // `c` was appended at `at` of the output; the source is read up to `end`.
  void react(char c, size_t at, size_t end) {
    std::string pending;  // decoded characters that follow; their source is [source, end)
    size_t source = 0;
    while (true) {
      if (c == '<') {
        brackets_.push_back({at});
      } else if (c == '-') {
        if (comment_ == kNone && out_.text.ends_with("<!--")) comment_ = out_.text.size() - 4;
      } else if (c == '>') {
        close_bracket(end);
      } else if (c == ';') {
        const size_t size = out_.text.size(), from = size - std::min(size, kMaxEntityBytes);
        const std::string_view tail = std::string_view(out_.text).substr(from);
        const size_t amp = tail.rfind('&');
        if (amp != std::string_view::npos) {
          if (const auto text = entity_text(tail.substr(amp + 1, tail.size() - amp - 2))) {
            source = out_.map.source_of(from + amp);
            truncate(from + amp);
            pending = *text + pending;
          }
        }
      }
      if (pending.empty()) return;
      const auto lead = static_cast<unsigned char>(pending[0]);
      const size_t length = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
      c = pending[0];
      at = out_.text.size();
      out_.replace(source, end - source, pending.substr(0, length));
      pending.erase(0, length);
    }
  }

  void close_bracket(size_t end) {
    if (comment_ != kNone && out_.text.ends_with("-->") && out_.text.size() >= comment_ + 7) {
      truncate(comment_);
      return;
    }
    if (brackets_.empty()) return;
    const size_t begin = brackets_.back().at;
    const std::string_view tag = std::string_view(out_.text).substr(begin);
    const Tag kind = tag.size() > kMaxTagBytes || comment_ == begin ? Tag::kNone : tag_kind(tag);
    if (kind == Tag::kOpenQuote && ++brackets_.back().tries < kMaxQuotedBrackets) return;
    if (kind == Tag::kNone || kind == Tag::kOpenQuote) {
      brackets_.pop_back();
      return;
    }
    const size_t source = out_.map.source_of(begin);
    truncate(begin);
    if (kind == Tag::kRawBegin && raw_ == kNone) raw_ = begin;
    if (kind == Tag::kRawEnd && raw_ != kNone) {
      truncate(raw_);
      raw_ = kNone;
    }
    const bool line_open = !out_.text.empty() && out_.text.back() != '\n';
    if (kind == Tag::kBreak || (kind == Tag::kBlock && line_open)) {
      out_.replace(source, end - source, "\n");
    } else if (kind == Tag::kCell && line_open && out_.text.back() != ' ') {
      out_.replace(source, end - source, " ");
    }
  }

  static constexpr size_t kNone = std::string::npos;
  std::string_view text_;
  MappedText& out_;
  std::vector<Bracket> brackets_;  // of '<' in the output that may begin a tag
  size_t comment_ = kNone;         // of the first "<!--" in the output
  size_t raw_ = kNone;             // where a script or style began
  bool changed_ = false;
};

}  // namespace

bool strip_html(std::string_view text, MappedText& out) {
  const auto has = [&](char c) { return text.find(c) != std::string_view::npos; };
  if (!(has('<') && has('>')) && !(has('&') && has(';'))) return false;
  if (Stripper(text, out).run()) return true;
  out = {};
  return false;
}

}  // namespace decant
