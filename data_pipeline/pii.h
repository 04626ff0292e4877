// E-mail addresses, Chinese mobile numbers and Chinese ID-card numbers, found by shape and check digit, and
// replaced by surrogates that cannot belong to anyone.
//
// Full-width characters count as their ASCII forms. Look-arounds are for ASCII digits, not \b: Han characters
// are word characters, so \b fails in the middle of Chinese text.
// - e-mail: local part of [A-Za-z0-9._%+-], a domain with a dot whose last label begins with two letters.
// - mobile: 1[3-9] and nine digits, with one space, '-' or '.' after the third and the seventh digit or
// without; +86, 86 or 0086 may
//   come first. Neither a digit nor a decimal point with a digit beside it: order numbers and amounts stay.
// - ID card (GB 11643): 17 digits and a digit or X; region not 0xxxxx, a date that exists between 1800 and
// 2099, check character
//   MOD 11-2 right; one space or '-' may stand after digits 6, 10, 12 and 14. (The 15-digit form has no check
//   digit and is left.)
//
// Surrogates depend on (key, tenant, kind, value) alone, so one customer's number is the same surrogate in
// the whole tenant, and keep the shape (separators, full-width digits, prefix): user-<10 hex>@example.invalid
// (RFC 2606), a mobile number that begins with 12 (not assigned), an ID number of region 99 (not assigned)
// with a wrong check digit. None is found by a second scan.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace decant {

enum class PiiKind { kEmail, kMobile, kIdCard };

struct PiiSpan {
  PiiKind kind;
  size_t begin = 0, end = 0;  // bytes
  std::string value;          // as compared: lower case, ASCII digits without separators and prefix
};

// In order, not overlapping.
std::vector<PiiSpan> find_pii(std::string_view text);

struct PiiCounts {
  int64_t email = 0, mobile = 0, id_card = 0;
};

std::string replace_pii(std::string_view text, std::string_view tenant, std::string_view key,
                        PiiCounts& counts);

}  // namespace decant
