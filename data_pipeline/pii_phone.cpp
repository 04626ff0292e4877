// Telephone numbers: Chinese mobile numbers and landlines, and those of other countries.
#include <algorithm>
#include <array>

#include "data_pipeline/pii_finders.h"

namespace decant {

namespace {

constexpr auto kNames = {PiiTopic::kPhone,    PiiTopic::kHotline, PiiTopic::kWechat,
                         PiiTopic::kWechatId, PiiTopic::kQq,      PiiTopic::kName,
                         PiiTopic::kSelf,     PiiTopic::kRole,    PiiTopic::kTitle};

bool named(const PiiContext& c) {
  return c.is(PiiTopic::kPhone) || c.is(PiiTopic::kHotline) || c.is(PiiTopic::kWechat);
}

// Dialling codes of mainland China, without the zero: two digits of the eight-digit cities, and the decades
// in which three-digit codes lie.
bool two_digit_area(char a, char b) { return (a == '1' && b == '0') || (a == '2' && b != '6'); }
bool three_digit_area(char a, char b) {
  constexpr std::array<std::string_view, 10> second = {"",          "",    "",          "134579",  "1235678",
                                                       "123456789", "369", "012345679", "1235789", "0134579"};
  return a >= '3' && a <= '9' && second[static_cast<size_t>(a - '0')].find(b) != std::string_view::npos;
}

// "-801", " 转 801", "ext. 801", "x801" at `end`; its end, or `end`.
size_t with_extension(const PiiText& text, size_t end) {
  size_t k = end;
  while (text.space(k) && k < end + 2) ++k;
  bool word = false;
  for (const std::u16string_view mark : {u"转分机", u"轉分機", u"分机号", u"分机", u"分機", u"转接", u"转",
                                         u"轉", u"extension", u"ext.", u"ext", u"x", u"#"})
    if (text.starts(k, mark)) {
      k += mark.size();
      word = true;
      break;
    }
  if (!word && !(k == end && text[k] == u'-')) return end;
  if (!word) ++k;
  while (word && (text.space(k) || text[k] == u':') && k < end + 12) ++k;
  size_t digits = k;
  while (text.digit(digits) && digits < k + 7) ++digits;
  const size_t n = digits - k;
  return n >= (word ? 1u : 2u) && n <= 6 && !text.alnum(digits) && text[digits] != u'-' ? digits : end;
}

// Where +86, 86 or 0086 and at most one separator before `i` begin; `i` when they do not stand there.
size_t china_prefix(const PiiText& text, size_t i) {
  size_t k = i;
  if (k > 0 && (text.space(k - 1) || text[k - 1] == u'-' || text[k - 1] == u')')) --k;
  if (!text.ends(k, u"86")) return i;
  k -= 2;
  if (text[k - 1] == u'+') return k - 1;
  if (text.ends(k, u"00") && !text.alnum(k - 3)) return k - 2;
  if (text[k - 1] == u'(' && text[k - 2] == u'+') return k - 2;
  return text.alnum(k - 1) || text[k - 1] == u'.' || text[k - 1] == u'-' ? i : k;
}

// The eleven digits from `i`; the end, 0 when they are no mobile number.
size_t mobile_digits(const PiiText& text, size_t i, std::string& value) {
  value.clear();
  if (text[i] != u'1' || text[i + 1] < u'3' || text[i + 1] > u'9') return 0;
  size_t k = i;
  for (int n = 0; n < 11; ++n) {
    if ((n == 3 || n == 7) && (text.space(k) || text[k] == u'-' || text[k] == u'.')) ++k;
    if (!text.digit(k)) return 0;
    value.push_back(static_cast<char>(text[k++]));
  }
  return k;
}

void find_mobile(const PiiText& text, size_t i, PiiFindings& out) {
  std::string value;
  for (const std::u16string_view prefix : {u"", u"86", u"0086"}) {
    if (!text.starts(i, prefix)) continue;
    if (prefix.empty() && text[i - 1] == u'+') continue;  // +1 684 ... is American Samoa's
    const size_t begin = i + prefix.size();
    const size_t end = mobile_digits(text, begin, value);
    if (end == 0) continue;
    const bool called = !prefix.empty() || china_prefix(text, i) != i;
    if (pii_joined_right(text, end) || (!called && pii_joined_left(text, i))) continue;
    const PiiContext c = pii_context(text, begin, end);
    float base = called ? 0.85f : 0.65f;
    if (text.letter(end) || (text.letter(i - 1) && c.label == PiiTopic::kNone)) base -= 0.2f;
    out.add(PiiKind::kMobile, begin, end, pii_score(c, base, kNames), value);
    return;
  }
}

// Digits `least` .. `most` with at most one separator; the end, 0 when there are fewer or more.
size_t local_digits(const PiiText& text, size_t i, size_t count, std::string& value) {
  const size_t before = value.size();
  size_t k = i;
  while (value.size() - before < count) {
    const size_t n = value.size() - before;
    if (n > 0 && n == count - 4 && (text.space(k) || text[k] == u'-')) ++k;
    if (!text.digit(k)) return 0;
    value.push_back(static_cast<char>(text[k++]));
  }
  return text.digit(k) ? 0 : k;
}

void find_landline(const PiiText& text, size_t i, PiiFindings& out) {
  const size_t prefixed = china_prefix(text, i);
  const bool abroad = prefixed != i, zero = text[i] == u'0';
  if (zero || abroad) {
    const size_t first = zero ? i + 1 : i;
    for (const size_t area : {size_t{2}, size_t{3}}) {
      const char a = static_cast<char>(text[first]), b = static_cast<char>(text[first + 1]);
      if (!text.digit(first) || !text.digit(first + 1) || (area == 3 && !text.digit(first + 2))) continue;
      if (area == 2 ? !two_digit_area(a, b) : !three_digit_area(a, b)) continue;
      size_t k = first + area;
      const bool bracket = text[i - 1] == u'(' && text[k] == u')';
      if (bracket) ++k;
      size_t parts = 0;
      while (parts < 3 && (text.space(k) || text[k] == u'-')) ++k, ++parts;
      for (const size_t count : {size_t{8}, size_t{7}}) {
        if (area == 2 && count == 7) continue;
        std::string value = text.ascii(first, first + area);
        size_t end = local_digits(text, k, count, value);
        if (end == 0 || value[area] == '0') continue;
        const size_t begin = bracket ? i - 1 : i;
        if (pii_joined_right(text, end) && with_extension(text, end) == end) continue;
        if (!abroad && pii_joined_left(text, begin)) continue;
        if (text.letter(end) && with_extension(text, end) == end) continue;
        const PiiContext c = pii_context(text, begin, end);
        float base = abroad || bracket || parts > 0 ? 0.55f : 0.3f;
        if (base < 0.5f && c.whole) base += 0.2f;
        if (text.letter(begin - 1) && c.label == PiiTopic::kNone) base -= 0.3f;
        end = with_extension(text, end);
        out.add(PiiKind::kLandline, begin, end, pii_score(c, base, kNames), "0" + value);
        return;
      }
    }
    return;
  }
  if (pii_joined_left(text, i)) return;
  if (text.starts(i, u"400") || text.starts(i, u"800")) {
    const PiiDigits run = pii_digits(text, i, " -", 10);
    const auto& g = run.groups;
    const bool shape = g.size() == 1 || (g.size() == 2 && (g[0] == 3 || g[0] == 4 || g[0] == 6)) ||
                       (g.size() == 3 && (g[0] == 3 || g[0] == 4) && g[1] <= 4);
    if (run.digits.size() == 10 && shape && !text.alnum(run.end) && !pii_joined_right(text, run.end)) {
      const PiiContext c = pii_context(text, i, run.end);
      const bool spaced = run.parts.find(' ') != std::string::npos;
      float base = g.size() == 1 ? 0.4f : spaced ? 0.45f : 0.6f;
      if (c.whole) base += 0.15f;
      out.add(PiiKind::kLandline, i, with_extension(text, run.end), pii_score(c, base, kNames), run.digits);
    }
    return;
  }
  // Without an area code: only when a Chinese word says telephone.
  if (text[i] >= u'2' && text[i] <= u'8') {
    std::string value;
    size_t end = local_digits(text, i, 8, value);
    if (end == 0) {
      value.clear();
      end = local_digits(text, i, 7, value);
    }
    if (end == 0 || text.letter(end) || pii_joined_right(text, end)) return;
    const PiiContext c = pii_context(text, i, end);
    if (c.label == PiiTopic::kPhone && !c.ascii_label)
      out.add(PiiKind::kLandline, i, with_extension(text, end), pii_score(c, 0.35f, kNames), value);
  }
}

struct Country {
  int code, least, most;  // digits behind the code
};

// ITU E.164 country codes with the lengths of national numbers (ITU-T E.164 annex, national plans); others of
// these zones have 7 to 10.
constexpr Country kCountries[] = {
    {1, 10, 10},  {7, 10, 10}, {20, 8, 10},  {27, 9, 9},   {30, 10, 10}, {31, 9, 9},  {32, 8, 9},
    {33, 9, 9},   {34, 9, 9},  {36, 8, 9},   {39, 6, 11},  {40, 9, 9},   {41, 9, 9},  {43, 7, 13},
    {44, 9, 10},  {45, 8, 8},  {46, 7, 10},  {47, 8, 8},   {48, 9, 9},   {49, 6, 13}, {51, 8, 9},
    {52, 10, 11}, {53, 6, 8},  {54, 10, 11}, {55, 10, 11}, {56, 9, 9},   {57, 8, 10}, {58, 10, 10},
    {60, 8, 10},  {61, 9, 9},  {62, 8, 12},  {63, 8, 10},  {64, 8, 10},  {65, 8, 8},  {66, 8, 9},
    {81, 9, 10},  {82, 8, 10}, {84, 9, 10},  {90, 10, 10}, {91, 10, 10}, {92, 9, 10}, {93, 9, 9},
    {94, 9, 9},   {95, 7, 10}, {98, 10, 10}, {351, 9, 9},  {352, 6, 9},  {353, 7, 9}, {354, 7, 7},
    {358, 6, 11}, {852, 8, 8}, {853, 8, 8},  {886, 8, 9},  {961, 7, 8},  {965, 8, 8}, {966, 8, 9},
    {971, 8, 9},  {972, 8, 9}, {974, 8, 8},  {976, 8, 8},  {977, 8, 10}, {992, 9, 9}, {994, 9, 9},
    {995, 9, 9},  {996, 9, 9}, {998, 9, 9},
};

// Three-digit codes that are assigned, by their first two digits.
bool three_digit_country(int code) {
  constexpr std::pair<int, int> ranges[] = {
      {211, 213}, {216, 216}, {218, 218}, {220, 258}, {260, 269}, {290, 291}, {297, 299},
      {350, 359}, {370, 383}, {385, 387}, {389, 389}, {420, 421}, {423, 423}, {500, 509},
      {590, 599}, {670, 670}, {672, 683}, {685, 692}, {850, 850}, {852, 853}, {855, 856},
      {880, 880}, {886, 886}, {960, 968}, {970, 977}, {992, 996}, {998, 998}};
  return std::any_of(std::begin(ranges), std::end(ranges),
                     [&](const auto& r) { return code >= r.first && code <= r.second; });
}

// North American numbers: area [2-9]xx and not x11; exchanges that begin with 1 are let through.
bool american(std::string_view ten) {
  return ten[0] >= '2' && !(ten[1] == '1' && ten[2] == '1') && ten[3] != '0';
}

// Whether `digits`, country code first, can be a number; China's own are mobile or landline.
bool international(std::string_view d) {
  if (d.size() < 8 || d.size() > 15 || d[0] == '0' || d.starts_with("86")) return false;
  const int one = d[0] - '0', two = one * 10 + (d[1] - '0'), three = two * 10 + (d[2] - '0');
  for (const Country& c : kCountries) {
    const int prefix = c.code < 10 ? one : c.code < 100 ? two : three;
    if (prefix != c.code) continue;
    const int rest = static_cast<int>(d.size()) - (c.code < 10 ? 1 : c.code < 100 ? 2 : 3);
    return rest >= c.least && rest <= c.most && (c.code != 1 || american(d.substr(1)));
  }
  return three_digit_country(three) && d.size() <= 13;
}

// The longest run of digit groups from `i` (single or double separators, brackets, "(0)") for which `good`
// holds.
template <class Good>
size_t longest_groups(const PiiText& text, size_t i, std::string& value, Good good) {
  std::string digits;
  size_t best = 0, k = i;
  for (int group = 0; group < 8; ++group) {
    const size_t begin = k;
    while (text.digit(k) && digits.size() < 17) digits.push_back(static_cast<char>(text[k++]));
    if (k == begin || digits.size() > 15) break;
    if (!text.digit(k) && good(digits)) {
      best = k;
      value = digits;
    }
    if (text.starts(k, u"(0)") || text.starts(k, u" (0)")) k += text.space(k) ? 4 : 3;
    size_t separators = 0;
    while (separators < 3 && (text.space(k) || text[k] == u'-' || text[k] == u'.' || text[k] == u'(' ||
                              text[k] == u')' || text[k] == u'/'))
      ++k, ++separators;
    if (separators == 0 && group > 0) break;
  }
  return best;
}

void find_phone(const PiiText& text, size_t i, PiiFindings& out) {
  std::string value;
  const bool plus = text[i - 1] == u'+';
  if (plus) {
    if (text.alnum(i - 2)) return;
    const size_t end = longest_groups(text, i, value, international);
    if (end == 0 || text.letter(end) || pii_joined_right(text, end)) return;
    const PiiContext c = pii_context(text, i - 1, end);
    const bool parted = end - i != value.size();
    out.add(PiiKind::kPhone, i - 1, with_extension(text, end), pii_score(c, parted ? 0.8f : 0.7f, kNames),
            value);
    return;
  }
  if (pii_joined_left(text, i) || (text.letter(i - 1) && text[i - 1] != u'l')) return;
  if (text.starts(i, u"00") && text[i + 2] != u'0') {
    const size_t end = longest_groups(text, i + 2, value, international);
    if (end != 0 && !text.letter(end) && !pii_joined_right(text, end)) {
      const PiiContext c = pii_context(text, i, end);
      const bool parted = end - i - 2 != value.size();
      out.add(PiiKind::kPhone, i, end, pii_score(c, parted ? 0.4f : 0.3f, kNames), value);
    }
    return;
  }
  // (212) 555-0123, 212-555-0123, 212.555.0123, 2125550123, 1-212-555-0123
  size_t first = i;
  if (text[i] == u'1' && (text.space(i + 1) || text[i + 1] == u'-' || text[i + 1] == u'.')) {
    first = i + 2;
    if (text[first] == u'(') ++first;
  }
  const bool bracket = text[first - 1] == u'(';
  if (text.digit(first)) {
    std::string d;
    size_t k = first;
    char16_t parts[2] = {0, 0};
    for (int part = 0; part < 3; ++part) {
      for (int n = 0; n < (part == 2 ? 4 : 3) && text.digit(k); ++n)
        d.push_back(static_cast<char>(text[k++]));
      if (part == 2) break;
      if (part == 0 && bracket && text[k] == u')') ++k;
      if (text.space(k) || text[k] == u'-' || text[k] == u'.') parts[part] = text[k++];
    }
    const bool parted = parts[1] != 0 && (parts[0] != 0 || bracket);
    const bool plain = k - first == 10;
    if (d.size() == 10 && !text.alnum(k) && american(d) && (parted || plain) && !pii_joined_right(text, k)) {
      const size_t begin = bracket ? first - 1 : first;
      const bool spaces = parts[0] == u' ' && parts[1] == u' ' && !bracket;
      const PiiContext c = pii_context(text, begin, k);
      float base = plain ? 0.3f : spaces ? 0.45f : 0.62f;
      if (c.whole) base += plain || spaces ? 0.25f : 0;
      if (plain && !named(c) && !c.near(PiiTopic::kPhone, 16)) base -= c.whole ? 0 : 0.1f;
      out.add(PiiKind::kPhone, begin, with_extension(text, k), pii_score(c, base, kNames), "1" + d);
      return;
    }
  }
  // A national form after an English word for telephone.
  if (text[i] == u'1') return;
  const auto plausible = [](std::string_view d) {
    return d.size() >= 8 && d.size() <= 12 && d.substr(0, 3) != "000";
  };
  const size_t end = longest_groups(text, i, value, plausible);
  if (end == 0 || text.alnum(end) || pii_joined_right(text, end)) return;
  const PiiContext c = pii_context(text, i, end);
  if (c.label == PiiTopic::kPhone && c.ascii_label && (value[0] == '0' || end - i != value.size()))
    out.add(PiiKind::kPhone, i, end, pii_score(c, 0.3f, kNames), value);
}

}  // namespace

void find_phones(const PiiText& text, size_t i, PiiFindings& out) {
  find_mobile(text, i, out);
  find_landline(text, i, out);
  find_phone(text, i, out);
}

}  // namespace decant
