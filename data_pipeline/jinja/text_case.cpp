#include "data_pipeline/jinja/text_case.h"

#include <unicode/uchar.h>
#include <unicode/ustring.h>

#include "data_pipeline/unicode.h"

namespace decant::jinja {

namespace {

enum class One : uint8_t { kUpper, kLower, kTitle, kFold };

// The full mapping of one code point, as UTF-8.
void append_mapped(std::string& out, uint32_t c, One map) {
  if (c < 0x80) {
    const auto ch = static_cast<char>(c);
    const bool lower = ch >= 'a' && ch <= 'z', upper = ch >= 'A' && ch <= 'Z';
    const bool to_upper = map == One::kUpper || map == One::kTitle;
    out += static_cast<char>(lower && to_upper ? ch - 32 : upper && !to_upper ? ch + 32 : ch);
    return;
  }
  UChar source[2];
  int32_t n = 0;
  U16_APPEND_UNSAFE(source, n, c);
  UChar target[16];
  UErrorCode status = U_ZERO_ERROR;
  const int32_t size = map == One::kUpper   ? u_strToUpper(target, 16, source, n, "", &status)
                       : map == One::kLower ? u_strToLower(target, 16, source, n, "", &status)
                       : map == One::kFold
                           ? u_strFoldCase(target, 16, source, n, U_FOLD_CASE_DEFAULT, &status)
                           : u_strToTitle(target, 16, source, n, nullptr, "", &status);
  if (U_FAILURE(status)) {
    append_utf8(out, c);
    return;
  }
  for (int32_t i = 0; i < size;) {
    UChar32 mapped = 0;
    U16_NEXT(target, i, size, mapped);
    append_utf8(out, static_cast<uint32_t>(mapped));
  }
}

bool cased(uint32_t c) { return u_hasBinaryProperty(static_cast<UChar32>(c), UCHAR_CASED) != 0; }
bool ignorable(uint32_t c) { return u_hasBinaryProperty(static_cast<UChar32>(c), UCHAR_CASE_IGNORABLE) != 0; }

// A capital sigma at the end of a word becomes a final one.
bool final_sigma(std::string_view all, size_t begin, size_t end) {
  const char* p = all.data() + begin;
  bool before = false;
  while (p > all.data()) {
    p = previous_code_point(p);
    const char* q = p;
    const uint32_t c = next_code_point(q);
    if (ignorable(c)) continue;
    before = cased(c);
    break;
  }
  if (!before) return false;
  for (const char *q = all.data() + end, *stop = all.data() + all.size(); q < stop;) {
    const uint32_t c = next_code_point(q);
    if (ignorable(c)) continue;
    return !cased(c);
  }
  return true;
}

}  // namespace

void map_case(State& state, TextBuilder& out, const Str& s, size_t begin, size_t end, CaseMap map) {
  const std::string_view all = flat(state.arena, s);
  state.work(4 * (end - begin));
  bool after_cased = false, first = true;
  size_t at = 0;
  std::string mapped;
  for (uint32_t i = 0; i < s.count; ++i) {
    const Piece& piece = s.pieces[i];
    const size_t from = std::max(begin, at), to = std::min(end, at + piece.size);
    mapped.clear();
    for (size_t k = from; k < to;) {
      const char* p = all.data() + k;
      const uint32_t c = next_code_point(p);
      const auto next = static_cast<size_t>(p - all.data());
      One one = One::kLower;
      switch (map) {
        case CaseMap::kUpper:
          one = One::kUpper;
          break;
        case CaseMap::kLower:
          break;
        case CaseMap::kFold:
          one = One::kFold;
          break;
        case CaseMap::kTitle:
          one = after_cased ? One::kLower : One::kTitle;
          after_cased = c < 0x80 ? ((c | 32) >= 'a' && (c | 32) <= 'z') : cased(c);
          break;
        case CaseMap::kCapitalize:
          one = first ? One::kTitle : One::kLower;
          break;
        case CaseMap::kSwap:
          one = u_isUUppercase(static_cast<UChar32>(c)) != 0 ? One::kLower : One::kUpper;
          if (u_isULowercase(static_cast<UChar32>(c)) == 0 && one == One::kUpper) one = One::kFold;
          break;
      }
      first = false;
      if (map == CaseMap::kSwap && one == One::kFold)
        append_utf8(mapped, c);
      else if (one == One::kLower && c == 0x3A3 && final_sigma(all, k, next))
        append_utf8(mapped, 0x3C2);
      else
        append_mapped(mapped, c, one);
      k = next;
    }
    if (!mapped.empty())
      out.add(mapped, piece.source);
    else if (from <= to && piece.size == 0)
      out.add(piece);
    at += piece.size;
  }
}

const Str* map_case(State& state, const Str& s, CaseMap map) {
  TextBuilder out(state.arena);
  map_case(state, out, s, 0, s.bytes, map);
  return out.finish(s.markup);
}

}  // namespace decant::jinja
