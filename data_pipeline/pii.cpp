#include "data_pipeline/pii.h"

#include <array>

#include "core/hash.h"

namespace decant {

namespace {

// The text as one ASCII character per code point (full-width forms folded, the rest '\x80'), with the byte
// each begins at.
struct Shadow {
  std::string chars;
  std::vector<size_t> start;  // one more than chars

  explicit Shadow(std::string_view text) {
    chars.reserve(text.size());
    start.reserve(text.size() + 1);
    for (size_t i = 0; i < text.size();) {
      const auto byte = [&](size_t k) {
        return i + k < text.size() ? static_cast<unsigned char>(text[i + k]) : 0u;
      };
      start.push_back(i);
      const unsigned first = byte(0);
      if (first < 0x80) {
        chars.push_back(static_cast<char>(first));
        ++i;
        continue;
      }
      size_t length = 1;
      while (length < 4 && (byte(length) & 0xc0u) == 0x80u) ++length;
      const unsigned code =
          length == 3 ? ((first & 0xfu) << 12) | ((byte(1) & 0x3fu) << 6) | (byte(2) & 0x3fu) : 0;
      chars.push_back(folded(code));
      i += length;
    }
    start.push_back(text.size());
  }

  static char folded(unsigned code) {
    if (code >= 0xff01 && code <= 0xff5e) return static_cast<char>(code - 0xff01 + 0x21);
    if (code == 0x3000) return ' ';
    if ((code >= 0x2010 && code <= 0x2015) || code == 0x2212) return '-';
    return '\x80';
  }

