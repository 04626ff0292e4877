#include "data_pipeline/pii_text.h"

#include <algorithm>
#include <limits>

#include "core/error.h"

namespace decant {

namespace {

constexpr char16_t kSkipped = 0xffff, kOther = 0xfffe;

bool invisible(unsigned code) {
  return code == 0xad || (code >= 0x200b && code <= 0x200f) || (code >= 0x202a && code <= 0x202e) ||
         (code >= 0x2060 && code <= 0x2069) || code == 0xfeff || (code >= 0xfe00 && code <= 0xfe0f);
}

char16_t folded(unsigned code) {
  if (code >= 0x4e00 && code <= 0x9fff) return static_cast<char16_t>(code);
  if (code >= 0xff01 && code <= 0xff5e) code -= 0xff01 - 0x21;
  if (code >= 'A' && code <= 'Z') return static_cast<char16_t>(code + 32);
  if (invisible(code)) return kSkipped;
  if (code == '\t' || code == 0x3000 || code == 0xa0 || (code >= 0x2000 && code <= 0x200a) ||
      code == 0x202f || code == 0x205f)
    return u' ';
  if ((code >= 0x2010 && code <= 0x2015) || code == 0x2212 || code == 0xfe63) return u'-';
  if (code == 0x2022 || code == 0x2027 || code == 0x30fb || code == 0x22c5) return u'\u00b7';
  if (code == 0xffe5) return u'\u00a5';
  if (code == 0x2236 || code == 0xfe55) return u':';
  if (code == 0xfe6b) return u'@';
  return code < 0xfffe ? static_cast<char16_t>(code) : kOther;
}

}  // namespace

PiiText::PiiText(std::string_view bytes) : bytes_(bytes) {
  check(bytes.size() < std::numeric_limits<uint32_t>::max(), "PII: a text of ", bytes.size(),
        " bytes; at most 4 GiB are looked through at once");
  units_.resize(bytes.size() + 1);
  starts_.resize(bytes.size() + 1);
  char16_t* units = units_.data();
  uint32_t* starts = starts_.data();
  size_t n = 0;
  const auto* p = reinterpret_cast<const unsigned char*>(bytes.data());
  for (size_t i = 0; i < bytes.size();) {
    if (i + 16 <= bytes.size()) {  // sixteen ASCII characters at once
      unsigned high = 0;
      for (size_t k = 0; k < 16; ++k) high |= p[i + k];
      if (high < 0x80) {
        for (size_t k = 0; k < 16; ++k) {
          const unsigned c = p[i + k];
          units[n + k] = static_cast<char16_t>(c - 'A' < 26u ? c + 32 : c == '\t' ? ' ' : c);
          starts[n + k] = static_cast<uint32_t>(i + k);
        }
        n += 16;
        i += 16;
        continue;
      }
    }
    const unsigned first = p[i];
    starts[n] = static_cast<uint32_t>(i);
    if (first < 0x80) {
      units[n++] = folded(first);
      ++i;
      continue;
    }
    if (first >= 0xe0 && first < 0xf0 && i + 2 < bytes.size() && (p[i + 1] & 0xc0u) == 0x80 &&
        (p[i + 2] & 0xc0u) == 0x80) {
      const char16_t unit = folded((first & 0xfu) << 12 | (p[i + 1] & 0x3fu) << 6 | (p[i + 2] & 0x3fu));
      units[n] = unit;
      n += unit != kSkipped ? 1 : 0;
      i += 3;
      continue;
    }
    size_t length = 1;
    while (length < 4 && i + length < bytes.size() && (p[i + length] & 0xc0u) == 0x80) ++length;
    const char16_t unit = length == 2 && first >= 0xc2 && first < 0xe0
                              ? folded((first & 0x1fu) << 6 | (p[i + 1] & 0x3fu))
                              : kOther;
    units[n] = unit;
    n += unit != kSkipped ? 1 : 0;
    i += length;
  }
  starts[n] = static_cast<uint32_t>(bytes.size());
  units[n] = 0;
  size_ = n;
}

size_t PiiText::byte_end(size_t i) const {
  if (i == 0) return 0;
  size_t end = starts_[i - 1] + 1;
  while (end < bytes_.size() && (static_cast<unsigned char>(bytes_[end]) & 0xc0u) == 0x80) ++end;
  return std::min(end, static_cast<size_t>(starts_[i]));
}

bool PiiText::upper(size_t i) const {
  if (!letter(i)) return false;
  const auto* p = reinterpret_cast<const unsigned char*>(bytes_.data()) + starts_[i];
  return *p < 0x80 ? *p < 'a' : p[1] == 0xbc;  // full-width A is U+FF21, a is U+FF41
}

std::string PiiText::ascii(size_t begin, size_t end) const {
  std::string out;
  for (size_t i = begin; i < end; ++i) {
    const unsigned code = (*this)[i];
    if (code < 0x80) {
      out.push_back(static_cast<char>(code));
    } else if (code < 0x800) {
      out.push_back(static_cast<char>(0xc0u | code >> 6));
      out.push_back(static_cast<char>(0x80u | (code & 0x3fu)));
    } else {
      out.push_back(static_cast<char>(0xe0u | code >> 12));
      out.push_back(static_cast<char>(0x80u | (code >> 6 & 0x3fu)));
      out.push_back(static_cast<char>(0x80u | (code & 0x3fu)));
    }
  }
  return out;
}

}  // namespace decant
