#include "data_pipeline/matching_tokens.h"

#include <unicode/uchar.h>

#include <array>
#include <cstring>

#include "core/error.h"
#include "core/hash.h"
#include "data_pipeline/pinned_unicode.h"
#include "data_pipeline/unicode.h"

namespace decant {

namespace {

constexpr std::array<const char*, 10> kHanDigits = {"〇", "一", "二", "三", "四",
                                                    "五", "六", "七", "八", "九"};

// Character by character: the financial or traditional form, and the plain one.
constexpr std::u32string_view kDigitForms =
    U"零〇○〇壹一弌一贰二貳二弍二叁三參三弎三肆四伍五陆六陸六柒七捌八玖九拾十佰百仟千萬万億亿";

// The plain form of Han digits, for the 0x4E00..0x9FFF block; others as they are.
uint32_t plain_han(uint32_t c) {
  static const std::vector<uint16_t> table = [] {
    std::vector<uint16_t> plain(0x5200);
    for (uint32_t i = 0; i < plain.size(); ++i) plain[i] = static_cast<uint16_t>(0x4E00 + i);
    for (size_t i = 0; i < kDigitForms.size(); i += 2)
      if (kDigitForms[i] >= 0x4E00 && kDigitForms[i] < 0xA000)
        plain[kDigitForms[i] - 0x4E00] = static_cast<uint16_t>(kDigitForms[i + 1]);
    return plain;
  }();
  if (c >= 0x4E00 && c < 0xA000) return table[c - 0x4E00];
  return c == 0x25CB ? 0x3007 : c;
}

bool is_unspaced(uint32_t c) {
  if (c < 0x0E00) return false;
  return c < 0x0F00 || (c >= 0x1000 && c < 0x10A0) || (c >= 0x1780 && c < 0x1800) || c == 0x25CB ||
         (c >= 0x3005 && c <= 0x3007) || (c >= 0x3040 && c < 0x3130) || (c >= 0x31A0 && c < 0x31C0) ||
         (c >= 0x31F0 && c < 0x3200) || (c >= 0x3400 && c < 0x4DC0) || (c >= 0x4E00 && c < 0xA000) ||
         (c >= 0xF900 && c < 0xFB00) || (c >= 0x20000 && c < 0x323B0);
}

uint64_t token_hash(std::string_view key) {
  if (key.size() > 8) return xxh3_64(key);
  uint64_t h = 0;
  std::memcpy(&h, key.data(), key.size());
  h = (h ^ (key.size() << 56)) * 0x9E3779B97F4A7C15ull;
  h = (h ^ (h >> 32)) * 0xD6E8FEB86659FD93ull;
  return h ^ (h >> 32);
}

constexpr char kSeparator = 0, kApostrophe = 1;
// Of an ASCII character: itself in lower case when it is part of a word.
constexpr std::array<char, 128> kAscii = [] {
  std::array<char, 128> table{};
  for (int c = 0; c < 128; ++c) {
    const bool digit = c >= '0' && c <= '9', lower = c >= 'a' && c <= 'z', upper = c >= 'A' && c <= 'Z';
    table[static_cast<size_t>(c)] = static_cast<char>(upper ? c + 32 : digit || lower ? c : kSeparator);
  }
  table['\''] = kApostrophe;
  return table;
}();

class Reader {
 public:
  Reader(std::string_view text, MatchingTokens& out) : text_(text), out_(out) {
    out_.key.clear();
    out_.tokens.clear();
  }

  void run() {
    const auto* p = reinterpret_cast<const unsigned char*>(text_.data());
    const size_t size = text_.size();
    for (size_t at = 0; at < size;) {
      const unsigned char b = p[at];
      if (b < 0x80) {
        ascii(kAscii[b], at, at + 1);
        ++at;
        continue;
      }
      const size_t fast = fast_length(at);
      if (fast == 0) {
        at = slow_run(at);
        continue;
      }
      if (b >= 0xE4 && b <= 0xE9) {
        const uint32_t c = (b & 0x0Fu) << 12 | (p[at + 1] & 0x3Fu) << 6 | (p[at + 2] & 0x3Fu);
        if (c >= 0x4DC0 && c < 0x4E00) {
          close_word();
        } else {
          single(plain_han(c), at, at + 3);
        }
      } else if (b == 0xEF) {  // full-width ASCII, U+FF01..FF5E
        const uint32_t low = (p[at + 1] & 0x3Fu) << 6 | (p[at + 2] & 0x3Fu);
        ascii(kAscii[low - 0xF00 + 0x20], at, at + 3);
      } else if (b == 0xE2 && (p[at + 2] == 0x98 || p[at + 2] == 0x99)) {
        ascii(kApostrophe, at, at + 3);
      } else {
        close_word();
      }
      at += 3;
    }
    close_word();
  }

 private:
  // 3 for a character that needs no normaliser and never composes with what is before it; else 0.
  size_t fast_length(size_t at) const {
    if (text_.size() - at < 3) return 0;
    const auto* p = reinterpret_cast<const unsigned char*>(text_.data()) + at;
    if ((p[1] & 0xC0) != 0x80 || (p[2] & 0xC0) != 0x80) return 0;
    if (p[0] >= 0xE4 && p[0] <= 0xE9) return 3;
    if (p[0] == 0xEF) return (p[1] == 0xBC && p[2] >= 0x81) || (p[1] == 0xBD && p[2] <= 0x9E) ? 3 : 0;
    if (p[0] == 0xE3) return p[1] == 0x80 && (p[2] <= 0x84 || (p[2] >= 0x88 && p[2] <= 0xA0)) ? 3 : 0;
    if (p[0] == 0xE2) return p[1] == 0x80 && (p[2] <= 0x8A || (p[2] >= 0x90 && p[2] <= 0xA9)) ? 3 : 0;
    return 0;
  }

