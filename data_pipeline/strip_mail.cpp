#include "data_pipeline/strip_mail.h"

#include <algorithm>
#include <array>

#include "data_pipeline/ascii.h"
#include "data_pipeline/normalize.h"

namespace decant {

namespace {

using View = std::string_view;

struct Line {
  size_t begin, end;  // with its line end
  View text;          // without white space at its ends
};

View trimmed(View text) {
  const auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\n'; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  return text;
}

std::vector<Line> split_lines(View text) {
  std::vector<Line> lines;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size() - 1) + 1;
    lines.push_back({at, end, trimmed(text.substr(at, end - at))});
    at = end;
  }
  return lines;
}

bool starts_with(View text, View prefix) {  // ASCII case aside; `prefix` in lower case
  return text.size() >= prefix.size() && ascii_lower(text.substr(0, prefix.size())) == prefix;
}
bool ends_with(View text, View suffix) {
  return text.size() >= suffix.size() && ascii_lower(text.substr(text.size() - suffix.size())) == suffix;
}
template <size_t N>
bool starts_with_any(View text, const std::array<View, N>& prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(), [&](View p) { return starts_with(text, p); });
}
template <size_t N>
bool holds_any(View lower_text, const std::array<View, N>& parts) {
  return std::any_of(parts.begin(), parts.end(), [&](View p) { return lower_text.find(p) != View::npos; });
}

// Keeps the lines for which `dropped` is false; false when that is all of them, or none with words.
bool keep_lines(View text, const std::vector<Line>& lines, const std::vector<bool>& dropped,
                MappedText& out) {
  bool any_dropped = false, any_words = false;
  for (size_t i = 0; i < lines.size(); ++i) {
    any_dropped = any_dropped || dropped[i];
    any_words = any_words || (!dropped[i] && !lines[i].text.empty());
  }
  if (!any_dropped || !any_words) return false;
  for (size_t i = 0; i < lines.size(); ++i)
    if (!dropped[i]) out.copy(text, lines[i].begin, lines[i].end - lines[i].begin);
  return true;
}

