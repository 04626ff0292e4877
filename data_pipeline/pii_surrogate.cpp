// Surrogates: typed, of the shape of what they stand for, made from an HMAC of the value, and of ranges that
// belong to no one.
#include <array>

#include "core/hash.h"
#include "data_pipeline/pii_finders.h"

namespace decant {

namespace {

// Digits and letters drawn from HMAC-SHA-256(key, tenant \0 kind \0 value).
class Draw {
 public:
  Draw(std::string_view tenant, std::string_view key, std::string_view kind, std::string_view value)
      : key_(key), message_(tenant) {
    message_.append(1, '\0').append(kind).append(1, '\0').append(value);
    bytes_ = hmac_sha256(key_, message_);
  }

  // Decimal digits of the first eight bytes, lowest first; of the next eight, when those are used up.
  char digit() {
    if (left_ == 0) {
      bits_ = 0;
      for (int i = 0; i < 8; ++i) bits_ = bits_ << 8 | byte();
      left_ = 18;
    }
    --left_;
    const char c = static_cast<char>('0' + bits_ % 10);
    bits_ /= 10;
    return c;
  }
  char letter() { return static_cast<char>('a' + byte() % 16); }  // a .. p: no digits, so no numbers
  uint8_t byte() {
    if (next_ == bytes_.size()) {
      message_.append(1, '\1');
      bytes_ = hmac_sha256(key_, message_);
      next_ = 0;
    }
    return bytes_[next_++];
  }
  std::string letters(size_t n) {
    std::string s;
    while (s.size() < n) s.push_back(letter());
    return s;
  }

