// The finders behind pii.h: each looks at one place of a text and adds what it finds there. A place is a unit
// that a first pass over the text stopped at (a digit after a non-digit, '@', a word of pii_context.h, ...);
// how far a finder looks from there is bounded, so the whole is linear.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "data_pipeline/pii.h"
#include "data_pipeline/pii_context.h"
#include "data_pipeline/pii_text.h"

namespace decant {

struct PiiCandidate {
  PiiKind kind;
  size_t begin = 0, end = 0;  // units
  float score = 0;
  std::string value;
};

class PiiFindings {
 public:
  // Kept when the score reaches the kind's threshold.
  void add(PiiKind kind, size_t begin, size_t end, float score, std::string value);
  // Best first by kind; what overlaps a better one is dropped; then by place.
  void resolve();

  std::vector<PiiCandidate> found;
};

// `base` raised when `topics` name the value (label), a little when they are near, lowered by labels that say
// otherwise (order, amount, version).
float pii_score(const PiiContext& context, float base, std::initializer_list<PiiTopic> topics);

// Digits from unit i, of groups parted by single separators of `separators`; at most `most` digits.
struct PiiDigits {
  std::string digits;
  std::vector<uint8_t> groups;  // lengths
  std::string parts;            // the separators between the groups
  size_t end = 0;
};
PiiDigits pii_digits(const PiiText& text, size_t i, std::string_view separators, size_t most);

// Whether digits, a decimal point or a hyphenated code touch begin .. end on that side.
bool pii_joined_left(const PiiText& text, size_t begin);
bool pii_joined_right(const PiiText& text, size_t end);

bool pii_date_exists(int year, int month, int day);
bool pii_luhn(std::string_view digits);
bool pii_province(std::string_view two_digits);  // GB/T 2260
char pii_id_check(std::string_view seventeen);   // GB 11643, MOD 11-2

// At a digit that follows a non-digit.
void find_id_card(const PiiText& text, size_t i, PiiFindings& out);
void find_bank_card(const PiiText& text, size_t i, PiiFindings& out);
void find_numbered_accounts(const PiiText& text, size_t i, PiiFindings& out);  // qq, imei, military, social
void find_phones(const PiiText& text, size_t i, PiiFindings& out);             // mobile, landline, phone
void find_ip4(const PiiText& text, size_t i, PiiFindings& out);
void find_birth_date(const PiiText& text, size_t i, PiiFindings& out);
void find_english_address(const PiiText& text, size_t i, PiiFindings& out);
// At a digit or letter that follows neither, where digits and letters mix.
void find_codes(const PiiText& text, size_t begin, size_t end,
                PiiFindings& out);                                    // passport, permit, iban, ...
void find_keys(const PiiText& text, size_t begin, PiiFindings& out);  // keys of known services
// At '@', ':' or '-', '='.
void find_email(const PiiText& text, size_t at, PiiFindings& out);
void find_ip6(const PiiText& text, size_t colon, PiiFindings& out);
void find_mac(const PiiText& text, size_t separator, PiiFindings& out);
void find_url_secret(const PiiText& text, size_t equals, PiiFindings& out);
void find_private_key(const PiiText& text, size_t dashes, PiiFindings& out);
// At a Chinese province's short name; a Chinese road suffix or number word; a word of pii_context.h.
void find_plate(const PiiText& text, size_t i, PiiFindings& out);
void find_chinese_address(const PiiText& text, size_t i, PiiFindings& out);
void find_labelled_address(const PiiText& text, const PiiWord& label, PiiFindings& out);
void find_spelled_birth_date(const PiiText& text, const PiiWord& label, PiiFindings& out);
void find_wechat(const PiiText& text, const PiiWord& label, PiiFindings& out);
void find_labelled_secret(const PiiText& text, const PiiWord& label, PiiFindings& out);
void find_name_after(const PiiText& text, const PiiWord& label, PiiFindings& out);
void find_name_before(const PiiText& text, const PiiWord& title, PiiFindings& out);
void find_names_beside_numbers(const PiiText& text, PiiFindings& out);  // of what is found so far

// Whether a Chinese address may hinge on this unit (路, 号, ...).
bool pii_address_unit(char16_t unit);
// Whether the word is that of an English street, building or room: street, ave, suite.
bool pii_street_word(std::u16string_view word);
// Whether the unit begins a plate.
bool pii_plate_unit(char16_t unit);

// What stands for a candidate's text; separators, case and full-width forms as there.
std::string pii_surrogate(const PiiText& text, const PiiCandidate& candidate, std::string_view tenant,
                          std::string_view key);

}  // namespace decant
