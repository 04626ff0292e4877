// What one render is doing: where output goes, how much it may still do, and the variables it sees.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "data_pipeline/jinja/text.h"
#include "data_pipeline/jinja/value.h"

namespace decant::jinja {

// A piece of output, and the message on whose behalf the template wrote it: the one that the innermost loop
// over messages is at, or -1.
struct Written {
  const char* data;
  uint32_t size;
  Source source;
  int32_t turn;
};

struct Sink {
  Written* pieces = nullptr;
  uint32_t count = 0, room = 0;
  uint64_t bytes = 0;
};

// A date and time for strftime_now.
struct Clock {
  int year = 0, month = 1, day = 1, hour = 0, minute = 0, second = 0;  // year 0: none was given
};

// Variables of one call of a macro, of the template, or of a recursive loop.
struct Frame {
  Value* slots;
  Frame* parent;
};

struct Generation {  // one {% generation %} block: in code points of the output
  int64_t begin, end;
  int32_t turn;
};

struct Program;

struct State {
  Arena& arena;
  const Program& program;
  const Value* variables;  // of the caller, by the program's numbers
  Clock clock;
  Sink* sink = nullptr;
  Sink root{};
  Frame* top = nullptr;
  int32_t turn = -1;
  int line = 0;
  bool autoescape = false;
  uint64_t steps = 0;  // that are left
  uint64_t max_bytes = 0;
  const char* stack_floor = nullptr;
  std::vector<Generation>* generations = nullptr;

  void step(uint64_t n = 1) {
    if (steps < n) [[unlikely]]
      fail("the template takes too many steps: it loops without end or multiplies its own text");
    steps -= n;
  }
  // For work that is proportional to `bytes`.
  void work(uint64_t bytes) { step(bytes / 64); }
  // Error when little of the stack is left.
  void descend() const {
    if (static_cast<const char*>(__builtin_frame_address(0)) < stack_floor) [[unlikely]]
      fail("the template calls itself too deeply");
  }
  void emit(const Piece& piece) {
    Sink& s = *sink;
    s.bytes += piece.size;
    if (s.count == s.room) [[unlikely]]
      grow(s);
    if (piece.size == 0 && piece.source == kTemplate) return;
    s.pieces[s.count++] = {piece.data, piece.size, piece.source, turn};
  }
  void emit(const Str& text) {
    for (uint32_t i = 0; i < text.count; ++i) emit(text.pieces[i]);
  }
  void grow(Sink& s);
};

// Output of what runs while it lives goes into a text of its own.
class Capture {
 public:
  explicit Capture(
      State& state);  // not inline: g++ 12 takes the pointer that the state keeps for a dangling one
  ~Capture();
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;
  const Str* text();

 private:
  State& state_;
  Sink sink_;
  Sink* outer_;
};

// "'x' is undefined", "'dict object' has no attribute 'x'"
[[noreturn]] void fail_undefined(const Value& value);

// Walks what can be iterated.
class Walk {
 public:
  Walk(State& state, const Value& iterable);  // Error when it cannot be
  bool next(Value& item);
  // The number of items when it is known without walking.
  int64_t known_length() const { return length_; }

 private:
  State& state_;
  Value over_;
  std::string_view text_;
  int64_t at_ = 0, length_ = -1;
};
bool can_walk(const Value& value);

// loop.index and the others; see For in statements.cpp.
struct LoopBody;
struct Loop {
  int64_t index0 = -1;
  int64_t length = -1;  // -1: not known yet
  int64_t depth0 = 0;
  Value current = missing(), before = missing(), after = missing(), last_changed = missing();
  bool ended = false;  // `after` was looked for and there was none
  Walk* walk = nullptr;
  bool (*advance)(State&, Loop&, Value&) = nullptr;  // next item that passes the loop's test
  const void* body = nullptr;
  Frame* frame = nullptr;
  // Items that loop.length had to read ahead.
  const List* ahead = nullptr;
  uint32_t ahead_at = 0;
  bool recursive = false;
};
int64_t loop_length(State& state, Loop& loop);
Value loop_attribute(State& state, Loop& loop, std::string_view name, bool& found);
// Next item, or false at the end.
bool loop_next(State& state, Loop& loop, Value& item);
bool loop_peek(State& state, Loop& loop);  // fills `after` or sets `ended`

}  // namespace decant::jinja
