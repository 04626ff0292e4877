// Codes in which letters and digits mix: passports, permits, Hong Kong and Taiwan identity cards, plates,
// social credit codes, IBANs.
#include <algorithm>
#include <array>
#include <utility>

#include "data_pipeline/pii_finders.h"

namespace decant {

namespace {

bool negative(PiiTopic topic) { return topic == PiiTopic::kOrder || topic == PiiTopic::kVersion; }

std::string upper(std::string s) {
  for (char& c : s)
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 32);
  return s;
}

// Letters as L, digits as d: "Ldddddddd".
std::string shape(std::string_view code) {
  std::string s(code);
  for (char& c : s) c = c >= '0' && c <= '9' ? 'd' : 'L';
  return s;
}

bool is_surrogate(std::string_view code) {  // X00..., XX0..., 000...
  return code.starts_with("X00") || code.starts_with("XX0") || code.starts_with("000");
}

// GB 32100-2015: 18 characters without I, O, S, V, Z; digits 3 to 8 are a region; MOD 31.
bool credit_code(std::string_view code) {
  constexpr std::string_view alphabet = "0123456789ABCDEFGHJKLMNPQRTUWXY";
  constexpr std::array<int, 17> weights = {1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28};
  if (code.size() != 18 || std::string_view("123456789ANY").find(code[0]) == std::string_view::npos)
    return false;
  int sum = 0;
  for (size_t i = 0; i < 17; ++i) {
    const size_t v = alphabet.find(code[i]);
    if (v == std::string_view::npos || (i >= 2 && i < 8 && v > 9)) return false;
    sum += static_cast<int>(v) * weights[i];
  }
  const auto check = static_cast<size_t>((31 - sum % 31) % 31);
  return code[17] == alphabet[check] && code.find_first_not_of(code[0]) != std::string_view::npos;
}

// Lengths of the IBAN registry (SWIFT).
int iban_length(std::string_view country) {
  static constexpr std::pair<std::string_view, int> lengths[] = {
      {"AD", 24}, {"AE", 23}, {"AL", 28}, {"AT", 20}, {"AZ", 28}, {"BA", 20}, {"BE", 16}, {"BG", 22},
      {"BH", 22}, {"BI", 27}, {"BR", 29}, {"BY", 28}, {"CH", 21}, {"CR", 22}, {"CY", 28}, {"CZ", 24},
      {"DE", 22}, {"DJ", 27}, {"DK", 18}, {"DO", 28}, {"EE", 20}, {"EG", 29}, {"ES", 24}, {"FI", 18},
      {"FK", 18}, {"FO", 18}, {"FR", 27}, {"GB", 22}, {"GE", 22}, {"GI", 23}, {"GL", 18}, {"GR", 27},
      {"GT", 28}, {"HN", 28}, {"HR", 21}, {"HU", 28}, {"IE", 22}, {"IL", 23}, {"IQ", 23}, {"IS", 26},
      {"IT", 27}, {"JO", 30}, {"KW", 30}, {"KZ", 20}, {"LB", 28}, {"LC", 32}, {"LI", 21}, {"LT", 20},
      {"LU", 20}, {"LV", 21}, {"LY", 25}, {"MC", 27}, {"MD", 24}, {"ME", 22}, {"MK", 19}, {"MN", 20},
      {"MR", 27}, {"MT", 31}, {"MU", 30}, {"NI", 28}, {"NL", 18}, {"NO", 15}, {"OM", 23}, {"PK", 24},
      {"PL", 28}, {"PS", 29}, {"PT", 25}, {"QA", 29}, {"RO", 24}, {"RS", 22}, {"RU", 33}, {"SA", 24},
      {"SC", 31}, {"SD", 18}, {"SE", 24}, {"SI", 19}, {"SK", 24}, {"SM", 27}, {"SO", 23}, {"ST", 25},
      {"SV", 28}, {"TL", 23}, {"TN", 24}, {"TR", 26}, {"UA", 29}, {"VA", 22}, {"VG", 24}, {"XK", 20},
      {"YE", 30}};
  const auto* at =
      std::find_if(std::begin(lengths), std::end(lengths), [&](const auto& l) { return l.first == country; });
  return at == std::end(lengths) ? 0 : at->second;
}

int mod97(std::string_view iban) {
  int rest = 0;
  for (size_t i = 0; i < iban.size(); ++i) {
    const char c = iban[(i + 4) % iban.size()];
    rest = c <= '9' ? (rest * 10 + (c - '0')) % 97 : (rest * 100 + (c - 'A' + 10)) % 97;
  }
  return rest;
}

void find_iban(const PiiText& text, size_t begin, PiiFindings& out) {
  if (!text.letter(begin) || !text.letter(begin + 1) || !text.digit(begin + 2) || !text.digit(begin + 3))
    return;
  const auto length = static_cast<size_t>(iban_length(upper(text.ascii(begin, begin + 2))));
  if (length == 0) return;
  std::string value;
  size_t k = begin;
  while (value.size() < length) {
    if ((text.space(k) || text[k] == u'-') && value.size() % 4 == 0) ++k;
    if (!text.alnum(k)) return;
    value.push_back(static_cast<char>(text[k++]));
  }
  value = upper(value);
  if (text.alnum(k) || mod97(value) != 1) return;
  out.add(PiiKind::kIban, begin, k, 0.95f, value);
}

// Check digit of a Hong Kong identity card: weights 9 .. 2 (a missing first letter counts 36), MOD 11.
bool hong_kong(std::string_view card) {
  const std::string padded = card.size() == 8 ? " " + std::string(card) : std::string(card);
  int sum = 0;
  for (size_t i = 0; i < 9; ++i) {
    const char c = padded[i];
    const int v = c == ' ' ? 36 : c <= '9' ? c - '0' : i == 8 ? 10 : c - 'A' + 10;
    sum += v * static_cast<int>(9 - i);
  }
  return sum % 11 == 0;
}

// Taiwan: the letter stands for two digits, weights 1 9 8 7 6 5 4 3 2 1 1, MOD 10.
bool taiwan(std::string_view card) {
  constexpr std::string_view order = "ABCDEFGHJKLMNPQRSTUVXYWZIO";
  const int region = static_cast<int>(order.find(card[0])) + 10;
  int sum = region / 10 + region % 10 * 9;
  for (size_t i = 1; i < 9; ++i) sum += (card[i] - '0') * static_cast<int>(9 - i);
  return (sum + card[9] - '0') % 10 == 0;
}

void find_identity_codes(const PiiText& text, size_t begin, size_t end, const std::string& code,
                         const std::string& form, PiiFindings& out) {
  // A123456(7), A123456(A), AB987654(3)
  if ((form == "Ldddddd" || form == "LLdddddd") && text[end] == u'(' && text.alnum(end + 1) &&
      text[end + 2] == u')') {
    const char check = upper(text.ascii(end + 1, end + 2))[0];
    if ((check <= '9' || check == 'A') && hong_kong(code + check) && !is_surrogate(code))
      out.add(PiiKind::kPermit, begin, end + 3, 0.8f, code + check);
    return;
  }
  const bool hk = form == "Lddddddd" || form == "LLddddddd" || form == "LddddddL" || form == "LLddddddL";
  const bool tw =
      form == "Lddddddddd" && (code[1] == '1' || code[1] == '2' || code[1] == '8' || code[1] == '9');
  if (!hk && !tw) return;
  const PiiContext c = pii_context(text, begin, end);
  if (hk && (code.back() <= '9' || code.back() == 'A') && hong_kong(code) && c.near(PiiTopic::kHongKong))
    out.add(PiiKind::kPermit, begin, end, 0.8f, code);
  if (tw && taiwan(code) && (c.near(PiiTopic::kTaiwan) || c.near(PiiTopic::kIdCardOld)))
    out.add(PiiKind::kPermit, begin, end, 0.8f, code);
}

bool passport_form(std::string_view code, std::string_view form) {
  const auto digits = static_cast<size_t>(std::count(form.begin(), form.end(), 'd'));
  if (code.size() < 7 || code.size() > 10 || digits < 5) return false;
  const size_t letters = form.find('d');
  // One or two letters and digits, digits alone, or the mixed forms of Germany, France and others.
  return letters <= 2 || (letters == 3 && digits >= 6);
}

void find_travel_documents(const PiiText& text, size_t begin, size_t end, const std::string& code,
                           const std::string& form, PiiFindings& out) {
  if (code.size() < 7 || code.size() > 11 || is_surrogate(code)) return;
  const PiiContext c = pii_context(text, begin, end);
  const bool passport = c.is(PiiTopic::kPassport) || (c.near(PiiTopic::kPassport, 20) && !negative(c.label));
  const bool permit = c.is(PiiTopic::kPermit) || (c.near(PiiTopic::kPermit, 20) && !negative(c.label));
  if (c.after == PiiTopic::kOrder) return;
  const bool plain = form.find('L') == std::string::npos;
  // Of several labels the nearer one names the number.
  const uint8_t to_passport = c.distance[static_cast<size_t>(PiiTopic::kPassport)],
                to_permit = c.distance[static_cast<size_t>(PiiTopic::kPermit)];
  if (permit && to_permit <= to_passport) {
    const bool fits = plain ? (c.is(PiiTopic::kPermit) && (code.size() == 8 || code.size() == 10))
                            : form.starts_with("L") && form.find_first_not_of("Ld") == std::string::npos &&
                                  code.size() >= 8 && std::count(form.begin(), form.end(), 'd') >= 7;
    if (fits) out.add(PiiKind::kPermit, begin, end, 0.8f, code);
    return;
  }
  if (!passport || !passport_form(code, form)) return;
  if (plain && !(c.is(PiiTopic::kPassport) && (code.size() == 8 || code.size() == 9))) return;
  out.add(PiiKind::kPassport, begin, end, 0.8f, code);
}

}  // namespace

