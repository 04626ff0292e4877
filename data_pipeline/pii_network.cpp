// E-mail addresses, IP addresses and MAC addresses.
#include <array>

#include "data_pipeline/pii_finders.h"

namespace decant {

namespace {

bool local_unit(const PiiText& text, size_t i) {
  const char16_t c = text[i];
  return text.alnum(i) || c == u'.' || c == u'_' || c == u'%' || c == u'+' || c == u'-' || c == u'\'' ||
         c == u'&' || c == u'#';
}

// Letters of any script in a domain label (IDN).
bool domain_unit(const PiiText& text, size_t i) {
  const char16_t c = text[i];
  return text.alnum(i) || c == u'-' || (c >= 0xc0 && c <= 0x24f && c != 0xd7 && c != 0xf7) ||
         (c >= 0x370 && c <= 0x5ff);
}

constexpr size_t kLongestLocal = 64, kLongestDomain = 253;

// user-<ten of a .. p>@example.invalid
bool surrogate_email(const PiiText& text, size_t at) {
  if (!text.starts(at, u"@example.invalid") || at < 15 || !text.ends(at - 10, u"user-")) return false;
  for (size_t i = at - 10; i < at; ++i)
    if (text[i] < u'a' || text[i] > u'p') return false;
  return true;
}

// The end of the domain behind '@', 0 when there is none: labels, the last of at least two letters.
size_t domain_end(const PiiText& text, size_t at) {
  size_t best = 0, label = at + 1;
  bool dotted = false;
  while (label < at + kLongestDomain) {
    size_t k = label, letters = 0;
    bool foreign = false;
    while (domain_unit(text, k) && k < label + 64) {
      foreign = foreign || text[k] > 0x7f;
      ++k;
    }
    if (k == label || text[label] == u'-') break;
    while (text.letter(label + letters) ||
           (foreign && domain_unit(text, label + letters) && label + letters < k))
      ++letters;
    const bool puny = text.starts(label, u"xn--");
    if (dotted && puny) best = k;
    if (dotted && !puny && letters >= 2) best = label + letters;
    if (text[k] != u'.') break;
    dotted = true;
    label = k + 1;
  }
  // example.中国, 例子.公司
  if (dotted && text.han(label) && text[label - 1] == u'.')
    for (const std::u16string_view top : {u"中国", u"中國", u"公司", u"网络", u"香港", u"台湾"})
      if (text.starts(label, top)) best = label + top.size();
  return best;
}

struct Octets {
  std::array<int, 4> value{};
  size_t end = 0;  // 0: not an address
};

Octets octets(const PiiText& text, size_t i) {
  Octets o;
  size_t k = i;
  for (size_t n = 0; n < 4; ++n) {
    const size_t begin = k;
    int v = 0;
    while (text.digit(k) && k < begin + 3) v = v * 10 + (text[k++] - u'0');
    if (k == begin || v > 255 || text.digit(k) || (k - begin > 1 && text[begin] == u'0')) return {};
    o.value[n] = v;
    if (n < 3 && text[k++] != u'.') return {};
  }
  o.end = k;
  return o;
}

// Private, documentation, shared, multicast, loopback, ... (IANA special-purpose registry).
bool special(const std::array<int, 4>& v) {
  const int a = v[0], b = v[1], c = v[2];
  return a == 0 || a == 10 || a == 127 || a >= 224 || (a == 172 && b >= 16 && b < 32) ||
         (a == 192 && b == 168) || (a == 169 && b == 254) || (a == 100 && b >= 64 && b < 128) ||
         (a == 192 && b == 0 && (c == 0 || c == 2)) || (a == 198 && (b == 18 || b == 19)) ||
         (a == 198 && b == 51 && c == 100) || (a == 203 && b == 0 && c == 113);
}

bool netmask(const std::array<int, 4>& v) {
  if (v[0] != 255) return false;
  unsigned bits = 0;
  for (const int octet : v) bits = bits << 8 | static_cast<unsigned>(octet);
  return bits != 0xffffffffu && (~bits & (~bits + 1u)) == 0;
}

bool hex(const PiiText& text, size_t i) { return text.digit(i) || (text[i] >= u'a' && text[i] <= u'f'); }

}  // namespace

void find_email(const PiiText& text, size_t at, PiiFindings& out) {
  if (surrogate_email(text, at)) return;
  const size_t end = domain_end(text, at);
  if (end == 0) return;
  size_t begin = at;
  while (begin > 0 && at - begin < kLongestLocal && local_unit(text, begin - 1)) --begin;
  if (begin > 0 && at - begin == kLongestLocal && local_unit(text, begin - 1)) return;
  for (size_t k = begin; k + 2 < at; ++k)  // three dots are an ellipsis, two are a mistake
    if (text.starts(k, u"...")) begin = k + 3;
  while (begin < at &&
         (text[begin] == u'-' || text[begin] == u'\'' || text[begin] == u'#' || text[begin] == u'&'))
    ++begin;
  if (text.starts(begin, u"..")) begin += 2;
  if (begin < at) {
    if (text[begin] == u'.' || text[at - 1] == u'.') return;
    for (size_t k = begin; k + 1 < at; ++k)
      if (text.starts(k, u"..")) return;
  } else {  // 张三@example.com
    while (begin > 0 && at - begin < 4 && text.han(begin - 1)) {
      const PiiWord word = pii_word_before(text, begin);
      if (word.topic != PiiTopic::kNone) break;
      --begin;
    }
    if (begin == at) return;
  }
  if (text.units(begin, at) == u"git") return;  // git@github.com:
  out.add(PiiKind::kEmail, begin, end, 0.95f, text.ascii(begin, end));
}

void find_ip4(const PiiText& text, size_t i, PiiFindings& out) {
  if (text[i + 1] != u'.' && text[i + 2] != u'.' && text[i + 3] != u'.') return;
  const Octets o = octets(text, i);
  if (o.end == 0) return;
  const auto& v = o.value;
  if ((text[i - 1] == u'.' && text.digit(i - 2)) || text.alnum(i - 1) || text[i - 1] == u'_') return;
  if ((text[o.end] == u'.' && text.alnum(o.end + 1)) || text.alnum(o.end) || text[o.end] == u'_' ||
      (text[o.end] == u'-' && text.letter(o.end + 1)) || (text[i - 1] == u'-' && text.alnum(i - 2)))
    return;
  const bool broadcast = v[0] == 255 && v[1] == 255 && v[2] == 255 && v[3] == 255;
  if (netmask(v) || v[0] == 127 || (v[0] >= 240 && !broadcast) || (v[0] == 0)) return;
  const PiiContext c = pii_context(text, i, o.end);
  const bool called = c.near(PiiTopic::kIp, 16) || c.near(PiiTopic::kAddress, 16);
  if (c.near(PiiTopic::kVersion, 12) && c.label != PiiTopic::kIp) return;
  if (c.after == PiiTopic::kVersion) return;
  float base = 0.65f;
  if (special(v)) base = c.is(PiiTopic::kIp) || c.is(PiiTopic::kAddress) ? 0.3f : 0;
  // 1.2.3.4 and 2.0.1.8 are more often sections and versions.
  else if (v[0] < 20 && v[1] < 20 && v[2] < 20 && v[3] < 20 &&
           !(v[0] == v[1] && v[1] == v[2] && v[2] == v[3]))
    base = 0.35f;
  if (called) base += 0.3f;
  if (c.label == PiiTopic::kOrder || c.label == PiiTopic::kMoney) base -= 0.4f;
  out.add(PiiKind::kIp, i, o.end, base, text.ascii(i, o.end));
}

void find_ip6(const PiiText& text, size_t colon, PiiFindings& out) {
  // The whole token, once: only its first colon is looked at.
  size_t begin = colon;
  while (begin > 0 && colon - begin < 5 && hex(text, begin - 1)) --begin;
  if (colon - begin > 4 || text.alnum(begin - 1) ||
      (text[begin - 1] == u':' && (text.alnum(begin - 2) || text[begin - 2] == u':')) ||
      text[begin - 1] == u'.' || text[begin - 1] == u'-' || text[begin - 1] == u'_')
    return;
  size_t k = begin, groups = 0, gap = 0, longest = 0;
  bool digits = false, mixed = false;
  while (k < begin + 48) {
    if (text.starts(k, u"::")) {
      if (gap != 0) return;
      gap = 1;
      k += 2;
      if (!hex(text, k)) break;
    } else if (groups > 0) {
      if (text[k] != u':' || !hex(text, k + 1)) break;
      ++k;
    }
    const size_t group = k;
    while (hex(text, k) && k < group + 5) {
      digits = digits || text.digit(k);
      ++k;
    }
    if (k == group || k - group > 4) return;
    if (text[k] == u'.') {  // ::ffff:192.0.2.1
      const Octets o = octets(text, group);
      if (o.end == 0) return;
      groups += 2;
      k = o.end;
      mixed = true;
      break;
    }
    longest = std::max(longest, k - group);
    ++groups;
  }
  if (gap == 0 ? groups != 8 : groups > 7) return;
  if (text.alnum(k) || text[k] == u':' || (text[k] == u'.' && text.alnum(k + 1)) || groups == 0) return;
  const std::string value = text.ascii(begin, k);
  if (value.starts_with("3fff:")) return;  // documentation (RFC 9637): a surrogate
  const PiiContext c = pii_context(text, begin, k);
  const bool called = c.near(PiiTopic::kIp, 16) || c.near(PiiTopic::kAddress, 16);
  const bool reserved = value.starts_with("::") || value.starts_with("fe8") || value.starts_with("fc") ||
                        value.starts_with("fd") || value.starts_with("ff") || value.starts_with("2001:db8") ||
                        value.starts_with("2001:0db8");
  const bool thin = groups + gap < 4 && longest < 3;  // a::b, 1::2
  if (!digits || (thin && !called)) return;
  out.add(PiiKind::kIp, begin, k, (reserved && !mixed ? 0.3f : 0.7f) + (called ? 0.3f : 0), value);
}

void find_mac(const PiiText& text, size_t separator, PiiFindings& out) {
  const char16_t mark = text[separator];
  if (separator < 2 || !hex(text, separator - 1) || !hex(text, separator - 2) || text.alnum(separator - 3) ||
      (text[separator - 3] == mark && hex(text, separator - 4)))
    return;
  const size_t begin = separator - 2;
  std::string value;
  size_t k = begin;
  bool letters = false;
  for (int pair = 0; pair < 6; ++pair) {
    if (pair > 0 && text[k++] != mark) return;
    if (!hex(text, k) || !hex(text, k + 1)) return;
    letters = letters || text.letter(k) || text.letter(k + 1);
    value += text.ascii(k, k + 2);
    k += 2;
  }
  if (text.alnum(k) || (text[k] == mark && text.alnum(k + 1))) return;
  // Broadcast, all zero, IPv4 and IPv6 multicast belong to no device; ff:00 is a surrogate.
  if (value.starts_with("ff00") || value == "ffffffffffff" || value == "000000000000" ||
      value.starts_with("01005e") || value.starts_with("3333"))
    return;
  const PiiContext c = pii_context(text, begin, k);
  const float base = !letters ? 0.3f : mark == u':' ? 0.8f : 0.7f;
  out.add(PiiKind::kMac, begin, k, pii_score(c, base, {PiiTopic::kMac}), value);
}

}  // namespace decant
