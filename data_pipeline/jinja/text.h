// Making text out of pieces. What is cut out of a text keeps its bytes where they were, so that its place in
// the caller's message can be told from the address; what is newly written carries the source it was made
// from.
#pragma once

#include <string_view>

#include "data_pipeline/jinja/value.h"

namespace decant::jinja {

class TextBuilder {
 public:
  explicit TextBuilder(Arena& arena) : arena_(arena) {}
  // Bytes that outlive the render or lie in its arena.
  void add(const Piece& piece) {
    if (count_ == room_) grow();
    if (count_ > 0) {
      Piece& last = pieces_[count_ - 1];
      if (last.source == piece.source && last.data + last.size == piece.data &&
          uint64_t{last.size} + piece.size < UINT32_MAX) {
        last.size += piece.size;
        bytes_ += piece.size;
        return;
      }
    }
    if (piece.size == 0 && piece.source == kTemplate) return;
    pieces_[count_++] = piece;
    bytes_ += piece.size;
  }
  void add(const Str& text) {
    for (uint32_t i = 0; i < text.count; ++i) add(text.pieces[i]);
  }
  void add(const Str& text, size_t begin, size_t end);  // bytes of it
  void add(std::string_view text, Source source);       // copied
  void add(char c, Source source) { add(std::string_view(&c, 1), source); }
  // Literals of the program.
  void add_static(std::string_view text) {
    add(Piece{text.data(), static_cast<uint32_t>(text.size()), kTemplate});
  }
  uint64_t bytes() const { return bytes_; }
  const Str* finish(bool markup = false);

 private:
  void grow();

  Arena& arena_;
  Piece here_[8];
  Piece* pieces_ = here_;
  uint32_t count_ = 0, room_ = 8;
  uint64_t bytes_ = 0;
  char* buffer_ = nullptr;
  size_t buffer_left_ = 0;
};

// One piece; the bytes are not copied.
const Str* make_text(Arena& arena, std::string_view bytes, Source source = kTemplate);
const Str* copy_text(Arena& arena, std::string_view bytes, Source source = kTemplate);

// All bytes in a row.
std::string_view flat(Arena& arena, const Str& text);
// Code points.
int64_t length(const Str& text);
const Str* cut(Arena& arena, const Str& text, size_t begin, size_t end);  // bytes
// Where text was made from, for what is made from it as a whole: the first source that is not the template.
Source source_of(const Str& text);

// Byte offset of code point `index` of well-formed UTF-8; its size when the text is shorter.
size_t offset_of(std::string_view text, int64_t index);
int64_t count_chars(std::string_view text);
// Python's str.isspace, which is re's \s.
bool is_space(uint32_t c);
// Byte ranges without the surrounding characters: spaces, or those of `chars`.
struct ByteRange {
  size_t begin, end;
};
ByteRange strip_range(std::string_view text, bool left, bool right);
ByteRange strip_range(std::string_view text, std::string_view chars, bool left, bool right);
// Python's str.splitlines boundaries; the ranges leave the line ends out.
bool next_line_range(std::string_view text, size_t& at, ByteRange& line, size_t& line_end);

}  // namespace decant::jinja
