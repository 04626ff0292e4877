#include "data_pipeline/jinja/state.h"

#include <cstring>

#include "data_pipeline/jinja/operators.h"
#include "data_pipeline/jinja/show.h"

namespace decant::jinja {

void State::grow(Sink& s) {
  step(s.count);
  if (s.bytes > max_bytes) fail("the template writes more than ", max_bytes >> 20, " MiB");
  const uint32_t room = s.room == 0 ? 64 : s.room * 2;
  Written* larger = arena.array<Written>(room);
  if (s.count > 0) std::memcpy(static_cast<void*>(larger), s.pieces, s.count * sizeof(Written));
  s.pieces = larger;
  s.room = room;
}

Capture::Capture(State& state) : state_(state), outer_(state.sink) { state_.sink = &sink_; }

Capture::~Capture() { state_.sink = outer_; }

const Str* Capture::text() {
  TextBuilder out(state_.arena);
  for (uint32_t i = 0; i < sink_.count; ++i)
    out.add(Piece{sink_.pieces[i].data, sink_.pieces[i].size, sink_.pieces[i].source});
  state_.step(sink_.count);
  return out.finish(state_.autoescape);
}

void fail_undefined(const Value& v) {
  const UndefinedInfo* info = v.undefined;
  if (info == nullptr) fail("an undefined value was used");
  if (!info->hint.empty()) fail(info->hint);
  if (v.object == Tag::kMissing) fail("'", info->name, "' is undefined");
  Value object;
  object.tag = v.object;
  const char* type = v.object == Tag::kString     ? "str"
                     : v.object == Tag::kView     ? "dict_view"
                     : v.object == Tag::kIterator ? "generator"
                                                  : type_name(object);
  fail("'", type, " object' has no attribute '", info->name, "'");
}

// What has a length can be walked, and a generator too.
bool can_walk(const Value& v) { return v.is(Tag::kIterator) || has_length(v); }

Walk::Walk(State& state, const Value& over) : state_(state), over_(over) {
  switch (over.tag) {
    case Tag::kUndefined:
      length_ = 0;
      return;
    case Tag::kString:
      text_ = flat(state.arena, *over.text);
      length_ = length(*over.text);
      return;
    case Tag::kList:
    case Tag::kTuple:
      length_ = over.list->count;
      return;
    case Tag::kView:
      over_ = list_value(&over.view->items);
      length_ = over.view->items.count;
      return;
    case Tag::kDict:
      length_ = over.dict->count;
      return;
    case Tag::kRange:
      length_ = over.range->count;
      return;
    case Tag::kIterator:
    case Tag::kLoop:
      return;
    default:
      fail("'", type_name(over), "' object is not iterable");
  }
}

bool Walk::next(Value& item) {
  switch (over_.tag) {
    case Tag::kList:
    case Tag::kTuple:
      if (at_ >= length_) return false;
      item = over_.list->items[at_++];
      return true;
    case Tag::kDict:
      if (at_ >= length_) return false;
      item = over_.dict->entries[at_++].key;
      return true;
    case Tag::kRange:
      if (at_ >= length_) return false;
      item = integer(over_.range->start + at_++ * over_.range->step);
      return true;
    case Tag::kString: {
      const auto begin = static_cast<size_t>(at_);
      if (begin >= text_.size()) return false;
      const size_t size = offset_of(text_.substr(begin), 1);
      const Str* character = cut(state_.arena, *over_.text, begin, begin + size);
      item = jinja::text(character->markup ? to_text(state_, jinja::text(character)) : character);
      at_ = static_cast<int64_t>(begin + size);
      return true;
    }
    case Tag::kIterator:
      state_.step();
      return over_.iterator->next(state_, *over_.iterator, item);
    case Tag::kLoop:
      return loop_next(state_, *over_.loop, item);
    default:
      return false;
  }
}

const List* to_list(State& state, const Value& value) {
  if (value.is(Tag::kList) || value.is(Tag::kTuple))
    return make_list(state.arena, value.list->items, value.list->count, value.list->source);
  Walk walk(state, value);
  ListBuilder out(state.arena, static_cast<size_t>(std::max<int64_t>(walk.known_length(), 8)));
  Value v;
  while (walk.next(v)) {
    state.step();
    out.add(v);
  }
  return out.finish(value.is(Tag::kDict) ? value.dict->source : kTemplate);
}

// --- the loop variable

bool loop_peek(State& state, Loop& loop) {
  if (!loop.after.is(Tag::kMissing)) return true;
  if (loop.ended) return false;
  if (loop.ahead != nullptr) {
    if (loop.ahead_at < loop.ahead->count) {
      loop.after = loop.ahead->items[loop.ahead_at++];
      return true;
    }
  } else if (loop.advance(state, loop, loop.after)) {
    return true;
  }
  loop.after = missing();
  loop.ended = true;
  return false;
}

bool loop_next(State& state, Loop& loop, Value& item) {
  if (!loop_peek(state, loop)) return false;
  item = loop.after;
  loop.after = missing();
  ++loop.index0;
  loop.before = loop.current;
  loop.current = item;
  return true;
}

int64_t loop_length(State& state, Loop& loop) {
  if (loop.length >= 0) return loop.length;
  // As jinja2: what is left is read ahead.
  const bool peeked = !loop.after.is(Tag::kMissing);
  ListBuilder rest(state.arena);
  Value v;
  if (loop.ahead == nullptr && !loop.ended)
    while (loop.advance(state, loop, v)) {
      state.step();
      rest.add(v);
    }
  loop.ahead = rest.finish();
  loop.ahead_at = 0;
  loop.length = static_cast<int64_t>(rest.size()) + loop.index0 + 1 + (peeked ? 1 : 0);
  return loop.length;
}

namespace {

Loop& loop_of(const Call& c) { return *c.self.loop; }

Value loop_cycle(const Call& c) {
  if (c.all.count == 0) fail("no items for cycling given");
  return c.all.values[static_cast<size_t>(loop_of(c).index0) % c.all.count];
}

Value loop_changed(const Call& c) {
  Value* items = c.arena().array<Value>(c.all.count);
  std::copy(c.all.values, c.all.values + c.all.count, items);
  const Value now = list_value(make_list(c.arena(), items, c.all.count), Tag::kTuple);
  Loop& loop = loop_of(c);
  if (!loop.last_changed.is(Tag::kMissing) && equal(loop.last_changed, now)) return boolean(false);
  loop.last_changed = now;
  return boolean(true);
}

Value undefined_item(std::string_view hint) {
  static const UndefinedInfo previous{"previtem", "there is no previous item"},
      next{"nextitem", "there is no next item"};
  Value v = tagged(Tag::kUndefined);
  v.undefined = hint == "p" ? &previous : &next;
  return v;
}

}  // namespace

Value loop_attribute(State& state, Loop& loop, std::string_view name, bool& found) {
  found = true;
  if (name == "index0") return integer(loop.index0);
  if (name == "index") return integer(loop.index0 + 1);
  if (name == "first") return boolean(loop.index0 == 0);
  if (name == "last") return boolean(!loop_peek(state, loop));
  if (name == "length") return integer(loop_length(state, loop));
  if (name == "revindex") return integer(loop_length(state, loop) - loop.index0);
  if (name == "revindex0") return integer(loop_length(state, loop) - loop.index0 - 1);
  if (name == "depth") return integer(loop.depth0 + 1);
  if (name == "depth0") return integer(loop.depth0);
  if (name == "previtem") return loop.index0 == 0 ? undefined_item("p") : loop.before;
  if (name == "nextitem") return loop_peek(state, loop) ? loop.after : undefined_item("n");
  if (name == "cycle" || name == "changed") {
    Value v = tagged(Tag::kFunction);
    Value self = tagged(Tag::kLoop);
    self.loop = &loop;
    v.function = state.arena.make<Function>("method", Signature("*"),
                                            name == "cycle" ? loop_cycle : loop_changed, self);
    return v;
  }
  found = false;
  return {};
}

}  // namespace decant::jinja
