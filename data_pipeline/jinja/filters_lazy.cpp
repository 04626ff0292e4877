// map, select and reject: they work when they are walked, not before.
#include <algorithm>

#include "data_pipeline/jinja/filters.h"
#include "data_pipeline/jinja/operators.h"

namespace decant::jinja {

namespace {

struct ListIterator : Iterator {
  const List* list;
  uint32_t at;
};

bool next_of_list(State&, Iterator& it, Value& v) {
  auto& i = static_cast<ListIterator&>(it);
  if (i.at >= i.list->count) return false;
  v = i.list->items[i.at++];
  return true;
}

struct FailingIterator : Iterator {
  const char* message;
};

struct DeferredIterator : Iterator {
  Callable make;
  Value self;
  Value args[kMaxParameters];
  Iterator* made;
};

bool next_deferred(State& state, Iterator& it, Value& v) {
  auto& d = static_cast<DeferredIterator&>(it);
  if (d.made == nullptr) d.made = d.make({state, d.self, d.args, {}}).iterator;
  return d.made->next(state, *d.made, v);
}

struct MapIterator : Iterator {
  Walk* walk;
  Value over;
  Value name, path, otherwise;  // a filter's name, or a path
  Arguments arguments;
  bool select, keep, begun;
};

Arguments copied(Arena& arena, const Arguments& from, uint32_t skip) {
  Arguments to = from;
  to.count = from.count > skip ? from.count - skip : 0;
  Value* values = arena.array<Value>(to.count);
  for (uint32_t i = 0; i < to.count; ++i) values[i] = from.values[skip + i];
  Keyword* keywords = arena.array<Keyword>(from.num_keywords);
  for (uint32_t i = 0; i < from.num_keywords; ++i) keywords[i] = from.keywords[i];
  to.values = values;
  to.keywords = keywords;
  return to;
}

bool next_mapped(State& state, Iterator& it, Value& v) {
  auto& m = static_cast<MapIterator&>(it);
  state.descend();
  if (!m.begun) {
    m.begun = true;
    if (truth(state, m.over)) m.walk = new (state.arena.allocate(sizeof(Walk))) Walk(state, m.over);
  }
  while (m.walk != nullptr && m.walk->next(v)) {
    state.step();
    if (!m.select) {
      if (m.name.is(Tag::kMissing)) {
        v = attribute_path(state, v, m.path);
        if (v.is(Tag::kUndefined) && !m.otherwise.is(Tag::kMissing) && !m.otherwise.is(Tag::kNone))
          v = m.otherwise;
      } else {
        v = apply_filter(state, m.name, v, m.arguments);
      }
      return true;
    }
    const Value tested = m.path.is(Tag::kMissing) ? v : attribute_path(state, v, m.path);
    const bool yes =
        m.name.is(Tag::kMissing) ? truth(state, tested) : apply_test(state, m.name, tested, m.arguments);
    if (yes == m.keep) return true;
  }
  return false;
}

MapIterator* make_iterator(const Call& c) {
  auto* it = c.arena().make<MapIterator>();
  it->name = it->path = it->otherwise = missing();
  it->Iterator::name = "generator";
  it->next = next_mapped;
  it->over = c.self;
  return it;
}

Value iterator_value(Iterator* it) {
  Value v = tagged(Tag::kIterator);
  v.iterator = it;
  return v;
}

Value map(const Call& c) {
  MapIterator* it = make_iterator(c);
  if (c.all.count == 0) {
    for (uint32_t k = 0; k < c.all.num_keywords; ++k) {
      const Keyword& keyword = c.all.keywords[k];
      if (same_text(*keyword.name, "attribute"))
        it->path = keyword.value;
      else if (same_text(*keyword.name, "default"))
        it->otherwise = keyword.value;
      else if (truth(c.state, c.self))
        return failing_iterator(c.state, "map: unexpected keyword argument");
    }
    if (it->path.is(Tag::kMissing) && truth(c.state, c.self))
      return failing_iterator(c.state, "map requires a filter argument");
  } else {
    it->name = c.all.values[0];
    it->arguments = copied(c.arena(), c.all, 1);
  }
  return iterator_value(it);
}

Value select(const Call& c, bool keep, bool by_attribute) {
  MapIterator* it = make_iterator(c);
  it->select = true;
  it->keep = keep;
  const uint32_t skip = by_attribute ? 1 : 0;
  if (by_attribute) {
    if (c.all.count == 0) {
      if (!truth(c.state, c.self)) return iterator_value(it);
      return failing_iterator(c.state, "Missing parameter for attribute name");
    }
    it->path = c.all.values[0];
  }
  if (c.all.count > skip) {
    it->name = c.all.values[skip];
    it->arguments = copied(c.arena(), c.all, skip + 1);
  }
  return iterator_value(it);
}

#define DO(expression) [](const Call& c) -> Value { return expression; }

const Builtin kLazyFilters[] = {
    {"map", "*", map},
    {"select", "*", DO(select(c, true, false))},
    {"reject", "*", DO(select(c, false, false))},
    {"selectattr", "*", DO(select(c, true, true))},
    {"rejectattr", "*", DO(select(c, false, true))},
};

#undef DO

}  // namespace

Value iterator_over(State& state, const Value& list, const char* name) {
  auto* it = state.arena.make<ListIterator>();
  it->name = name;
  it->next = next_of_list;
  it->list = list.list;
  it->at = 0;
  return iterator_value(it);
}

Value deferred(const Call& c, Callable make) {
  auto* it = c.arena().make<DeferredIterator>();
  it->name = "generator";
  it->next = next_deferred;
  it->make = make;
  it->self = c.self;
  std::copy(c.args, c.args + kMaxParameters, it->args);
  return iterator_value(it);
}

Value failing_iterator(State& state, const char* message) {
  auto* it = state.arena.make<FailingIterator>();
  it->name = "generator";
  it->message = message;
  it->next = [](State&, Iterator& i, Value&) -> bool { fail(static_cast<FailingIterator&>(i).message); };
  return iterator_value(it);
}

const Builtin* find_lazy_filter(std::string_view name) {
  for (const Builtin& f : kLazyFilters)
    if (name == f.name) return &f;
  return nullptr;
}

}  // namespace decant::jinja
