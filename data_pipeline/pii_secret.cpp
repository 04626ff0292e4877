// Secrets: keys of known services, JSON web tokens, PEM private keys, secrets in URLs, and what a word for
// password introduces.
#include <algorithm>
#include <array>

#include "data_pipeline/pii_finders.h"

namespace decant {

namespace {

constexpr size_t kLongest = 4096;  // of a key

bool key_unit(const PiiText& text, size_t i) { return text.alnum(i) || text[i] == u'_' || text[i] == u'-'; }

struct Service {
  std::string_view prefix;  // case as issued
  size_t least, most;       // characters behind it
  bool dashes;              // '-' and '_' may follow
};

// Documented forms of the services' own keys.
constexpr Service kServices[] = {
    {"sk-ant-", 20, 200, true},   {"sk-proj-", 20, 250, true},    {"sk-or-", 20, 200, true},
    {"sk-", 20, 250, true},       {"AKIA", 16, 16, false},        {"ASIA", 16, 16, false},
    {"AROA", 16, 16, false},      {"AIDA", 16, 16, false},        {"ghp_", 30, 255, false},
    {"gho_", 30, 255, false},     {"ghu_", 30, 255, false},       {"ghs_", 30, 255, false},
    {"ghr_", 30, 255, false},     {"github_pat_", 22, 255, true}, {"glpat-", 20, 64, true},
    {"xoxb-", 10, 250, true},     {"xoxp-", 10, 250, true},       {"xoxa-", 10, 250, true},
    {"xoxr-", 10, 250, true},     {"xoxs-", 10, 250, true},       {"xapp-", 10, 250, true},
    {"AIza", 35, 35, true},       {"sk_live_", 16, 250, false},   {"sk_test_", 16, 250, false},
    {"pk_live_", 16, 250, false}, {"pk_test_", 16, 250, false},   {"rk_live_", 16, 250, false},
    {"whsec_", 24, 250, false},   {"hf_", 30, 60, false},         {"npm_", 36, 36, false},
    {"pypi-", 32, 400, true},     {"LTAI", 12, 26, false},        {"AKID", 32, 32, false},
    {"ya29.", 20, 400, true},     {"shpat_", 32, 32, false},      {"dop_v1_", 64, 64, false},
    {"gsk_", 40, 64, false},      {"r8_", 37, 40, false},         {"SG.", 40, 80, true},
    {"EAAC", 40, 400, false},     {"glsa_", 32, 64, true},        {"lin_api_", 32, 48, false},
    {"key-", 32, 32, false},      {"xai-", 40, 120, false},       {"pat-", 36, 60, true}};

// The original bytes, when the units are one byte each; else nothing.
std::string_view raw(const PiiText& text, size_t begin, size_t end) {
  const size_t from = text.byte(begin), to = text.byte_end(end);
  return to - from == end - begin ? text.bytes().substr(from, to - from) : std::string_view();
}

// The header of a JSON web token is base64url of a JSON object with "alg": decoded and looked for.
bool jwt_header(std::string_view encoded) {
  std::string plain;
  unsigned bits = 0, held = 0;
  for (const char c : encoded.substr(0, 512)) {
    const unsigned v = c >= 'A' && c <= 'Z'   ? static_cast<unsigned>(c - 'A')
                       : c >= 'a' && c <= 'z' ? static_cast<unsigned>(c - 'a') + 26
                       : c >= '0' && c <= '9' ? static_cast<unsigned>(c - '0') + 52
                       : c == '-'             ? 62u
                                              : 63u;
    bits = bits << 6 | v;
    held += 6;
    if (held >= 8) {
      held -= 8;
      plain.push_back(static_cast<char>(bits >> held & 0xffu));
    }
  }
  return plain.starts_with('{') && plain.find("\"alg\"") != std::string::npos;
}

void find_jwt(const PiiText& text, size_t begin, PiiFindings& out) {
  size_t k = begin;
  std::array<size_t, 3> ends{};
  for (size_t part = 0; part < 3; ++part) {
    const size_t from = k;
    while (key_unit(text, k) && k < begin + kLongest) ++k;
    if (k == from) return;
    ends[part] = k;
    if (part < 2 && text[k++] != u'.') return;
  }
  if (text.starts(begin, u"ey") && jwt_header(raw(text, begin, ends[0])))
    out.add(PiiKind::kSecret, begin, k, 0.95f, std::string(raw(text, begin, k)));
}

// secret-<sixteen of a .. p>: a surrogate.
bool surrogate(const PiiText& text, size_t i) {
  if (!text.starts(i, u"secret-")) return false;
  for (size_t k = i + 7; k < i + 23; ++k)
    if (text[k] < u'a' || text[k] > u'p') return false;
  return !text.alnum(i + 23);
}

bool secret_unit(const PiiText& text, size_t i) {
  const char16_t c = text[i];
  return c > u' ' && c < 0x7f && c != u'"' && c != u'\'' && c != u'<' && c != u'>' && c != u'(' &&
         c != u')' && c != u'[' && c != u']' && c != u'{' && c != u'}' && c != u'`' && c != u',' &&
         c != u';' && c != u'|' && c != u'\\';
}

}  // namespace

void find_keys(const PiiText& text, size_t begin, PiiFindings& out) {
  // A part of a longer code: looked at from its begin.
  if ((text[begin - 1] == u'-' || text[begin - 1] == u'_') && text.alnum(begin - 2)) return;
  if (text.starts(begin, u"eyj")) return find_jwt(text, begin, out);
  const std::string_view head = raw(text, begin, std::min(begin + 12, text.size()));
  for (const Service& service : kServices) {
    if (!head.starts_with(service.prefix)) continue;
    const size_t body = begin + service.prefix.size();
    size_t k = body, digits = 0, upper = 0;
    const bool dots = service.prefix == "SG." || service.prefix == "ya29.";
    while (k <= body + service.most && (text.alnum(k) || (service.dashes && key_unit(text, k)) ||
                                        (dots && text[k] == u'.' && text.alnum(k + 1)))) {
      digits += text.digit(k) ? 1 : 0;
      upper += text.upper(k) ? 1 : 0;
      ++k;
    }
    const size_t n = k - body;
    // "sk-learn-contrib-..." is a name: a key has digits.
    if (n < service.least || n > service.most || key_unit(text, k) || digits == 0) continue;
    if (service.prefix[0] < 'a' && !service.dashes && service.prefix != "LTAI" && service.prefix != "EAAC" &&
        digits + upper != n)
      continue;
    out.add(PiiKind::kSecret, begin, k, 0.95f, std::string(raw(text, begin, k)));
    return;
  }
}

void find_private_key(const PiiText& text, size_t dashes, PiiFindings& out) {
  constexpr std::u16string_view head = u"-----begin ", mark = u"private key-----", foot = u"-----end ";
  if (!text.starts(dashes, head)) return;
  size_t k = dashes + head.size();
  while (k < dashes + 40 && !text.starts(k, mark)) ++k;
  if (k == dashes + 40) return;
  k += mark.size();
  const size_t from = k;
  while (k < text.size() && k < from + 16384 && !text.starts(k, u"-----")) ++k;
  if (!text.starts(k, foot)) return;
  const size_t end = k + foot.size();
  k = end;
  while (k < end + 40 && !text.starts(k, mark)) ++k;
  if (k == end + 40) return;
  k += mark.size();
  out.add(PiiKind::kSecret, dashes, k, 0.95f, text.ascii(dashes, k));
}

void find_url_secret(const PiiText& text, size_t equals, PiiFindings& out) {
  static constexpr std::u16string_view names[] = {
      u"token",      u"access_token",   u"api_key",    u"apikey",        u"api-key",     u"key",
      u"secret",     u"auth",           u"password",   u"passwd",        u"pwd",         u"session",
      u"sessionid",  u"session_id",     u"jwt",        u"sig",           u"signature",   u"client_secret",
      u"access_key", u"id_token",       u"auth_token", u"refresh_token", u"accesstoken", u"app_secret",
      u"appsecret",  u"x-amz-signature"};
  size_t begin = equals;
  while (begin > 0 && equals - begin < 20 && key_unit(text, begin - 1)) --begin;
  const char16_t mark = text[begin - 1];
  if (begin == equals || (mark != u'?' && mark != u'&' && mark != u'#')) return;
  const auto name = text.units(begin, equals);
  if (std::none_of(std::begin(names), std::end(names), [&](std::u16string_view n) { return n == name; }))
    return;
  size_t k = equals + 1, digits = 0, upper = 0;
  while (k < equals + kLongest &&
         (key_unit(text, k) || text[k] == u'.' || text[k] == u'%' || text[k] == u'~' || text[k] == u'+' ||
          text[k] == u'/' || text[k] == u'=')) {
    upper += text.upper(k) ? 1 : 0;
    digits += text.digit(k++) ? 1 : 0;
  }
  while (k > equals + 1 && (text[k - 1] == u'.' || text[k - 1] == u'/')) --k;
  const size_t n = k - equals - 1;
  if (n < 6 || (digits == 0 && (upper < 2 || upper == n || n < 10)) || surrogate(text, equals + 1)) return;
  out.add(PiiKind::kSecret, equals + 1, k, 0.8f, std::string(raw(text, equals + 1, k)));
}

void find_labelled_secret(const PiiText& text, const PiiWord& label, PiiFindings& out) {
  size_t k = label.end;
  bool said = false, quoted = false;
  for (int steps = 0; steps < 8; ++steps) {
    if (text[k] == u':' || text[k] == u'=' || text[k] == u'是' || text[k] == u'为' || text[k] == u'為') {
      said = true;
      ++k;
    } else if (text[k] == u'"' || text[k] == u'\'' || text[k] == u'`' || text[k] == u'\u201c' ||
               text[k] == u'\u300c') {
      quoted = true;
      ++k;
    } else if (text.space(k)) {
      ++k;
    } else if (text.starts(k, u"is ") || text.starts(k, u"was ")) {
      said = true;
      k += text[k] == u'i' ? 3 : 4;
    } else if (text.starts(k, u"改成") || text.starts(k, u"设为") || text.starts(k, u"设成") ||
               text.starts(k, u"改为")) {
      said = true;
      k += 2;
    } else {
      break;
    }
  }
  const bool bearer = text.units(label.begin, label.end) == u"bearer";
  if ((!said && !bearer) || surrogate(text, k)) return;
  const size_t begin = k;
  size_t digits = 0, letters = 0, upper = 0, others = 0;
  constexpr size_t kLongestPassword = 128;
  while (k < begin + kLongestPassword && secret_unit(text, k)) {
    if (text.digit(k))
      ++digits;
    else if (text.letter(k))
      (text.upper(k) ? upper : letters) += 1;
    else
      ++others;
    ++k;
  }
  while (k > begin &&
         (text[k - 1] == u'.' || text[k - 1] == u'!' || text[k - 1] == u'?' || text[k - 1] == u':')) {
    --k;
    --others;
  }
  const size_t n = k - begin;
  if (n < 4 || n == kLongestPassword || text[k] == u'(' || text[k] == u'[' || text[k] == u'{')
    return;  // code: f(x), a[i]
  if (text[begin] == u'$' || text[begin] == u'%' || text[begin] == u'*' || text[begin] == u'/') return;
  // A password that is one plain word cannot be told from the sentence that goes on.
  const bool pin = digits == n && n <= 8;
  const bool placeholder =
      digits == 0 && upper == 0 &&
      text.units(begin, k).find_first_not_of(u"abcdefghijklmnopqrstuvwxyz-_.") == std::u16string_view::npos;
  if (placeholder) return;
  if (digits == 0 && !(quoted && others > 0) && !(others > 0 && (letters > 0) && (upper > 0))) return;
  if (text.starts(begin, u"http") && others >= 3) return;
  if (bearer && n < 12) return;
  out.add(PiiKind::kSecret, begin, k, pin ? 0.6f : 0.8f,
          std::string(text.bytes().substr(text.byte(begin), text.byte_end(k) - text.byte(begin))));
}

void find_wechat(const PiiText& text, const PiiWord& label, PiiFindings& out) {
  size_t begin = label.end;
  while (begin < label.end + 12) {
    const char16_t c = text[begin];
    if (c == u' ' || c == u':' || c == u'=' || c == u'号' || c == u'號' || c == u'码' || c == u'是' ||
        c == u'为' || c == u'(' || c == u'"' || c == u'\u300c' || c == u'#' || c == u'@' || c == u'/')
      ++begin;
    else if (text.starts(begin, u"is ") || text.starts(begin, u"id ") || text.starts(begin, u"id:"))
      begin += 2;
    else
      break;
  }
  if (!text.letter(begin)) return;
  size_t k = begin, marks = 0;
  while (k < begin + 22 && key_unit(text, k)) marks += text.letter(k++) ? 0 : 1;
  while (k > begin && text[k - 1] == u'-') --k, --marks;
  const size_t n = k - begin;
  if (n < 6 || n > 20 || key_unit(text, k) || text[k] == u'@' || (text[k] == u'.' && text.alnum(k + 1)))
    return;
  bool colon = false;
  for (size_t i = label.end; i < begin; ++i)
    colon = colon || text[i] == u':' || text[i] == u'号' || text[i] == u'是';
  // Without a digit or '_' it may be a word: only behind 微信号 or a colon, when no English sentence goes on.
  if (marks == 0) {
    const bool goes_on = text.space(k) && text.letter(k + 1);
    if ((!colon && label.topic != PiiTopic::kWechatId) || goes_on ||
        pii_word_at(text, begin).topic != PiiTopic::kNone)
      return;
  }
  out.add(PiiKind::kWechat, begin, k, colon || label.topic == PiiTopic::kWechatId ? 0.85f : 0.7f,
          text.ascii(begin, k));
}

}  // namespace decant
