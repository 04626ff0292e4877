#include "data_pipeline/strip_symbols.h"

#include <unicode/uchar.h>

#include <algorithm>
#include <array>
#include <cstdint>

#include "data_pipeline/unicode.h"

namespace decant {

namespace {

constexpr uint32_t kEmojiSelector = 0xFE0F, kJoiner = 0x200D, kKeycap = 0x20E3;

bool is_tone(uint32_t c) { return c >= 0x1F3FB && c <= 0x1F3FF; }
bool is_flag_letter(uint32_t c) { return c >= 0x1F1E6 && c <= 0x1F1FF; }
bool is_tag(uint32_t c) { return c >= 0xE0020 && c <= 0xE007F; }

uint32_t code_point_at(std::string_view text, size_t at) {
  if (at >= text.size()) return 0;
  const char* p = text.data() + at;
  return next_code_point(p);
}

size_t length_of(uint32_t c) { return c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4; }

// Length of one pictograph with its tone and selector at `at`; 0 when there is none.
size_t pictograph(std::string_view text, size_t at) {
  const uint32_t c = code_point_at(text, at);
  if (c < 0x203C) return 0;  // (c) and (r) are text
  size_t end = at + length_of(c);
  const uint32_t next = code_point_at(text, end);
  const auto has = [&](UProperty property) {
    return u_hasBinaryProperty(static_cast<UChar32>(c), property) != 0;
  };
  const bool emoji = is_tone(c) || is_flag_letter(c) || has(UCHAR_EMOJI_PRESENTATION) ||
                     (c != 0x2122 && next == kEmojiSelector && has(UCHAR_EXTENDED_PICTOGRAPHIC)) ||
                     (c >= 0x1F000 && has(UCHAR_EXTENDED_PICTOGRAPHIC));
  if (!emoji) return 0;
  while (true) {
    const uint32_t follower = code_point_at(text, end);
    if (follower != kEmojiSelector && follower != kKeycap && !is_tone(follower) && !is_tag(follower)) break;
    end += length_of(follower);
  }
  return end - at;
}

size_t emoji_sequence(std::string_view text, size_t at) {
  size_t length = pictograph(text, at);
  if (length == 0) return 0;
  while (code_point_at(text, at + length) == kJoiner) {
    const size_t joined = pictograph(text, at + length + 3);
    length += 3 + joined;
    if (joined == 0) break;
  }
  return length;
}

// U+FE0F and U+20E3 after a digit, '#' or '*'.
size_t keycap(std::string_view text, size_t at) {
  if (at == 0) return 0;
  const char before = text[at - 1];
  if (!(before >= '0' && before <= '9') && before != '#' && before != '*') return 0;
  const uint32_t c = code_point_at(text, at);
  if (c == kKeycap) return 3;
  return c == kEmojiSelector ? (code_point_at(text, at + 3) == kKeycap ? 6 : 3) : 0;
}

}  // namespace

bool strip_emoji(std::string_view text, MappedText& out) {
  bool changed = false;
  size_t kept = 0;  // from where on is not yet copied
  for (size_t at = 0; at < text.size();) {
    const auto lead = static_cast<unsigned char>(text[at]);
    if (lead < 0xE2) {
      ++at;
      continue;
    }
    size_t length = keycap(text, at);
    if (length == 0) length = emoji_sequence(text, at);
    if (length > 0) {
      out.copy(text, kept, at - kept);
      kept = at + length;
      changed = true;
    }
    at += length > 0 ? length : length_of(code_point_at(text, at));
  }
  if (changed) out.copy(text, kept, text.size() - kept);
  return changed;
}

bool shorten_punctuation(std::string_view text, size_t most, MappedText& out) {
  static constexpr auto kWide =
      std::to_array<uint32_t>({0xFF01, 0xFF1F, 0x3002, 0xFF0C, 0x3001, 0xFF5E, 0xFF1B, 0x2026});
  bool changed = false;
  size_t kept = 0, run = 0;
  uint32_t last = 0;
  for (size_t at = 0; at < text.size();) {
    const uint32_t c = code_point_at(text, at);
    const size_t length = length_of(c);
    const bool mark = c < 0x80
                          ? std::string_view("!?.,~;").find(static_cast<char>(c)) != std::string_view::npos
                          : std::find(kWide.begin(), kWide.end(), c) != kWide.end();
    run = mark && c == last ? run + 1 : 1;
    last = c;
    if (mark && run > most) {
      out.copy(text, kept, at - kept);
      kept = at + length;
      changed = true;
    }
    at += length;
  }
  if (changed) out.copy(text, kept, text.size() - kept);
  return changed;
}

}  // namespace decant
