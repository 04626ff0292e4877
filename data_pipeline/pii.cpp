#include "data_pipeline/pii.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "data_pipeline/pii_finders.h"

namespace decant {

namespace {

constexpr std::array<std::string_view, kPiiKinds> kNames = {
    "email",       "mobile", "landline",        "phone",      "id_card", "bank_card", "passport", "permit",
    "military_id", "plate",  "credit_code",     "qq",         "wechat",  "ip",        "mac",      "imei",
    "iban",        "secret", "social_security", "birth_date", "address", "name"};

// Of two that overlap, the kind that comes first stays.
constexpr std::array<PiiKind, kPiiKinds> kPriority = {
    PiiKind::kSecret,     PiiKind::kEmail,      PiiKind::kIban,     PiiKind::kSocialSecurity,
    PiiKind::kIdCard,     PiiKind::kCreditCode, PiiKind::kImei,     PiiKind::kBankCard,
    PiiKind::kMac,        PiiKind::kIp,         PiiKind::kPassport, PiiKind::kPermit,
    PiiKind::kMilitaryId, PiiKind::kPlate,      PiiKind::kMobile,   PiiKind::kQq,
    PiiKind::kLandline,   PiiKind::kPhone,      PiiKind::kWechat,   PiiKind::kBirthDate,
    PiiKind::kAddress,    PiiKind::kName};

size_t rank(PiiKind kind) {
  static const auto ranks = [] {
    std::array<size_t, kPiiKinds> r{};
    for (size_t i = 0; i < kPiiKinds; ++i) r[static_cast<size_t>(kPriority[i])] = i;
    return r;
  }();
  return ranks[static_cast<size_t>(kind)];
}

constexpr float threshold(PiiKind) { return 0.5f; }

enum Class : uint8_t { kDigit = 1, kLetter = 2, kMark = 4, kWord = 8, kPlace = 16, kPlateStart = 32 };

// What the first pass stops at.
const std::vector<uint8_t>& classes() {
  static const auto table = [] {
    std::vector<uint8_t> t(0x10000);
    for (unsigned c = 0; c < t.size(); ++c) {
      const auto unit = static_cast<char16_t>(c);
      if (unit >= u'0' && unit <= u'9') t[c] |= kDigit;
      if (unit >= u'a' && unit <= u'z') t[c] |= kLetter;
      if (unit == u'@' || unit == u':' || unit == u'-' || unit == u'=') t[c] |= kMark;
      if (unit > 0x7f && pii_word_may_begin(unit)) t[c] |= kWord;
      if (pii_address_unit(unit)) t[c] |= kPlace;
      if (pii_plate_unit(unit)) t[c] |= kPlateStart;
    }
    return t;
  }();
  return table;
}

void at_mark(const PiiText& text, size_t i, PiiFindings& out) {
  switch (text[i]) {
    case u'@':
      find_email(text, i, out);
      break;
    case u':':
      find_ip6(text, i, out);
      find_mac(text, i, out);
      break;
    case u'-':
      find_mac(text, i, out);
      if (text[i + 1] == u'-' && text[i - 1] != u'-') find_private_key(text, i, out);
      break;
    default:
      find_url_secret(text, i, out);
  }
}

void at_word(const PiiText& text, const PiiWord& word, PiiFindings& out) {
  switch (word.topic) {
    case PiiTopic::kWechat:
    case PiiTopic::kWechatId:
      return find_wechat(text, word, out);
    case PiiTopic::kSecret:
      return find_labelled_secret(text, word, out);
    case PiiTopic::kBirth:
      return find_spelled_birth_date(text, word, out);
    case PiiTopic::kAddress:
      return find_labelled_address(text, word, out);
    case PiiTopic::kTitle:
      find_name_before(text, word, out);
      return find_name_after(text, {PiiTopic::kRole, word.begin, word.end}, out);
    case PiiTopic::kName:
    case PiiTopic::kRole:
    case PiiTopic::kSelf:
    case PiiTopic::kMister:
      return find_name_after(text, word, out);
    default:
      return;
  }
}

// A run of letters and digits, at its begin; the end.
size_t at_token(const PiiText& text, size_t i, PiiFindings& out) {
  size_t end = i, digits = 0;
  while (text.alnum(end)) digits += text.digit(end++) ? 1 : 0;
  if (digits > 0 && end - i <= 64) find_codes(text, i, end, out);
  return end;
}

void scan(const PiiText& text, PiiFindings& out) {
  const uint8_t* table = classes().data();
  size_t token = 0;  // the end of the last run of letters and digits
  for (size_t i = 0; i < text.size(); ++i) {
    const uint8_t c = table[text[i]];
    if (c == 0) continue;
    if ((c & (kDigit | kLetter)) != 0) {
      if (i >= token) {
        token = at_token(text, i, out);
        const bool key = token - i >= 16 || text[token] == u'_' || text[token] == u'-' || text[token] == u'.';
        if ((c & kLetter) != 0 && key) find_keys(text, i, out);
      }
      if ((c & kLetter) != 0) {
        if (text.letter(i - 1)) continue;
        const PiiWord word = pii_word_at(text, i);
        if (word.topic != PiiTopic::kNone) at_word(text, word, out);
        continue;
      }
      if (text.digit(i - 1)) continue;
      find_id_card(text, i, out);
      find_bank_card(text, i, out);
      find_numbered_accounts(text, i, out);
      find_phones(text, i, out);
      find_ip4(text, i, out);
      find_birth_date(text, i, out);
      find_english_address(text, i, out);
      continue;
    }
    if ((c & kMark) != 0) at_mark(text, i, out);
    if ((c & kPlateStart) != 0) find_plate(text, i, out);
    if ((c & kPlace) != 0) find_chinese_address(text, i, out);
    if ((c & kWord) != 0) {
      const PiiWord word = pii_word_at(text, i);
      if (word.topic != PiiTopic::kNone) at_word(text, word, out);
    }
  }
  find_names_beside_numbers(text, out);
  out.resolve();
}

}  // namespace

std::string_view pii_kind_name(PiiKind kind) { return kNames[static_cast<size_t>(kind)]; }

void PiiFindings::add(PiiKind kind, size_t begin, size_t end, float score, std::string value) {
  if (score >= threshold(kind)) found.push_back({kind, begin, end, std::min(score, 1.0f), std::move(value)});
}

void PiiFindings::resolve() {
  if (found.size() < 2) return;
  std::stable_sort(found.begin(), found.end(), [](const PiiCandidate& a, const PiiCandidate& b) {
    if (a.kind != b.kind) return rank(a.kind) < rank(b.kind);
    if (a.end - a.begin != b.end - b.begin) return a.end - a.begin > b.end - b.begin;
    return a.begin < b.begin;
  });
  // Intervals that are kept, by begin; none overlap, so a neighbour on each side is all there is to ask.
  std::map<size_t, size_t> kept;
  std::vector<PiiCandidate> best;
  for (PiiCandidate& c : found) {
    const auto next = kept.lower_bound(c.begin);
    if (next != kept.end() && next->first < c.end) continue;
    if (next != kept.begin() && std::prev(next)->second > c.begin) continue;
    kept.emplace(c.begin, c.end);
    best.push_back(std::move(c));
  }
  std::sort(best.begin(), best.end(), [](const auto& a, const auto& b) { return a.begin < b.begin; });
  found = std::move(best);
}

float pii_score(const PiiContext& context, float base, std::initializer_list<PiiTopic> topics) {
  const auto one_of = [&](PiiTopic t) { return std::find(topics.begin(), topics.end(), t) != topics.end(); };
  const auto against = [](PiiTopic t) {
    return t == PiiTopic::kOrder || t == PiiTopic::kMoney || t == PiiTopic::kVersion;
  };
  float score = base;
  if (one_of(context.label))
    score += 0.3f;
  else if (one_of(context.after))
    score += 0.25f;
  else if (std::any_of(topics.begin(), topics.end(), [&](PiiTopic t) { return context.near(t, 24); }))
    score += 0.15f;
  if (against(context.label)) score -= 0.5f;
  if (against(context.after) || context.after == PiiTopic::kUnit) score -= 0.4f;
  return score;
}

PiiDigits pii_digits(const PiiText& text, size_t i, std::string_view separators, size_t most) {
  PiiDigits run;
  size_t k = i;
  while (true) {
    const size_t begin = k;
    while (text.digit(k) && run.digits.size() <= most) run.digits.push_back(static_cast<char>(text[k++]));
    run.groups.push_back(static_cast<uint8_t>(k - begin));
    run.end = k;
    const char16_t c = text[k];
    if (c >= 0x80 || separators.find(static_cast<char>(c)) == std::string_view::npos || !text.digit(k + 1) ||
        run.digits.size() > most)
      return run;
    run.parts.push_back(static_cast<char>(c));
    ++k;
  }
}

bool pii_joined_left(const PiiText& text, size_t i) {
  if (text.digit(i - 1)) return true;
  const char16_t c = text[i - 1];
  if (c == u'.' || c == u',') return text.digit(i - 2);
  if (c == u'-' || c == u'_' || c == u'/')
    return text.digit(i - 2) || (c == u'_' && text.letter(i - 2)) ||
           (text.letter(i - 2) && pii_word_before(text, i - 1).topic == PiiTopic::kNone);
  return c == u'$' || c == u'\u00a5' || c == u'\u20ac' || c == u'\u00a3';
}

bool pii_joined_right(const PiiText& text, size_t end) {
  if (text.digit(end)) return true;
  const char16_t c = text[end];
  if (c == u'.' || c == u',') return text.digit(end + 1) && (c == u'.' || text.digit(end + 2));
  return (c == u'-' || c == u'_') && text.alnum(end + 1);
}

PiiCounts& PiiCounts::operator+=(const PiiCounts& other) {
  for (size_t i = 0; i < kPiiKinds; ++i) of[i] += other.of[i];
  return *this;
}

int64_t PiiCounts::total() const { return std::accumulate(of.begin(), of.end(), int64_t{0}); }

std::vector<PiiSpan> find_pii(std::string_view text) {
  const PiiText units(text);
  PiiFindings findings;
  scan(units, findings);
  std::vector<PiiSpan> spans;
  spans.reserve(findings.found.size());
  for (PiiCandidate& c : findings.found)
    spans.push_back({c.kind, units.byte(c.begin), units.byte_end(c.end), c.score, std::move(c.value)});
  return spans;
}

std::string replace_pii(std::string_view text, std::string_view tenant, std::string_view key,
                        PiiCounts& counts) {
  std::string current(text);
  // A surrogate is never found; what once stood beside it may be, without it: then it is replaced, too.
  constexpr int kRounds = 8;
  for (int round = 0; round <= kRounds; ++round) {
    const PiiText units(current);
    PiiFindings findings;
    scan(units, findings);
    if (findings.found.empty()) break;
    std::string out;
    size_t done = 0;
    for (const PiiCandidate& c : findings.found) {
      const size_t begin = units.byte(c.begin), end = units.byte_end(c.end);
      out.append(current, done, begin - done);
      done = end;
      ++counts[c.kind];
      out.append(round < kRounds ? pii_surrogate(units, c, tenant, key) : std::string(c.end - c.begin, '*'));
    }
    out.append(current, done);
    current = std::move(out);
  }
  return current;
}

}  // namespace decant
