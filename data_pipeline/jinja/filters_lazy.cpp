// map, select and reject: they work when they are walked, not before.
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

struct MapIterator : Iterator {
  Walk* walk;
  Value name, path, otherwise;  // a filter's name, or a path
  Arguments arguments;
  bool select, keep, started;
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
  while (m.walk != nullptr && m.walk->next(v)) {
    state.step();
    if (!m.select) {
      if (m.name.is(Tag::kMissing)) {
        v = attribute_path(state, v, m.path);
        if (v.is(Tag::kUndefined) && !m.otherwise.is(Tag::kMissing) && !m.otherwise.is(Tag::kNone)) v = m.otherwise;
      } else {
        v = apply_filter(state, m.name, v, m.arguments);
      }
      return true;
    }
    const Value tested = m.path.is(Tag::kMissing) ? v : attribute_path(state, v, m.path);
    const bool yes = m.name.is(Tag::kMissing) ? truth(state, tested) : apply_test(state, m.name, tested, m.arguments);
    if (yes == m.keep) return true;
  }
  return false;
}

MapIterator* make_iterator(const Call& c) {
  auto* it = c.arena().make<MapIterator>();
  it->name = it->path = it->otherwise = missing();
  it->Iterator::name = "generator";
  it->next = next_mapped;
  it->walk = truth(c.state, c.self) ? new (c.arena().allocate(sizeof(Walk))) Walk(c.state, c.self) : nullptr;
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
      else if (it->walk != nullptr)
        return failing_iterator(c.state, "map: unexpected keyword argument");
    }
    if (it->path.is(Tag::kMissing) && it->walk != nullptr)
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
      if (it->walk == nullptr) return iterator_value(it);
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