void find_codes(const PiiText& text, size_t begin, size_t end, PiiFindings& out) {
  find_iban(text, begin, out);
  if (end - begin < 7 || end - begin > 18 || text.alnum(begin - 1) || text[begin - 1] == u'_' ||
      text[end] == u'_' || text[end] == u'@')
    return;
  const std::string code = upper(text.ascii(begin, end));
  const std::string form = shape(code);
  if (code.size() == 18) {
    if (!credit_code(code)) return;
    const bool letters = form.find('L') < 17;  // 17 digits and X is an identity number's form
    const PiiContext c = pii_context(text, begin, end);
    const bool named = c.near(PiiTopic::kCreditCode);
    out.add(PiiKind::kCreditCode, begin, end,
            letters ? pii_score(c, 0.9f, {PiiTopic::kCreditCode})
            : named ? 0.7f
                    : 0,
            code);
    return;
  }
  const bool hyphened =
      (text[begin - 1] == u'-' && text.alnum(begin - 2)) || (text[end] == u'-' && text.alnum(end + 1));
  if (hyphened || std::count(form.begin(), form.end(), 'd') < 5) return;
  find_identity_codes(text, begin, end, code, form, out);
  find_travel_documents(text, begin, end, code, form, out);
  if ((form == "Ldddddddd" || form == "Lddddddddd") && !is_surrogate(code) &&
      pii_context(text, begin, end).label == PiiTopic::kSocial)
    out.add(PiiKind::kSocialSecurity, begin, end, 0.8f, code);
}