bool is_quoted(View line) {
  if (line.starts_with("\xef\xbc\x9e")) {  // full-width >
    line.remove_prefix(3);
  } else if (line.starts_with('>')) {
    line.remove_prefix(1);
  } else {
    return false;
  }
  if (line.empty()) return true;
  const auto c = static_cast<unsigned char>(line[0]);
  return c == ' ' || c == '\t' || c == '>' || c >= 0x80 || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

struct Attribution {
  View begin, end;  // in lower case
};
constexpr auto kAttributions = std::to_array<Attribution>({{"on ", "wrote:"},
                                                           {"on ", "wrote\xef\xbc\x9a"},
                                                           {"am ", ":"},
                                                           {"le ", "crit :"},
                                                           {"le ", "crit:"},
                                                           {"el ", "escribi\xc3\xb3:"},
                                                           {"il ", "ha scritto:"},
                                                           {"", "写道："},
                                                           {"", "写道:"},
                                                           {"", "寫道："},
                                                           {"", "寫道:"}});
constexpr auto kAttributionBegins = std::to_array<View>({"on ", "am ", "le ", "el ", "il "});
constexpr size_t kMaxAttribution = 300;

bool is_attribution(View line) {
  if (line.size() > kMaxAttribution || line.find_first_of("0123456789") == View::npos) return false;
  for (const auto& [begin, end] : kAttributions) {
    if (!starts_with(line, begin) || !ends_with(line, end)) continue;
    if (begin == "am " && line.find("schrieb") == View::npos) continue;
    return true;
  }
  return false;
}

// How many lines from `i` on are an attribution, 0 to 3.
size_t attribution_lines(const std::vector<Line>& lines, size_t i) {
  std::string joined;
  for (size_t count = 1; count <= 3 && i + count <= lines.size(); ++count) {
    const View line = lines[i + count - 1].text;
    if (line.empty() || joined.size() + line.size() > kMaxAttribution || is_quoted(line)) break;
    joined += (joined.empty() ? "" : " ") + std::string(line);
    // What has no word to begin with (Chinese) is wrapped only after the date has begun.
    if (count > 1 && !starts_with_any(joined, kAttributionBegins) &&
        lines[i].text.find_first_of("0123456789") == View::npos)
      break;
    if (is_attribution(joined)) return count;
  }
  return 0;
}

bool is_separator(View line) {
  static constexpr auto kTexts = std::to_array<View>(
      {"original message", "original appointment", "forwarded message", "原始邮件", "原邮件", "转发邮件",
       "转发的邮件", "原始郵件", "轉寄郵件", "轉寄的郵件", "ursprüngliche nachricht", "message d'origine",
       "mensaje original", "回复的原邮件"});
  if (starts_with(line, "begin forwarded message:") && line.size() == 24) return true;
  return line.size() <= 120 && line.starts_with("--") && line.ends_with("--") &&
         holds_any(ascii_lower(line), kTexts);
}

// "From:" at the head of a block of headers, with or without bold marks.
View without_bold(View line) {
  while (line.starts_with('*')) line.remove_prefix(1);
  return line;
}
bool is_first_header(View line) {
  static constexpr auto kKeys =
      std::to_array<View>({"from:", "from：", "发件人:", "发件人：", "寄件者:", "寄件者：",
                           "寄件人:", "寄件人：", "von:", "de :", "de:", "da:"});
  return starts_with_any(without_bold(line), kKeys);
}
bool is_other_header(View line) {
  static constexpr auto kKeys = std::to_array<View>(
      {"sent:",  "date:",   "to:",       "subject:",  "cc:",        "发送时间", "发送日期",
       "日期:",  "日期：",  "时间:",     "时间：",    "收件人:",    "收件人：", "主题:",
       "主题：", "抄送:",   "抄送：",    "寄件日期:", "寄件日期：", "收件者:",  "收件者：",
       "主旨:",  "主旨：",  "gesendet:", "an:",       "betreff:",   "envoyé",   "à :",
       "objet",  "enviado", "para:",     "asunto:",   "oggetto:"});
  return starts_with_any(without_bold(line), kKeys);
}
bool begins_headers(const std::vector<Line>& lines, size_t i) {
  if (!is_first_header(lines[i].text)) return false;
  for (size_t k = i + 1; k < lines.size() && k <= i + 5; ++k)
    if (is_other_header(lines[k].text)) return true;
  return false;
}

bool is_rule(View line) {  // ________ above a block of headers
  return line.size() >= 5 &&
         (line.find_first_not_of('_') == View::npos || line.find_first_not_of('-') == View::npos);
}

bool is_program_line(View line) {
  static constexpr auto kPrefixes = std::to_array<View>({"sent from my ",
                                                         "sent from mail for ",
                                                         "sent from yahoo mail",
                                                         "sent from outlook",
                                                         "sent from the ",
                                                         "sent via blackberry",
                                                         "get outlook for ",
                                                         "发自我的",
                                                         "發自我的",
                                                         "发送自我的",
                                                         "发自手机",
                                                         "发自网易",
                                                         "发自新浪",
                                                         "发自 iphone",
                                                         "发送自 windows",
                                                         "发送自 outlook",
                                                         "来自qq邮箱",
                                                         "来自我的",
                                                         "來自我的",
                                                         "从我的",
                                                         "從我的",
                                                         "使用我的",
                                                         "von meinem ",
                                                         "envoyé de mon ",
                                                         "enviado desde mi ",
                                                         "inviato da "});
  static constexpr auto kTails = std::to_array<View>({"发送", "發送", "傳送", "寄出", "gesendet"});
  if (line.ends_with('.')) line.remove_suffix(1);
  if (line.size() > 60 || line.find_first_of(",!?") != View::npos || line.find("，") != View::npos ||
      line.find("。") != View::npos)
    return false;
  if (!starts_with_any(line, kPrefixes)) return false;
  for (const View begin : {View("从我的"), View("從我的"), View("使用我的"), View("von meinem ")})
    if (starts_with(line, begin))
      return std::any_of(kTails.begin(), kTails.end(), [&](View t) { return ends_with(line, t); });
  return true;
}

bool is_disclaimer(View paragraph) {
  static constexpr auto kFirst = std::to_array<View>({"this email",
                                                      "this e-mail",
                                                      "this message",
                                                      "this communication",
                                                      "this transmission",
                                                      "the information contained",
                                                      "the information in this",
                                                      "the contents of this",
                                                      "confidential",
                                                      "disclaimer",
                                                      "important notice",
                                                      "notice:",
                                                      "本邮件",
                                                      "此邮件",
                                                      "本电子邮件",
                                                      "此电子邮件",
                                                      "保密声明",
                                                      "保密提示",
                                                      "免责声明",
                                                      "本郵件",
                                                      "此郵件",
                                                      "本電子郵件",
                                                      "【保密"});
  static constexpr auto kCues = std::to_array<View>({"intended recipient", "intended only", "intended solely",
                                                     "addressee", "received this", "privileged", "误收",
                                                     "誤收", "收件人", "收件者", "保密", "机密", "機密"});
  return paragraph.size() >= 60 && starts_with_any(paragraph, kFirst) &&
         holds_any(ascii_lower(paragraph), kCues);
}

constexpr size_t kMaxSignatureLines = 8, kMaxSignatureLine = 100;

void mark_signature(const std::vector<Line>& lines, std::vector<bool>& dropped) {
  size_t count = 0;
  for (size_t i = lines.size(); i-- > 0;) {
    const View line = lines[i].text;
    if (line == "--") {
      for (size_t k = i; k < lines.size(); ++k) dropped[k] = true;
      return;
    }
    if (line.size() > kMaxSignatureLine || (count += line.empty() ? 0 : 1) > kMaxSignatureLines) return;
  }
}

void mark_disclaimers(View text, const std::vector<Line>& lines, std::vector<bool>& dropped) {
  for (size_t i = 0; i < lines.size();) {
    size_t end = i;
    while (end < lines.size() && !lines[end].text.empty()) ++end;
    if (end > i && is_disclaimer(trimmed(text.substr(lines[i].begin, lines[end - 1].end - lines[i].begin))))
      for (size_t k = i; k < end; ++k) dropped[k] = true;
    i = end + 1;
  }
}

}  // namespace