  char at(size_t i) const { return i < chars.size() ? chars[i] : '\0'; }
  bool digit(size_t i) const { return i < chars.size() && chars[i] >= '0' && chars[i] <= '9'; }
};

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_local(char c) {
  return is_letter(c) || is_digit(c) || c == '.' || c == '_' || c == '%' || c == '+' || c == '-';
}
char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

constexpr std::string_view kSurrogateHead = "user-", kSurrogateTail = "@example.invalid";

// Whether the '@' at `i` is that of a surrogate, whatever stands around it.
bool is_surrogate_email(const Shadow& s, size_t i) {
  const std::string_view chars = s.chars;
  if (i < kSurrogateHead.size() + 10 || !chars.substr(i).starts_with(kSurrogateTail)) return false;
  const std::string_view local = chars.substr(i - 10 - kSurrogateHead.size(), kSurrogateHead.size() + 10);
  if (!local.starts_with(kSurrogateHead)) return false;
  for (const char c : local.substr(kSurrogateHead.size()))
    if (!is_digit(c) && (c < 'a' || c > 'f')) return false;
  return true;
}

// `i` is at '@'; `floor` is where the match before ended. End of the match in `end`, 0 when there is none.
size_t match_email(const Shadow& s, size_t i, size_t floor, size_t& begin) {
  begin = i;
  while (begin > floor && is_local(s.at(begin - 1))) --begin;
  for (size_t k = begin; k + 1 < i; ++k)  // what stands before two dots is not the address
    if (s.at(k) == '.' && s.at(k + 1) == '.') begin = k + 1;
  while (begin < i && (s.at(begin) == '.' || s.at(begin) == '-')) ++begin;
  if (begin == i || s.at(i - 1) == '.') return 0;
  size_t best = 0, label = i + 1;
  bool dotted = false;
  while (true) {
    size_t k = label, letters = 0;
    while (is_letter(s.at(k)) || is_digit(s.at(k)) || s.at(k) == '-') ++k;
    if (k == label) break;
    while (is_letter(s.at(label + letters))) ++letters;
    if (dotted && letters >= 2) best = label + letters;
    if (s.at(k) != '.') break;
    dotted = true;
    label = k + 1;
  }
  return best;
}

bool is_separator(char c) { return c == ' ' || c == '-' || c == '.'; }

bool beside_digit(const Shadow& s, size_t begin, size_t end) {
  if (begin > 0 && s.digit(begin - 1)) return true;
  if (begin > 1 && s.at(begin - 1) == '.' && s.digit(begin - 2)) return true;
  return s.digit(end) || (s.at(end) == '.' && s.digit(end + 1));
}

// End of a mobile number that begins at `i`, 0 when there is none. The look-behind is the caller's.
size_t match_mobile(const Shadow& s, size_t i, std::string& value) {
  value.clear();
  if (s.at(i) != '1' || s.at(i + 1) < '3' || s.at(i + 1) > '9') return 0;
  size_t k = i;
  for (int n = 0; n < 11; ++n) {
    if ((n == 3 || n == 7) && is_separator(s.at(k))) ++k;
    if (!s.digit(k)) return 0;
    value.push_back(s.at(k++));
  }
  return k;
}

bool date_exists(const std::string& v) {
  const int year = std::stoi(v.substr(6, 4)), month = std::stoi(v.substr(10, 2)),
            day = std::stoi(v.substr(12, 2));
  if (year < 1800 || year > 2099 || month < 1 || month > 12) return false;
  constexpr std::array<int, 12> days = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  const bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
  return day >= 1 && day <= days[static_cast<size_t>(month - 1)] + (leap && month == 2 ? 1 : 0);
}

// MOD 11-2 over the first 17 digits.
char check_character(const std::string& v) {
  constexpr std::array<int, 17> weight = {7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2};
  int sum = 0;
  for (size_t i = 0; i < 17; ++i) sum += (v[i] - '0') * weight[i];
  return "10X98765432"[sum % 11];
}

size_t match_id_card(const Shadow& s, size_t i, std::string& value) {
  value.clear();
  size_t k = i;
  for (int n = 0; n < 18; ++n) {
    const bool may_part = n == 6 || n == 10 || n == 12 || n == 14;
    if (may_part && (s.at(k) == ' ' || s.at(k) == '-')) ++k;
    const char c = s.at(k) == 'x' ? 'X' : s.at(k);
    if (!is_digit(c) && !(n == 17 && c == 'X')) return 0;
    value.push_back(c);
    ++k;
  }
  if (value[0] == '0' || !date_exists(value) || check_character(value) != value[17]) return 0;
  return k;
}

std::string surrogate_digits(std::string_view head, size_t count, const std::array<uint8_t, 32>& mac) {
  std::string digits(head);
  uint64_t bits = 0;
  for (size_t i = 0; i < 8; ++i) bits = bits << 8 | mac[i];
  for (size_t i = head.size(); i < count; ++i, bits /= 10)
    digits.push_back(static_cast<char>('0' + bits % 10));
  return digits;
}

// The characters begin .. end with `digits` in place of theirs; separators stay, full-width stays full-width.
void put_digits(std::string& out, const Shadow& s, std::string_view text, size_t begin, size_t end,
                const std::string& digits) {
  size_t next = 0;
  for (size_t i = begin; i < end; ++i) {
    const bool number = s.digit(i) || s.at(i) == 'x' || s.at(i) == 'X';
    const size_t bytes = s.start[i + 1] - s.start[i];
    if (!number) {
      out.append(text.substr(s.start[i], bytes));
    } else if (bytes == 3) {  // full-width
      const unsigned code = 0xff10u + static_cast<unsigned>(digits[next++] - '0');
      out.push_back(static_cast<char>(0xe0u | code >> 12));
      out.push_back(static_cast<char>(0x80u | (code >> 6 & 0x3fu)));
      out.push_back(static_cast<char>(0x80u | (code & 0x3fu)));
    } else {
      out.push_back(digits[next++]);
    }
  }
}

struct Found {
  PiiKind kind;
  size_t begin = 0, end = 0;  // of the shadow
  std::string value;
};

// A number that is (part of) the local part of an address is left to the '@'.
bool leads_to_email(const Shadow& s, size_t begin, size_t end, size_t floor) {
  while (is_local(s.at(end))) ++end;
  size_t email = 0;
  return s.at(end) == '@' && match_email(s, end, floor, email) != 0 && email <= begin;
}

std::vector<Found> scan(const Shadow& s) {
  std::vector<Found> found;
  size_t floor = 0;
  for (size_t i = 0; i < s.chars.size(); ++i) {
    std::string value;
    if (s.at(i) == '@' && is_surrogate_email(s, i)) {
      floor = i + kSurrogateTail.size();
      i = floor - 1;
      continue;
    }
    if (s.at(i) == '@') {
      size_t begin = 0;
      const size_t end = match_email(s, i, floor, begin);
      if (end == 0) continue;
      for (size_t k = begin; k < end; ++k) value.push_back(lower(s.at(k)));
      found.push_back({PiiKind::kEmail, begin, end, std::move(value)});
      floor = end;
      i = end - 1;
      continue;
    }
    if (i < floor || !s.digit(i) || (i > 0 && s.digit(i - 1))) continue;
    size_t end = match_id_card(s, i, value);
    if (end != 0 && !beside_digit(s, i, end) && !leads_to_email(s, i, end, floor)) {
      found.push_back({PiiKind::kIdCard, i, end, std::move(value)});
      floor = end;
      i = end - 1;
      continue;
    }
    for (const std::string_view prefix : {"", "86", "0086"}) {
      if (std::string_view(s.chars).substr(i, prefix.size()) != prefix) continue;
      const size_t begin = i + prefix.size();
      end = match_mobile(s, begin, value);
      if (end == 0 || beside_digit(s, i, end)) continue;
      if (leads_to_email(s, begin, end, floor)) break;
      found.push_back({PiiKind::kMobile, begin, end, std::move(value)});
      floor = end;
      i = end - 1;
      break;
    }
  }
  return found;
}

}  // namespace

std::vector<PiiSpan> find_pii(std::string_view text) {
  const Shadow shadow(text);
  std::vector<PiiSpan> spans;
  for (auto& f : scan(shadow))
    spans.push_back({f.kind, shadow.start[f.begin], shadow.start[f.end], std::move(f.value)});
  return spans;
}

std::string replace_pii(std::string_view text, std::string_view tenant, std::string_view key,
                        PiiCounts& counts) {
  const Shadow shadow(text);
  std::string out;
  size_t done = 0;
  for (const Found& f : scan(shadow)) {
    out.append(text.substr(done, shadow.start[f.begin] - done));
    done = shadow.start[f.end];
    constexpr std::array<const char*, 3> names = {"email", "mobile", "id_card"};
    std::string message(tenant);
    message.append(1, '\0').append(names[static_cast<size_t>(f.kind)]).append(1, '\0').append(f.value);
    const auto mac = hmac_sha256(key, message);
    if (f.kind == PiiKind::kEmail) {
      ++counts.email;
      out.append(kSurrogateHead)
          .append(to_hex({reinterpret_cast<const char*>(mac.data()), 5}))
          .append(kSurrogateTail);
    } else if (f.kind == PiiKind::kMobile) {
      ++counts.mobile;
      put_digits(out, shadow, text, f.begin, f.end, surrogate_digits("12", 11, mac));
    } else {
      ++counts.id_card;
      std::string digits = surrogate_digits("99", 17, mac);
      const char right = check_character(digits);
      const char first = static_cast<char>('0' + mac[8] % 10);
      digits.push_back(first != right ? first : first == '9' ? '0' : static_cast<char>(first + 1));
      put_digits(out, shadow, text, f.begin, f.end, digits);
    }
  }
  out.append(text.substr(done));
  return out;
}

}  // namespace decant