bool pii_plate_unit(char16_t unit) {
  static constexpr std::u16string_view provinces =
      u"京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼使领滬遼雲魯蘇貴贛陝";
  return provinces.find(unit) != std::u16string_view::npos;
}

void find_plate(const PiiText& text, size_t i, PiiFindings& out) {
  size_t k = i + 1;
  while (text.space(k) && k < i + 2) ++k;
  const bool embassy = text[i] == u'使' || text[i] == u'领';
  std::string value = text.ascii(i, i + 1);
  if (!embassy) {
    if (!text.letter(k) || text[k] == u'i') return;
    value.push_back(static_cast<char>(text[k++]));
    if (text[k] == u'\u00b7' || text[k] == u'.' || text[k] == u'-' || text.space(k)) ++k;
  }
  size_t letters = 0, digits = 0;
  const size_t serial = k;
  while (text.alnum(k) && k < serial + 7) {
    if (text[k] == u'i' || text[k] == u'o') return;
    (text.digit(k) ? digits : letters) += 1;
    value.push_back(static_cast<char>(text[k++]));
    if (embassy && digits == 3 && text[k] == u'\u00b7') ++k;
  }
  if (embassy) {
    if (digits != 6 || letters != 0 || text.digit(k)) return;
    if (pii_context(text, i, k).near(PiiTopic::kPlate)) out.add(PiiKind::kPlate, i, k, 0.7f, upper(value));
    return;
  }
  size_t length = k - serial;
  if (length == 4 && (text[k] == u'挂' || text[k] == u'学' || text[k] == u'警' || text[k] == u'港' ||
                      text[k] == u'澳' || text[k] == u'领')) {
    value += text.ascii(k, k + 1);
    ++k, ++length;
    ++letters;
  }
  if ((length != 5 && length != 6) || text.alnum(k) || digits < 2) return;
  if (length == 6 && (digits < 4 || (!text.letter(serial) && !text.letter(k - 1)))) return;
  if (length == 5 && letters > 3) return;
  const PiiContext c = pii_context(text, i, k);
  // 新 and 云 are words, too: 最新A12345.
  static constexpr std::u16string_view words = u"新云雲";
  const bool inside_word = words.find(text[i]) != std::u16string_view::npos && text.han(i - 1) &&
                           text[i - 1] != u'牌' && text[i - 1] != u'是' && text[i - 1] != u'为' &&
                           text[i - 1] != u'号';
  out.add(PiiKind::kPlate, i, k, pii_score(c, inside_word ? 0.45f : 0.7f, {PiiTopic::kPlate}), upper(value));
}

}  // namespace decant