bool strip_quoted_mail(View text, MappedText& out) {
  const auto lines = split_lines(text);
  std::vector<bool> dropped(lines.size(), false);
  const auto drop_from = [&](size_t i) {
    size_t first = i;
    while (first > 0 && (lines[first - 1].text.empty() || is_rule(lines[first - 1].text))) --first;
    for (size_t k = first; k < lines.size(); ++k) dropped[k] = true;
  };
  for (size_t i = 0; i < lines.size(); ++i) {
    const View line = lines[i].text;
    if (line.empty()) continue;
    if (is_quoted(line)) {
      dropped[i] = true;
      continue;
    }
    if (is_separator(line) || begins_headers(lines, i)) {
      drop_from(i);
      break;
    }
    const size_t attribution = attribution_lines(lines, i);
    if (attribution == 0) continue;
    size_t next = i + attribution;
    while (next < lines.size() && lines[next].text.empty()) ++next;
    if (next < lines.size() && !is_quoted(lines[next].text)) {
      drop_from(i);
      break;
    }
    for (size_t k = i; k < i + attribution; ++k) dropped[k] = true;
    i += attribution - 1;
  }
  return keep_lines(text, lines, dropped, out);
}

std::string boilerplate_key(View line) { return ascii_lower(matching_text(line)); }

bool strip_signatures(View text, MappedText& out) {
  const auto lines = split_lines(text);
  std::vector<bool> dropped(lines.size(), false);
  mark_signature(lines, dropped);
  mark_disclaimers(text, lines, dropped);
  for (size_t i = 0; i < lines.size(); ++i)
    if (is_program_line(lines[i].text)) dropped[i] = true;
  return keep_lines(text, lines, dropped, out);
}

bool strip_boilerplate(View text, const std::vector<std::string>& keys, MappedText& out) {
  const auto lines = split_lines(text);
  std::vector<bool> dropped(lines.size(), false);
  for (size_t i = 0; i < lines.size(); ++i)
    dropped[i] = !lines[i].text.empty() &&
                 std::find(keys.begin(), keys.end(), boilerplate_key(lines[i].text)) != keys.end();
  return keep_lines(text, lines, dropped, out);
}

}  // namespace decant
