// Methods of dicts, lists, tuples and numbers that a sandboxed template may call.
#include <cmath>

#include "data_pipeline/jinja/call.h"
#include "data_pipeline/jinja/operators.h"

namespace decant::jinja {

namespace {

Value view(const Call& c, const char* name, bool keys, bool values) {
  const Dict& d = *c.self.dict;
  Value* items = c.arena().array<Value>(d.count);
  for (uint32_t i = 0; i < d.count; ++i) {
    if (keys && values) {
      Value* pair = c.arena().array<Value>(2);
      pair[0] = d.entries[i].key;
      pair[1] = d.entries[i].value;
      items[i] = list_value(make_list(c.arena(), pair, 2, d.source), Tag::kTuple);
    } else {
      items[i] = keys ? d.entries[i].key : d.entries[i].value;
    }
  }
  c.state.step(d.count / 4);
  Value v = tagged(Tag::kView);
  v.view = c.arena().make<View>(name, List{items, d.count, d.source});
  return v;
}

Value dict_get(const Call& c) {
  const Value* value = c.self.dict->find(c.args[0]);
  return value != nullptr ? *value : c.given(1) ? c.args[1] : none();
}

Value dict_fromkeys(const Call& c) {
  DictBuilder out(c.arena());
  Walk walk(c.state, c.args[0]);
  Value key;
  while (walk.next(key)) {
    c.state.step();
    out.set(key, c.given(1) ? c.args[1] : none());
  }
  return dict_value(out.finish());
}

const Builtin kDictMethods[] = {
    {"items", "", [](const Call& c) { return view(c, "dict_items", true, true); }},
    {"keys", "", [](const Call& c) { return view(c, "dict_keys", true, false); }},
    {"values", "", [](const Call& c) { return view(c, "dict_values", false, true); }},
    {"get", "key default?", dict_get},
    {"copy", "", [](const Call& c) { return c.self; }},
    {"fromkeys", "iterable value?", dict_fromkeys},
};

Value list_count(const Call& c) {
  int64_t n = 0;
  Walk walk(c.state, c.self);
  Value v;
  while (walk.next(v)) {
    c.state.step();
    n += equal(v, c.args[0]) ? 1 : 0;
  }
  return integer(n);
}

Value list_index(const Call& c) {
  const int64_t size = length_of(c.state, c.self);
  const auto clamp = [&](int64_t i) { return i < 0 ? std::max<int64_t>(i + size, 0) : i; };
  const int64_t start = clamp(c.integer(1, 0)), stop = clamp(c.integer(2, size));
  Walk walk(c.state, c.self);
  Value v;
  for (int64_t i = 0; walk.next(v); ++i) {
    c.state.step();
    if (i >= start && i < stop && equal(v, c.args[0])) return integer(i);
  }
  fail("the value is not in the ", type_name(c.self));
}

Value cycler_next(const Call& c) {
  Namespace& n = *c.self.names;
  const Value v = n.entries[n.count].value;
  n.count = (n.count + 1) % n.room;
  return v;
}

Value cycler_reset(const Call& c) {
  c.self.names->count = 0;
  return none();
}

const Builtin kListMethods[] = {
    {"count", "value", list_count},
    {"index", "value start? stop?", list_index},
    {"copy", "", [](const Call& c) { return c.self; }},  // lists only
};

const Builtin kCyclerMethods[] = {{"next", "", cycler_next}, {"reset", "", cycler_reset}};

Value bit_length(const Call& c) {
  const uint64_t magnitude =
      c.self.integer < 0 ? 0 - static_cast<uint64_t>(c.self.integer) : static_cast<uint64_t>(c.self.integer);
  return integer(magnitude == 0 ? 0 : 64 - __builtin_clzll(magnitude));
}

const Builtin kIntMethods[] = {
    {"bit_length", "", bit_length},
    {"bit_count", "",
     [](const Call& c) {
       const auto i = c.self.integer;
       return integer(__builtin_popcountll(i < 0 ? 0 - static_cast<uint64_t>(i) : static_cast<uint64_t>(i)));
     }},
    {"conjugate", "", [](const Call& c) { return integer(c.self.integer); }},
};

const Builtin kFloatMethods[] = {
    {"is_integer", "",
     [](const Call& c) {
       return boolean(std::isfinite(c.self.real) && c.self.real == std::floor(c.self.real));
     }},
    {"conjugate", "", [](const Call& c) { return c.self; }},
};

template <size_t N>
const Builtin* find(const Builtin (&methods)[N], std::string_view name) {
  for (const Builtin& m : methods)
    if (name == m.name) return &m;
  return nullptr;
}

}  // namespace

const Builtin* find_dict_method(std::string_view name) { return find(kDictMethods, name); }

const Builtin* find_list_method(std::string_view name, bool tuple) {
  if (tuple && name == "copy") return nullptr;
  return find(kListMethods, name);
}

const Builtin* find_cycler_method(std::string_view name) { return find(kCyclerMethods, name); }

const Builtin* find_number_method(std::string_view name, Tag tag) {
  return tag == Tag::kFloat ? find(kFloatMethods, name) : find(kIntMethods, name);
}

}  // namespace decant::jinja