 private:
  std::string_view key_;
  std::string message_;
  std::array<uint8_t, 32> bytes_{};
  size_t next_ = 0;
  uint64_t bits_ = 0;
  int left_ = 0;
};

void put_utf8(std::string& out, char16_t unit) {
  const unsigned code = unit;
  if (code < 0x80) {
    out.push_back(static_cast<char>(code));
    return;
  }
  out.push_back(static_cast<char>(0xe0u | code >> 12));
  out.push_back(static_cast<char>(0x80u | (code >> 6 & 0x3fu)));
  out.push_back(static_cast<char>(0x80u | (code & 0x3fu)));
}

bool full_width(const PiiText& text, size_t i) {
  return text.byte_end(i + 1) - text.byte(i) == 3 && text[i] < 0x80;
}

void put_like(std::string& out, const PiiText& text, size_t i, char c) {
  if (text.letter(i) && !text.upper(i) && c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  if (full_width(text, i))
    put_utf8(out, static_cast<char16_t>(0xff00 + (c - 0x20)));
  else
    out.push_back(c);
}

void put_source(std::string& out, const PiiText& text, size_t i) {
  out.append(text.bytes().substr(text.byte(i), text.byte_end(i + 1) - text.byte(i)));
}

// `head`, then digits for digits and X for letters; all else as it was.
std::string code_like(const PiiText& text, const PiiCandidate& c, std::string_view head, Draw& draw) {
  std::string out;
  size_t n = 0;
  for (size_t i = c.begin; i < c.end; ++i) {
    if (!text.alnum(i)) {
      put_source(out, text, i);
      continue;
    }
    const char fresh = n < head.size() ? head[n] : text.digit(i) ? draw.digit() : 'X';
    ++n;
    put_like(out, text, i, fresh);
  }
  return out;
}

std::string id_card(const PiiText& text, const PiiCandidate& c, Draw& draw) {
  std::string digits = "99";
  const size_t length = c.value.size();
  while (digits.size() < (length == 18 ? 17 : length)) digits.push_back(draw.digit());
  if (length == 18) {
    const char right = pii_id_check(digits), last = draw.digit();
    digits.push_back(last != right ? last : last == '9' ? '0' : static_cast<char>(last + 1));
  }
  return code_like(text, c, digits, draw);
}

std::string_view head_of(std::string_view value) {  // reserved forms of find_codes
  const bool first = value[0] > '9', second = value.size() > 1 && value[1] > '9';
  return !first ? "000" : second ? "XX0" : "X00";
}

std::string birth_date(const PiiText& text, const PiiCandidate& c, Draw& draw) {
  static constexpr std::u16string_view spelled = u"〇零一二三四五六七八九十廿卅○正腊初";
  std::string out;
  for (size_t i = c.begin; i < c.end;) {
    size_t k = i;
    while (k < c.end && text.digit(k)) ++k;
    const size_t n = k - i;
    if (n == 0) {
      if (spelled.find(text[i]) != std::u16string_view::npos)
        put_utf8(out, u'某');
      else
        put_source(out, text, i);
      ++i;
      continue;
    }
    // A year before 1800 with month and day 0
    for (size_t d = 0; d < n; ++d)
      put_like(out, text, i + d,
               n < 4 || d >= 4 ? '0'
               : d == 0        ? '1'
               : d == 1        ? static_cast<char>('0' + (draw.digit() - '0') % 8)
                               : draw.digit());
    i = k;
  }
  return out;
}

void put_word(std::string& out, const PiiText& text, size_t begin, size_t end, std::string_view tenant,
              std::string_view key) {
  Draw draw(tenant, key, "name", text.ascii(begin, end));
  static constexpr std::array<char, 16> consonants = {'b', 'd', 'f', 'g', 'k', 'l', 'm', 'n',
                                                      'p', 'r', 's', 't', 'v', 'z', 'h', 'j'};
  static constexpr std::array<char, 4> vowels = {'a', 'e', 'i', 'o'};
  std::string word = "qux";
  for (int syllable = 0; syllable < 3; ++syllable) {
    word.push_back(vowels[draw.byte() % 4]);
    word.push_back(consonants[draw.byte() % 16]);
  }
  for (size_t i = 0; i < word.size(); ++i) {
    const bool all = text.upper(begin) && begin + 1 < end && text.upper(begin + 1);
    const bool upper = all || (i == 0 && text.upper(begin));
    out.push_back(upper ? static_cast<char>(word[i] - 32) : word[i]);
  }
}

std::string name(const PiiText& text, const PiiCandidate& c, std::string_view tenant, std::string_view key) {
  std::string out;
  if (text.han(c.begin)) {
    static constexpr std::u16string_view more =
        u"槐榆枫杉樟桦椿榛橘柚杏桃梨莓葵蕉芋藕菱荷萝蕨苔藓蒿荻芡莼蓟蓼荠茴砚笺篆瓷釉琉璃珐琅玛瑙玺瑚珀鹭鹤鹊"
        u"鸥"
        u"雁鹂鹃莺雀鸢隼鹞鹳鹬鸽";
    Draw draw(tenant, key, "name", c.value);
    put_utf8(out, u'某');
    for (size_t i = c.begin + 1; i < c.end; ++i) {
      if (text.han(i))
        put_utf8(out, more[draw.byte() % more.size()]);
      else
        put_source(out, text, i);
    }
    return out;
  }
  // Word by word, so that "Ann Lee" and "Ms Lee" share Lee.
  for (size_t i = c.begin; i < c.end;) {
    size_t k = i;
    while (k < c.end && !text.space(k)) ++k;
    if (k == i)
      put_source(out, text, i++);
    else
      put_word(out, text, i, k, tenant, key);
    i = std::max(i, k);
  }
  return out;
}

std::string address(const PiiText& text, const PiiCandidate& c, Draw& draw, std::string_view tenant,
                    std::string_view key) {
  static constexpr std::u16string_view kept =
      u"省市区區县縣镇鎮乡鄉村路街道巷弄号號栋棟幢座楼樓层層室房户门组期段";
  std::string out;
  bool chinese = false;
  for (size_t i = c.begin; i < c.end; ++i) chinese = chinese || text.han(i);
  bool named = false, first = true;
  for (size_t i = c.begin; i < c.end;) {
    if (text.han(i)) {
      const bool keep = named && kept.find(text[i]) != std::u16string_view::npos;
      if (keep) {
        put_source(out, text, i);
        // 100号3栋: the number before is name enough
        named = i + 1 < c.end && kept.find(text[i + 1]) != std::u16string_view::npos && !text.han(i + 2);
      } else {
        put_utf8(out, u'某');
        named = true;
      }
      first = false;
      ++i;
    } else if (text.digit(i)) {
      for (bool lead = !chinese && first; i < c.end && text.digit(i); ++i, lead = false)
        put_like(out, text, i, lead ? '0' : draw.digit());
      named = true;
      first = false;
    } else if (!chinese && text.letter(i)) {
      size_t k = i;
      while (k < c.end && text.letter(k)) ++k;
      if (k - i >= 3 && !pii_street_word(text.units(i, k)))
        put_word(out, text, i, k, tenant, key);
      else
        while (i < k) put_source(out, text, i++);
      i = k;
    } else {
      put_source(out, text, i++);
    }
  }
  return out;
}

}  // namespace

std::string pii_surrogate(const PiiText& text, const PiiCandidate& c, std::string_view tenant,
                          std::string_view key) {
  // A social-security number that is an identity number is that person's.
  const bool citizen = c.kind == PiiKind::kSocialSecurity && c.value.size() == 18;
  Draw draw(tenant, key, citizen ? "id_card" : pii_kind_name(c.kind), c.value);
  switch (c.kind) {
    case PiiKind::kEmail:
      return "user-" + draw.letters(10) + "@example.invalid";
    case PiiKind::kMobile:
      return code_like(text, c, "12", draw);
    case PiiKind::kPhone:
      if (text[c.begin] == u'+') return code_like(text, c, "999", draw);
      return code_like(text, c, text.starts(c.begin, u"00") && c.value[0] != '0' ? "00999" : "000", draw);
    case PiiKind::kIdCard:
      return id_card(text, c, draw);
    case PiiKind::kSocialSecurity:
      return citizen ? id_card(text, c, draw) : code_like(text, c, head_of(c.value), draw);
    case PiiKind::kPassport:
    case PiiKind::kPermit:
      return code_like(text, c, head_of(c.value), draw);
    case PiiKind::kLandline:
    case PiiKind::kBankCard:
    case PiiKind::kImei:
    case PiiKind::kQq:
    case PiiKind::kMilitaryId:
    case PiiKind::kCreditCode:
      return code_like(text, c, "000", draw);
    case PiiKind::kPlate: {
      const std::string plate =
          code_like(text, c, text.han(c.begin) && text.digit(c.begin + 1) ? "000" : "X00", draw);
      return "某" + plate.substr(text.byte_end(c.begin + 1) - text.byte(c.begin));
    }
    case PiiKind::kIban:
      return code_like(text, c, "XX00", draw);
    case PiiKind::kWechat:
      return "user-" + draw.letters(16);
    case PiiKind::kSecret:
      return "secret-" + draw.letters(16);
    case PiiKind::kMac: {
      std::string hex = "FF00";
      while (hex.size() < 12) hex.push_back("0123456789ABCDEF"[draw.byte() % 16]);
      std::string out;
      bool upper = false;
      for (size_t i = c.begin; i < c.end; ++i) upper = upper || text.upper(i);
      size_t n = 0;
      for (size_t i = c.begin; i < c.end; ++i) {
        if (!text.alnum(i)) {
          put_source(out, text, i);
        } else {
          const char h = hex[n++];
          out.push_back(!upper && h >= 'A' ? static_cast<char>(h + 32) : h);
        }
      }
      return out;
    }
    case PiiKind::kIp: {
      if (c.value.find(':') == std::string::npos) {  // reserved (RFC 1112)
        std::string out = std::to_string(240 + draw.byte() % 15);
        for (int i = 0; i < 3; ++i) out += "." + std::to_string(draw.byte());
        return out;
      }
      std::string out = "3fff";  // documentation (RFC 9637)
      for (int group = 0; group < 4; ++group) {
        out += group == 0 ? ":0" : ":f";
        for (int i = 0; i < 3; ++i) out.push_back("0123456789abcdef"[draw.byte() % 16]);
      }
      return out + "::" + std::string(1, static_cast<char>('a' + draw.byte() % 6));
    }
    case PiiKind::kBirthDate:
      return birth_date(text, c, draw);
    case PiiKind::kAddress:
      return address(text, c, draw, tenant, key);
    case PiiKind::kName:
      return name(text, c, tenant, key);
  }
  return {};
}

}  // namespace decant
