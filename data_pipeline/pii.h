// Personal data in text: found by format, check digits and the words around it, and replaced by surrogates
// that cannot belong to anyone.
//
// kind             what is found
// email            local@domain.tld; a dotted or doubled-dot local part is no address (RFC 5322), three dots
// are
//                  an ellipsis; a local part of Han characters counts
// mobile           Chinese: 1[3-9] and nine digits, 3-4-4 or 3-8 parted; +86, 86, 0086 before it stay outside
// landline         Chinese: area code and 7 or 8 digits, 400 and 800 numbers, extension; 7 or 8 digits alone
// after
//                  a word for telephone
// phone            other countries: +CC with a plausible length; North American forms; labelled national
// forms id_card          GB 11643: province, date, MOD 11-2; the 15-digit form only after the words for
// identity card bank_card        13-19 digits, prefix of a scheme (UnionPay, Visa, Mastercard, Amex, JCB,
// Discover, Diners,
//                  Maestro), Luhn; without Luhn only when called a card number and of a known Chinese issuer
// passport         after a word for passport: Chinese and foreign forms
// permit           Hong Kong, Macau and Taiwan: travel permits after their name, identity cards by check
// digit military_id      eight digits between 军字第 (武, 士, ...) and 号, or after the certificate's name
// plate            province, letter, five or (new-energy) six characters; embassy and police forms
// credit_code      GB 32100: 18 characters, MOD 31; all-digit codes after a word for them
// qq, wechat       after their name only
// ip               v4, v6; no version numbers or netmasks; private, documentation and other special addresses
// only
//                  after a word such as "IP" or "server"
// mac, imei, iban  six pairs of hex; 15 digits after "IMEI"; country, length and MOD 97
// secret           keys of known services, JWT, PEM private keys, secrets in URLs, what "password:"
// introduces social_security  US numbers and Chinese social-security numbers after their name birth_date a
// date beside a word for birth address          Chinese: road and number, or place and road after a word for
// address; English: number, street name             after words that introduce one (姓名, 我叫, "my name is",
// "Mr"), before titles (先生), beside a
//                  telephone number
//
// A format gives a score; words near it (手机, card, ...) raise it, others (订单, amount, 版本, ...) lower
// it; what stays below the kind's threshold is not reported. Overlaps: the kind that comes first in
// kPiiPriority wins, then the longer, then the earlier. Full-width characters count as ASCII, invisible
// characters as nothing. Look-arounds are for ASCII digits and letters, not \b: Han characters are word
// characters. Time is linear in the text.
//
// Surrogates depend on (key, tenant, kind, value) alone and keep the shape: separators, case, full-width
// digits, prefixes. They are of ranges that are reserved or never assigned (docs/decisions/0005), and
// no scan finds them, whatever stands beside them.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace decant {

enum class PiiKind : uint8_t {
  kEmail,
  kMobile,
  kLandline,
  kPhone,
  kIdCard,
  kBankCard,
  kPassport,
  kPermit,
  kMilitaryId,
  kPlate,
  kCreditCode,
  kQq,
  kWechat,
  kIp,
  kMac,
  kImei,
  kIban,
  kSecret,
  kSocialSecurity,
  kBirthDate,
  kAddress,
  kName,
};
inline constexpr size_t kPiiKinds = 22;

std::string_view pii_kind_name(PiiKind kind);  // as in the table above

struct PiiSpan {
  PiiKind kind;
  size_t begin = 0, end = 0;  // bytes
  float score = 0;            // 0 .. 1
  std::string value;          // as compared: lower case, ASCII, without separators
};

// In order, not overlapping.
std::vector<PiiSpan> find_pii(std::string_view text);

struct PiiCounts {
  std::array<int64_t, kPiiKinds> of{};

  int64_t& operator[](PiiKind kind) { return of[static_cast<size_t>(kind)]; }
  int64_t operator[](PiiKind kind) const { return of[static_cast<size_t>(kind)]; }
  PiiCounts& operator+=(const PiiCounts& other);
  int64_t total() const;
};

// find_pii of the result is empty.
std::string replace_pii(std::string_view text, std::string_view tenant, std::string_view key,
                        PiiCounts& counts);

}  // namespace decant
