#include "data_pipeline/clean_text.h"

#include <cstdint>

#include "core/error.h"
#include "data_pipeline/pinned_unicode.h"
#include "data_pipeline/unicode.h"

namespace decant {

namespace {

constexpr size_t kBlock = 32;

constexpr bool plain_ascii(unsigned char c) { return (c >= 0x20 && c < 0x7f) || c == '\n' || c == '\t'; }

bool plain_block(const char* p) {
  uint8_t bad = 0;
  for (size_t i = 0; i < kBlock; ++i) {  // no branch: the compiler makes vectors of it
    const auto c = static_cast<uint8_t>(p[i]);
    bad |= static_cast<uint8_t>((static_cast<uint8_t>(c - 0x20) >= 0x5f) & (c != '\n') & (c != '\t'));
  }
  return bad == 0;
}

bool is_mark(uint32_t c) {  // zero-width, soft and direction marks
  return c == 0x200b || c == 0x2060 || c == 0x00ad || c == 0x200e || c == 0x200f ||
         (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}
bool is_control(uint32_t c) {
  return (c < 0x20 && c != '\n' && c != '\t') || (c >= 0x7f && c <= 0x9f) || c == 0xfeff;
}
bool is_line_end(uint32_t c) { return c == '\r' || c == 0x85 || c == 0x2028 || c == 0x2029; }
bool is_joiner(uint32_t c) { return c == 0x200c || c == 0x200d; }
bool is_space(uint32_t c) { return (character_classes()[c] & kSpace) != 0; }

// How much work a character is: none, a rule of its own, or NFC.
enum class Work { kNone, kRule, kForm };
Work work_of(uint32_t c) {
  if (is_control(c) || is_mark(c) || is_line_end(c) || is_joiner(c)) return Work::kRule;
  return nfc_stable(c) ? Work::kNone : Work::kForm;
}

uint32_t code_point_at(std::string_view text, size_t at) {
  const char* p = text.data() + at;
  return next_code_point(p);
}

struct Unit {
  size_t length;
  uint32_t code_point;  // U+FFFD when ill-formed
  bool well_formed;
};
Unit unit_at(std::string_view text, size_t at) {
  const auto* p = reinterpret_cast<const unsigned char*>(text.data()) + at;
  const int length = utf8_sequence(p, p + (text.size() - at));
  if (length < 0) return {static_cast<size_t>(-length), 0xfffd, false};
  return {static_cast<size_t>(length), code_point_at(text, at), true};
}

// The rules but NFC on a piece. `after` is the character that follows it, 0 at the end of the text.
void apply_rules(std::string_view piece, uint32_t after, Invisible invisible, size_t offset,
                 MappedText& out) {
  const auto removed = [&](uint32_t c) {
    return is_control(c) || (invisible == Invisible::kRemove && is_mark(c));
  };
  const auto next_kept = [&](size_t at) {
    while (at < piece.size()) {
      const Unit unit = unit_at(piece, at);
      if (is_line_end(unit.code_point)) return uint32_t{'\n'};
      if (!removed(unit.code_point)) return unit.code_point;
      at += unit.length;
    }
    return after;
  };
  uint32_t before = 0;  // the last character that was kept
  for (size_t at = 0; at < piece.size();) {
    const Unit unit = unit_at(piece, at);
    const uint32_t c = unit.code_point;
    const size_t begin = at;
    at += unit.length;
    if (is_line_end(c)) {
      const uint32_t next = at < piece.size() ? unit_at(piece, at).code_point : after;
      if (c == '\r' && next == '\n') continue;
      out.replace(offset + begin, unit.length, "\n");
      before = '\n';
      continue;
    }
    if (removed(c)) continue;
    if (is_joiner(c)) {
      // A joiner that joins nothing that needs joining; a run of joiners shrinks to one.
      const uint32_t next = next_kept(at);
      if (before < 0x80 || next < 0x80 || is_joiner(next) || is_space(before) || is_space(next)) continue;
    }
    if (unit.well_formed) {
      out.text.append(piece, begin, unit.length);
      out.map.copy(offset + begin, unit.length);
    } else {
      out.replace(offset + begin, unit.length, "\xef\xbf\xbd");
    }
    before = c;
  }
}

void repair(std::string_view piece, MappedText& out) {
  for (size_t at = 0; at < piece.size();) {
    const size_t good = valid_utf8_prefix(piece.substr(at));
    out.copy(piece, at, good);
    at += good;
    if (at == piece.size()) break;
    const Unit unit = unit_at(piece, at);
    out.replace(at, unit.length, "\xef\xbf\xbd");
    at += unit.length;
  }
}

// A piece with characters that NFC may change: NFC first, since its singletons (U+212A to K) would otherwise
// put ASCII beside a joiner that was kept, and once more for what comes together when a mark between is gone.
void clean_form(std::string_view piece, uint32_t after, Invisible invisible, size_t offset, MappedText& out) {
  MappedText repaired, composed, ruled, result;
  repair(piece, repaired);
  append_normal_form(repaired.text, PinnedForm::kNFC, 0, composed);
  apply_rules(composed.text, after, invisible, 0, ruled);
  append_normal_form(ruled.text, PinnedForm::kNFC, 0, result);
  result.map = compose(compose(compose(repaired.map, composed.map), ruled.map), result.map);
  out.append(result, offset);
}

void trim(MappedText& out) {
  const std::string_view kept = trim_spaces(out.text);
  if (kept.size() == out.text.size()) return;
  const auto begin = static_cast<size_t>(kept.data() - out.text.data());
  SourceMap cut;
  cut.copy(begin, kept.size());
  out.map = compose(out.map, cut);
  out.text = std::string(kept);
}

}  // namespace

size_t clean_prefix(std::string_view text) {
  const char *begin = text.data(), *end = begin + text.size(), *p = begin;
  while (p < end) {
    const auto byte = [&](int i) { return static_cast<unsigned char>(p[i]); };
    const unsigned char lead = byte(0);
    if (lead < 0x80) {
      if (static_cast<size_t>(end - p) >= kBlock && plain_block(p)) {
        p += kBlock;
      } else if (plain_ascii(lead)) {
        // what stopped a block lies within it: letter by letter up to there
        const char* stop = static_cast<size_t>(end - p) >= kBlock ? p + kBlock : end;
        do ++p;
        while (p < stop && plain_ascii(static_cast<unsigned char>(*p)));
      } else {
        break;
      }
      continue;
    }
    const bool three = end - p >= 3 && (byte(1) & 0xC0) == 0x80 && (byte(2) & 0xC0) == 0x80;
    // Han of U+4000-9FFF; U+3000-3029 and U+FF00-FF7F: the punctuation between.
    if (three && ((lead >= 0xE4 && lead <= 0xE9) || (lead == 0xE3 && byte(1) == 0x80 && byte(2) < 0xAA) ||
                  (lead == 0xEF && (byte(1) == 0xBC || byte(1) == 0xBD)))) {
      p += 3;
      continue;
    }
    const Unit unit = unit_at({p, static_cast<size_t>(end - p)}, 0);
    if (!unit.well_formed || work_of(unit.code_point) != Work::kNone) break;
    p += unit.length;
  }
  return static_cast<size_t>(p - begin);
}

std::string_view trim_spaces(std::string_view text) {
  const char *begin = text.data(), *end = begin + text.size();
  while (begin < end) {
    const char* next = begin;
    if (!is_space(next_code_point(next))) break;
    begin = next;
  }
  while (end > begin) {
    const char* last = previous_code_point(end);
    const char* p = last;
    if (!is_space(next_code_point(p))) break;
    end = last;
  }
  return {begin, static_cast<size_t>(end - begin)};
}

void clean_text(std::string_view text, Invisible invisible, MappedText& out) {
  check(text.size() < (1u << 30), "a text of ", text.size(), " bytes is too long to normalise");
  const auto clean_at = [&](size_t at) {
    const Unit unit = unit_at(text, at);
    return unit.well_formed && work_of(unit.code_point) == Work::kNone;
  };
  for (size_t at = 0; at < text.size();) {
    const size_t clean = clean_prefix(text.substr(at));
    size_t begin = at + clean;
    if (begin == text.size()) {
      out.copy(text, at, clean);
      break;
    }
    // A piece: from the clean character before the first that is not, to a clean one that another clean one
    // (or the end) follows. So neither NFC nor the joiners' neighbours reach across its ends.
    size_t end = begin;
    bool form = false;
    if (clean > 0) begin = static_cast<size_t>(previous_code_point(text.data() + begin) - text.data());
    out.copy(text, at, begin - at);
    while (end < text.size()) {
      const Unit unit = unit_at(text, end);
      const Work work = unit.well_formed ? work_of(unit.code_point) : Work::kRule;
      const size_t next = end + unit.length;
      if (work == Work::kNone && (next == text.size() || clean_at(next))) break;
      form = form || work == Work::kForm;
      end = next;
    }
    const std::string_view piece = text.substr(begin, end - begin);
    const uint32_t after = end < text.size() ? code_point_at(text, end) : 0;
    if (form) {
      clean_form(piece, after, invisible, begin, out);
    } else {
      apply_rules(piece, after, invisible, begin, out);
    }
    at = end;
  }
  trim(out);
}

}  // namespace decant
