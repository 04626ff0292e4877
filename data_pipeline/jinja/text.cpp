#include "data_pipeline/jinja/text.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "data_pipeline/unicode.h"

namespace decant::jinja {

void TextBuilder::grow() {
  const uint32_t room = room_ * 2;
  if (room > (1u << 28)) fail("a text has too many pieces");
  Piece* larger = arena_.array<Piece>(room);
  std::memcpy(static_cast<void*>(larger), pieces_, count_ * sizeof(Piece));
  pieces_ = larger;
  room_ = room;
}

void TextBuilder::add(std::string_view text, Source source) {
  if (text.empty()) return;
  if (text.size() >= UINT32_MAX) fail("a text is too long");
  if (text.size() > buffer_left_) {
    buffer_left_ = std::max<size_t>(text.size(), std::clamp<size_t>(bytes_, 64, size_t{1} << 16));
    buffer_ = arena_.text(buffer_left_);
  }
  std::memcpy(buffer_, text.data(), text.size());
  add(Piece{buffer_, static_cast<uint32_t>(text.size()), source});
  buffer_ += text.size();
  buffer_left_ -= text.size();
}

void TextBuilder::add(const Str& text, size_t begin, size_t end) {
  size_t at = 0;
  for (uint32_t i = 0; i < text.count; ++i) {
    const Piece& p = text.pieces[i];
    const size_t from = std::max(begin, at), to = std::min(end, at + p.size);
    // An empty range at a seam belongs to the piece it starts in.
    if (from < to || (begin == end && from == to && from >= at && from <= at + p.size)) {
      add(Piece{p.data + (from - at), static_cast<uint32_t>(to - from), p.source});
      if (begin == end) return;
    }
    at += p.size;
  }
}

const Str* TextBuilder::finish(bool markup) {
  if (bytes_ > (uint64_t{1} << 31)) fail("a text is too long");
  Str* s =
      arena_.make<Str>(nullptr, count_, 0u, bytes_, int64_t{-1}, nullptr, markup, Piece{"", 0, kTemplate});
  if (count_ == 1) {
    s->only = pieces_[0];
    s->pieces = &s->only;
  } else if (pieces_ == here_) {
    Piece* kept = arena_.array<Piece>(count_);
    std::memcpy(static_cast<void*>(kept), here_, count_ * sizeof(Piece));
    s->pieces = kept;
  } else {
    s->pieces = pieces_;
  }
  return s;
}

const Str* make_text(Arena& arena, std::string_view bytes, Source source) {
  if (bytes.size() > (uint64_t{1} << 31)) fail("a text is too long");
  Str* s = arena.make<Str>(nullptr, 1u, 0u, uint64_t{bytes.size()}, int64_t{-1}, bytes.data(), false,
                           Piece{bytes.data(), static_cast<uint32_t>(bytes.size()), source});
  s->pieces = &s->only;
  return s;
}

const Str* copy_text(Arena& arena, std::string_view bytes, Source source) {
  char* copy = arena.text(bytes.size());
  if (!bytes.empty()) std::memcpy(copy, bytes.data(), bytes.size());
  return make_text(arena, {copy, bytes.size()}, source);
}

std::string_view flat(Arena& arena, const Str& s) {
  if (s.count == 1) return s.only.view();
  if (s.bytes == 0) return {};
  if (s.flat == nullptr) {
    char* bytes = arena.text(s.bytes);
    size_t at = 0;
    for (uint32_t i = 0; i < s.count; ++i) {
      if (s.pieces[i].size == 0) continue;
      std::memcpy(bytes + at, s.pieces[i].data, s.pieces[i].size);
      at += s.pieces[i].size;
    }
    s.flat = bytes;
  }
  return {s.flat, s.bytes};
}

int64_t count_chars(std::string_view text) {
  return std::count_if(text.begin(), text.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

int64_t length(const Str& s) {
  if (s.chars < 0) {
    s.chars = 0;
    for (uint32_t i = 0; i < s.count; ++i) s.chars += count_chars(s.pieces[i].view());
  }
  return s.chars;
}

const Str* cut(Arena& arena, const Str& s, size_t begin, size_t end) {
  if (s.count == 1) {
    const Str* part = make_text(arena, s.only.view().substr(begin, end - begin), s.only.source);
    if (s.markup) const_cast<Str*>(part)->markup = true;
    return part;
  }
  TextBuilder builder(arena);
  builder.add(s, begin, end);
  return builder.finish(s.markup);
}

Source source_of(const Str& s) {
  for (uint32_t i = 0; i < s.count; ++i)
    if (s.pieces[i].source != kTemplate) return s.pieces[i].source;
  return kTemplate;
}

size_t offset_of(std::string_view text, int64_t index) {
  size_t at = 0;
  while (at < text.size() && index > 0) {
    ++at;
    while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) ++at;
    --index;
  }
  return at;
}

bool is_space(uint32_t c) {
  if (c < 0x80) return (c >= 9 && c <= 13) || (c >= 0x1C && c <= 0x20);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
         c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

namespace {

template <class Wanted>
ByteRange strip_while(std::string_view text, bool left, bool right, const Wanted& wanted) {
  const char *begin = text.data(), *end = begin + text.size();
  while (left && begin < end) {
    const char* p = begin;
    if (!wanted(next_code_point(p))) break;
    begin = p;
  }
  while (right && begin < end) {
    const char* before = previous_code_point(end);
    const char* p = before;
    if (!wanted(next_code_point(p))) break;
    end = before;
  }
  return {static_cast<size_t>(begin - text.data()), static_cast<size_t>(end - text.data())};
}

}  // namespace

ByteRange strip_range(std::string_view text, bool left, bool right) {
  return strip_while(text, left, right, is_space);
}

ByteRange strip_range(std::string_view text, std::string_view chars, bool left, bool right) {
  return strip_while(text, left, right, [&](uint32_t c) {
    for (const char* p = chars.data(); p < chars.data() + chars.size();)
      if (next_code_point(p) == c) return true;
    return false;
  });
}

bool next_line_range(std::string_view text, size_t& at, ByteRange& line, size_t& line_end) {
  if (at >= text.size()) return false;
  const char* p = text.data() + at;
  const char* end = text.data() + text.size();
  line.begin = at;
  while (p < end) {
    const char* start = p;
    const uint32_t c = next_code_point(p);
    const bool breaks =
        (c >= 10 && c <= 13) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
    if (!breaks) continue;
    if (c == '\r' && p < end && *p == '\n') ++p;
    line.end = static_cast<size_t>(start - text.data());
    at = line_end = static_cast<size_t>(p - text.data());
    return true;
  }
  line.end = at = line_end = text.size();
  return true;
}

}  // namespace decant::jinja