  void ascii(char c, size_t begin, size_t end) {
    if (c > kApostrophe) {
      word(c, begin, end);
    } else if (c == kApostrophe && open_ && end < text_.size()) {
      const auto next = static_cast<unsigned char>(text_[end]);
      if (next < 0x80 && kAscii[next] <= kApostrophe) close_word();
    } else {
      close_word();
    }
  }

  void open_word(size_t begin) {
    if (open_) return;
    open_ = true;
    begin_ = begin;
    key_begin_ = out_.key.size();
  }
  void word(char c, size_t begin, size_t end) {
    open_word(begin);
    out_.key += c;
    last_ascii_ = begin;
    before_last_end_ = end_;
    end_ = end;
  }
  void word(uint32_t c, size_t begin, size_t end) {
    open_word(begin);
    append_utf8(out_.key, c);
    last_ascii_ = kNone;
    end_ = std::max(open_ ? end_ : 0, end);
  }
  void single(uint32_t c, size_t begin, size_t end) {
    close_word();
    const size_t key_begin = out_.key.size();
    append_utf8(out_.key, c);
    push(begin, end, key_begin, true);
  }
  void close_word() {
    last_ascii_ = kNone;
    if (!open_) return;
    open_ = false;
    std::string& key = out_.key;
    if (key.size() == key_begin_) return;
    if (key.size() == key_begin_ + 1 && key.back() >= '0' && key.back() <= '9') {
      const char digit = key.back();
      key.pop_back();
      key += kHanDigits[static_cast<size_t>(digit - '0')];
    }
    push(begin_, end_, key_begin_, false);
  }
  void push(size_t begin, size_t end, size_t key_begin, bool single) {
    const std::string_view key = std::string_view(out_.key).substr(key_begin);
    out_.tokens.push_back({static_cast<uint32_t>(begin), static_cast<uint32_t>(end),
                           static_cast<uint32_t>(key_begin), static_cast<uint32_t>(out_.key.size()),
                           token_hash(key), single});
  }

  // Characters from `at` on that need the normaliser; returns where they end.
  size_t slow_run(size_t at) {
    const auto* bytes = reinterpret_cast<const unsigned char*>(text_.data());
    size_t end = at;
    while (end < text_.size() && bytes[end] >= 0x80 && (end == at || fast_length(end) == 0)) {
      const int length = utf8_sequence(bytes + end, bytes + text_.size());
      if (length < 0) break;
      end += static_cast<size_t>(length);
    }
    if (end == at) {  // ill-formed
      close_word();
      return at + static_cast<size_t>(-utf8_sequence(bytes + at, bytes + text_.size()));
    }
    size_t begin = at;
    const char* first = text_.data() + at;
    if (last_ascii_ != kNone && end_ == at && !nfc_stable(next_code_point(first))) {
      // The letter before composes with what follows: it is read once more.
      begin = last_ascii_;
      out_.key.pop_back();
      end_ = before_last_end_;
      if (out_.key.size() == key_begin_) open_ = false;
    }
    MappedText& folded = out_.scratch;
    folded.truncate(0);
    append_normal_form(text_.substr(begin, end - begin), PinnedForm::kNFKCCasefold, begin, folded);
    const uint8_t* classes = character_classes();
    for (const char *p = folded.text.data(), *stop = p + folded.text.size(); p < stop;) {
      const auto from = static_cast<size_t>(p - folded.text.data());
      const uint32_t c = next_code_point(p);
      const auto [source_begin, source_end] =
          folded.map.source_range(from, static_cast<size_t>(p - folded.text.data()));
      if ((classes[c] & (kLetter | kMark | kNumber)) == 0 && c != 0x25CB) {
        close_word();
      } else if (is_unspaced(c) && u_charDigitValue(static_cast<UChar32>(c)) < 0) {
        single(plain_han(c), source_begin, source_end);
      } else {
        const int32_t digit = c < 0x80 ? -1 : u_charDigitValue(static_cast<UChar32>(c));
        word(digit >= 0 ? static_cast<uint32_t>('0' + digit) : c, source_begin, source_end);
      }
    }
    return end;
  }

  static constexpr size_t kNone = std::string::npos;
  std::string_view text_;
  MatchingTokens& out_;
  bool open_ = false;
  size_t begin_ = 0, end_ = 0, key_begin_ = 0;  // of the open word
  size_t last_ascii_ = kNone;  // where its last character began, if that came without normaliser
  size_t before_last_end_ = 0;
};

}  // namespace

void matching_tokens(std::string_view text, MatchingTokens& out) {
  // One character may fold into eleven times its bytes, and keys are counted in 32 bits.
  check(text.size() <= (1u << 28), "a text of ", text.size(),
        " bytes is too long to be compared, at most 256 MiB");
  Reader(text, out).run();
}

}  // namespace decant
