// Numbers that are people's by check digit or by the word before them: identity card, bank card, QQ, IMEI,
// military and social-security numbers.
#include <array>
#include <cstdlib>

#include "data_pipeline/pii_finders.h"

namespace decant {

namespace {

int number(std::string_view digits) {
  int n = 0;
  for (const char c : digits) n = n * 10 + (c - '0');
  return n;
}

bool negative(PiiTopic topic) {
  return topic == PiiTopic::kOrder || topic == PiiTopic::kMoney || topic == PiiTopic::kVersion;
}

// Prefixes of card schemes (ISO/IEC 7812 ranges as the schemes publish them), with the lengths they issue.
bool card_scheme(std::string_view d) {
  const size_t n = d.size();
  const int two = number(d.substr(0, 2)), three = number(d.substr(0, 3)), four = number(d.substr(0, 4)),
            six = number(d.substr(0, 6));
  if (d[0] == '4') return n == 16 || n == 19 || n == 13;                           // Visa
  if ((two >= 51 && two <= 55) || (four >= 2221 && four <= 2720)) return n == 16;  // Mastercard
  if (two == 34 || two == 37 || four == 1800 || four == 2131) return n == 15;      // American Express
  if (two == 62 || two == 81) return n >= 16 && n <= 19;                           // UnionPay
  if (four == 6011 || two == 65 || (three >= 644 && three <= 649)) return n == 16 || n == 19;  // Discover
  if (two == 35) return n >= 16 && n <= 19;                                                    // JCB
  if (two == 36 || two == 38 || two == 39 || (three >= 300 && three <= 305))
    return n == 14 || n == 16;  // Diners
  if (four == 9558 || two == 60 || two == 68 || two == 69 || two == 99)
    return n >= 16 && n <= 19;  // Chinese debit
  if (two == 50 || (two >= 56 && two <= 58) || two == 63 || two == 67) return n >= 16 && n <= 19;  // Maestro
  return six == 103000 && n == 19;  // Agricultural Bank of China
}

// Issuer prefixes of large Chinese banks' UnionPay cards: a mistyped last digit does not make a card less of
// one.
bool known_chinese_issuer(std::string_view d) {
  static constexpr std::array<int, 60> prefixes = {
      621226, 621225, 621281, 621282, 621288, 621558, 621559, 621618, 621660, 621661, 621662, 621663,
      621665, 621666, 621667, 621668, 621669, 621670, 621671, 621672, 621700, 621721, 621722, 621723,
      621756, 621757, 621758, 621759, 621785, 621786, 621787, 621788, 621799, 622188, 622200, 622202,
      622203, 622208, 622260, 622262, 622280, 622568, 622575, 622576, 622577, 622578, 622579, 622580,
      622588, 622598, 622609, 622700, 622752, 622753, 622754, 622755, 622756, 622848, 622845, 622846};
  const int six = number(d.substr(0, 6));
  for (const int prefix : prefixes)
    if (prefix == six) return true;
  return six / 100 == 6217 || six / 100 == 6212 || six / 100 == 6222 || six / 100 == 6228 ||
         six / 100 == 6227;
}

bool same_digits(std::string_view d) { return d.find_first_not_of(d[0]) == std::string_view::npos; }

}  // namespace

bool pii_date_exists(int year, int month, int day) {
  if (month < 1 || month > 12) return false;
  constexpr std::array<int, 12> days = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  const bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
  return day >= 1 && day <= days[static_cast<size_t>(month - 1)] + (leap && month == 2 ? 1 : 0);
}

bool pii_luhn(std::string_view digits) {
  int sum = 0;
  bool twice = false;
  for (size_t i = digits.size(); i-- > 0; twice = !twice) {
    const int d = digits[i] - '0';
    sum += !twice ? d : d > 4 ? 2 * d - 9 : 2 * d;
  }
  return sum % 10 == 0;
}

bool pii_province(std::string_view two_digits) {
  const int p = number(two_digits.substr(0, 2));
  return (p >= 11 && p <= 15) || (p >= 21 && p <= 23) || (p >= 31 && p <= 37) || (p >= 41 && p <= 46) ||
         (p >= 50 && p <= 54) || (p >= 61 && p <= 65) || p == 71 || (p >= 81 && p <= 83);
}

char pii_id_check(std::string_view v) {
  constexpr std::array<int, 17> weight = {7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2};
  int sum = 0;
  for (size_t i = 0; i < 17; ++i) sum += (v[i] - '0') * weight[i];
  return "10X98765432"[sum % 11];
}

void find_id_card(const PiiText& text, size_t i, PiiFindings& out) {
  std::string value;
  size_t k = i;
  while (value.size() < 18) {
    const size_t n = value.size();
    if ((n == 6 || n == 10 || n == 12 || n == 14) && (text.space(k) || text[k] == u'-')) ++k;
    if (!text.digit(k) && !(n == 17 && text[k] == u'x')) break;
    value.push_back(text[k] == u'x' ? 'X' : static_cast<char>(text[k]));
    ++k;
  }
  if (pii_joined_left(text, i)) return;
  const auto context = [&] { return pii_context(text, i, k); };
  const std::string_view v = value;
  if (v.size() == 18) {
    const int year = number(v.substr(6, 4));
    // A foreigner's permanent residence card begins with 9 and carries the province behind it.
    const bool region = pii_province(v) || (v[0] == '9' && pii_province(v.substr(1)));
    if (!region || year < 1800 || year > 2099 ||
        !pii_date_exists(year, number(v.substr(10, 2)), number(v.substr(12, 2))) || pii_id_check(v) != v[17])
      return;
    if (text.alnum(k) || pii_joined_right(text, k)) return;
    const PiiContext c = context();
    const bool social = c.label == PiiTopic::kSocial;
    out.add(social ? PiiKind::kSocialSecurity : PiiKind::kIdCard, i, k,
            pii_score(c, 0.85f, {PiiTopic::kIdCard, PiiTopic::kIdCardOld, PiiTopic::kSocial}), value);
  } else if (v.size() == 15 && k == i + 15) {
    if (!pii_province(v) || v.substr(2, 4) == "0000" || text.alnum(k) || pii_joined_right(text, k)) return;
    if (!pii_date_exists(1900 + number(v.substr(6, 2)), number(v.substr(8, 2)), number(v.substr(10, 2))))
      return;
    const PiiContext c = context();
    if (c.is(PiiTopic::kIdCardOld) || c.label == PiiTopic::kIdCard)
      out.add(PiiKind::kIdCard, i, k, 0.8f, value);
  }
}

void find_bank_card(const PiiText& text, size_t i, PiiFindings& out) {
  const PiiDigits run = pii_digits(text, i, " -", 20);
  const std::string& d = run.digits;
  if (d.size() < 13 || d.size() > 19 || d[0] == '0') return;
  bool groups = run.groups.size() == 1;
  if (!groups && run.groups[0] == 4) {  // 4-4-4-4, 4-4-4-4-3, 4-6-5, 4-6-4
    groups = run.parts.find_first_not_of(run.parts[0]) == std::string::npos;
    for (size_t g = 1; g + 1 < run.groups.size(); ++g)
      groups = groups && (run.groups[g] == 4 || (run.groups.size() == 3 && run.groups[g] == 6));
    groups = groups && run.groups.back() <= 5;
  }
  if (!groups && run.groups.size() == 2 && run.groups[0] == 6)
    groups = run.groups[1] == 13 || run.groups[1] == 10;
  if (!groups || pii_joined_left(text, i) || pii_joined_right(text, run.end) || same_digits(d)) return;
  const bool luhn = pii_luhn(d), scheme = card_scheme(d);
  if (!luhn && !known_chinese_issuer(d)) return;
  const PiiContext c = pii_context(text, i, run.end);
  const bool called = c.label == PiiTopic::kCard || c.after == PiiTopic::kCard;
  if (!called && run.groups.size() > 1 && i > 1 && text.space(i - 1) && text.digit(i - 2)) return;
  const bool touches = text.letter(i - 1) || text.letter(run.end);
  if (luhn && scheme) {
    // An identity number with a wrong check digit is no card's.
    const bool citizen =
        d.size() == 18 && pii_province(d) && number(d.substr(6, 4)) / 100 >= 18 &&
        number(d.substr(6, 4)) < 2100 &&
        pii_date_exists(number(d.substr(6, 4)), number(d.substr(10, 2)), number(d.substr(12, 2)));
    const float base = d.size() >= 15 && d[0] > '2' && !citizen ? 0.62f : 0.35f;
    out.add(PiiKind::kBankCard, i, run.end, pii_score(c, touches ? base - 0.2f : base, {PiiTopic::kCard}), d);
  } else if (called && d.size() >= 16 && ((luhn && d[0] >= '3') || known_chinese_issuer(d))) {
    out.add(PiiKind::kBankCard, i, run.end, 0.6f, d);
  }
}

void find_numbered_accounts(const PiiText& text, size_t i, PiiFindings& out) {
  const PiiDigits plain = pii_digits(text, i, "", 20);
  const std::string& d = plain.digits;
  const size_t n = d.size();
  if (n >= 5 && n <= 11 && d[0] != '0' && !(n == 11 && d[1] <= '2') && !pii_joined_left(text, i) &&
      !pii_joined_right(text, plain.end) && !text.letter(plain.end)) {
    const PiiContext c = pii_context(text, i, plain.end);
    if (c.is(PiiTopic::kQq)) out.add(PiiKind::kQq, i, plain.end, 0.85f, d);
  }
  if (n == 8 && d.substr(0, 3) != "000" && !text.alnum(plain.end) && !text.letter(i - 1)) {
    static constexpr std::u16string_view services = u"军武士文后空海北南沈兰济广成参政装总联";
    size_t b = i;
    while (b > 0 && (text.space(b - 1) || text[b - 1] == u'第') && i - b < 3) --b;
    const bool lettered =
        b >= 2 && text[b - 1] == u'字' && services.find(text[b - 2]) != std::u16string_view::npos;
    if (lettered || pii_context(text, i, plain.end).label == PiiTopic::kMilitary)
      out.add(PiiKind::kMilitaryId, i, plain.end, 0.85f, d);
  }
  // IMEI: 15 digits, also as 35-345678-901234-5; the reporting body "00" is for test equipment.
  const PiiDigits parted = n == 15 ? plain : pii_digits(text, i, " -/", 16);
  if (parted.digits.size() == 15 && parted.digits.substr(0, 2) != "00" && !text.alnum(parted.end) &&
      !pii_joined_left(text, i) && !pii_joined_right(text, parted.end)) {
    const PiiContext c = pii_context(text, i, parted.end);
    if (c.is(PiiTopic::kImei))
      out.add(PiiKind::kImei, i, parted.end, 0.85f, parted.digits);
    else if (c.near(PiiTopic::kImei, 24) && pii_luhn(parted.digits) && !negative(c.label))
      out.add(PiiKind::kImei, i, parted.end, 0.7f, parted.digits);
  }
  // US social security: area not 000, 666 or 9xx, group not 00, serial not 0000.
  const bool hyphened = n == 3 && (text[i + 3] == u'-' || text.space(i + 3));
  if (hyphened || n == 9) {
    const PiiDigits ssn = n == 9 ? plain : pii_digits(text, i, "- ", 10);
    const std::string& s = ssn.digits;
    const bool shape =
        n == 9 || (ssn.groups.size() == 3 && ssn.groups[1] == 2 && ssn.parts[0] == ssn.parts[1]);
    if (s.size() == 9 && shape && s.substr(0, 3) != "000" && s.substr(0, 3) != "666" && s[0] != '9' &&
        s.substr(3, 2) != "00" && s.substr(5) != "0000" && !pii_joined_left(text, i) &&
        !text.alnum(ssn.end) && !pii_joined_right(text, ssn.end)) {
      const PiiContext c = pii_context(text, i, ssn.end);
      const bool near = n == 3 && c.near(PiiTopic::kSocial) && !negative(c.label);
      if (c.is(PiiTopic::kSocial) || near) out.add(PiiKind::kSocialSecurity, i, ssn.end, 0.8f, s);
    }
  }
  if (n >= 9 && n <= 12 && d.substr(0, 3) != "000" && !pii_joined_left(text, i) && !text.alnum(plain.end) &&
      pii_context(text, i, plain.end).label == PiiTopic::kSocial)
    out.add(PiiKind::kSocialSecurity, i, plain.end, 0.7f, d);
}

}  // namespace decant
