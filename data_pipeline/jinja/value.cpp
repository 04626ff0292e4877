#include "data_pipeline/jinja/value.h"

#include <cmath>
#include <cstring>

#include "core/error.h"
#include "data_pipeline/jinja/state.h"

namespace decant::jinja {

namespace {

constexpr int kMaxDepth = 400;
constexpr uint32_t kFewEntries = 8;

uint32_t mix(uint64_t x) {
  x ^= x >> 32;
  x *= 0x9E3779B97F4A7C15ull;
  x ^= x >> 29;
  const auto h = static_cast<uint32_t>(x ^ (x >> 32));
  return h == 0 ? 1 : h;
}

struct Hasher {
  uint64_t state = 0xcbf29ce484222325ull;
  void add(const char* p, size_t n) {
    for (size_t i = 0; i < n; ++i) state = (state ^ static_cast<unsigned char>(p[i])) * 0x100000001b3ull;
  }
};

bool is_number(const Value& v) { return v.is(Tag::kInt) || v.is(Tag::kFloat) || v.is(Tag::kBool); }

// Exact comparison of an integer with a float.
int compare_mixed(int64_t i, double d) {
  if (d >= 9223372036854775808.0) return -1;
  if (d < -9223372036854775808.0) return 1;
  const auto whole = static_cast<int64_t>(d);
  if (i != whole) return i < whole ? -1 : 1;
  const double rest = d - static_cast<double>(whole);
  return rest > 0 ? -1 : rest < 0 ? 1 : 0;
}

// NaN gives 2: neither.
int compare_numbers(const Value& a, const Value& b) {
  const bool fa = a.is(Tag::kFloat), fb = b.is(Tag::kFloat);
  if (!fa && !fb) return a.integer < b.integer ? -1 : a.integer > b.integer ? 1 : 0;
  if ((fa && std::isnan(a.real)) || (fb && std::isnan(b.real))) return 2;
  if (fa && fb) return a.real < b.real ? -1 : a.real > b.real ? 1 : 0;
  return fa ? -compare_mixed(b.integer, a.real) : compare_mixed(a.integer, b.real);
}

int compare_text(const Str& a, const Str& b) {
  // Byte order is code point order in UTF-8.
  uint32_t i = 0, j = 0;
  size_t x = 0, y = 0;
  while (true) {
    while (i < a.count && x == a.pieces[i].size) ++i, x = 0;
    while (j < b.count && y == b.pieces[j].size) ++j, y = 0;
    if (i == a.count || j == b.count) return i == a.count ? (j == b.count ? 0 : -1) : 1;
    const size_t n = std::min<size_t>(a.pieces[i].size - x, b.pieces[j].size - y);
    const int c = std::memcmp(a.pieces[i].data + x, b.pieces[j].data + y, n);
    if (c != 0) return c < 0 ? -1 : 1;
    x += n;
    y += n;
  }
}

bool equal_dicts(const Dict& a, const Dict& b, int depth) {
  if (&a == &b) return true;
  if (a.count != b.count) return false;
  for (uint32_t i = 0; i < a.count; ++i) {
    const Value* other = b.find(a.entries[i].key);
    if (other == nullptr || !equal(a.entries[i].value, *other, depth + 1)) return false;
  }
  return true;
}

bool equal_lists(const List& a, const List& b, int depth) {
  if (&a == &b) return true;
  if (a.count != b.count) return false;
  for (uint32_t i = 0; i < a.count; ++i)
    if (!equal(a.items[i], b.items[i], depth + 1)) return false;
  return true;
}

}  // namespace

uint32_t make_hash(const Str& s) {
  Hasher h;
  for (uint32_t i = 0; i < s.count; ++i) h.add(s.pieces[i].data, s.pieces[i].size);
  return s.hash = mix(h.state);
}

namespace {

// memcmp() == 0 without a call: what is compared here is mostly short.
bool same_bytes(const char* a, const char* b, size_t n) {
  for (; n >= 8; a += 8, b += 8, n -= 8) {
    uint64_t x, y;
    std::memcpy(&x, a, 8);
    std::memcpy(&y, b, 8);
    if (x != y) return false;
  }
  for (size_t i = 0; i < n; ++i)
    if (a[i] != b[i]) return false;
  return true;
}

}  // namespace

bool same_text(const Str& a, std::string_view b) {
  if (a.bytes != b.size()) return false;
  if (a.count == 1) return same_bytes(a.only.data, b.data(), b.size());
  for (uint32_t i = 0; i < a.count; ++i) {
    if (std::memcmp(a.pieces[i].data, b.data(), a.pieces[i].size) != 0) return false;
    b.remove_prefix(a.pieces[i].size);
  }
  return true;
}

bool same_text(const Str& a, const Str& b) {
  if (&a == &b) return true;
  if (a.bytes != b.bytes) return false;
  if (b.count == 1) return same_text(a, b.only.view());
  if (a.count == 1) return same_text(b, a.only.view());
  return compare_text(a, b) == 0;
}

uint32_t hash_of(const Value& v, int depth) {
  check(depth < kMaxDepth, "a value is nested too deeply");
  switch (v.tag) {
    case Tag::kString:
      return hash_of(*v.text);
    case Tag::kFloat:
      // Equal numbers have equal hashes whatever their type.
      if (std::trunc(v.real) == v.real && std::fabs(v.real) < 9e18)
        return mix(static_cast<uint64_t>(static_cast<int64_t>(v.real)));
      uint64_t bits;
      std::memcpy(&bits, &v.real, sizeof bits);
      return mix(bits);
    case Tag::kInt:
    case Tag::kBool:
      return mix(static_cast<uint64_t>(v.integer));
    case Tag::kBigInt:
      return hash_of(*v.text);
    case Tag::kTuple: {
      uint64_t h = 0x345678;
      for (uint32_t i = 0; i < v.list->count; ++i) h = h * 1000003 + hash_of(v.list->items[i], depth + 1);
      return mix(h);
    }
    case Tag::kNone:
    case Tag::kUndefined:
      return mix(static_cast<uint64_t>(v.tag) + 77);
    case Tag::kList:
    case Tag::kDict:
      fail("unhashable type: '", type_name(v), "'");
    default:
      return mix(static_cast<uint64_t>(v.integer));
  }
}

bool equal(const Value& a, const Value& b, int depth) {
  if (a.tag == Tag::kString && b.tag == Tag::kString)
    return a.text->bytes == b.text->bytes && same_text(*a.text, *b.text);
  check(depth < kMaxDepth, "a value is nested too deeply");
  if (is_number(a) && is_number(b)) return compare_numbers(a, b) == 0;
  if (a.tag != b.tag) return false;
  switch (a.tag) {
    case Tag::kNone:
    case Tag::kUndefined:
      return true;
    case Tag::kBigInt:
      return same_text(*a.text, *b.text);
    case Tag::kList:
    case Tag::kTuple:
      return equal_lists(*a.list, *b.list, depth);
    case Tag::kDict:
      return equal_dicts(*a.dict, *b.dict, depth);
    case Tag::kRange: {
      const Range &x = *a.range, &y = *b.range;
      return x.count == y.count &&
             (x.count == 0 || (x.start == y.start && (x.count == 1 || x.step == y.step)));
    }
    case Tag::kView: {
      const View &x = *a.view, &y = *b.view;
      if (&x == &y) return true;
      if (x.name != y.name || std::string_view(x.name) == "dict_values" || x.items.count != y.items.count)
        return false;
      for (uint32_t i = 0; i < x.items.count; ++i) {  // sets
        bool found = false;
        for (uint32_t j = 0; j < y.items.count && !found; ++j)
          found = equal(x.items.items[i], y.items.items[j], depth + 1);
        if (!found) return false;
      }
      return true;
    }
    default:
      return a.integer == b.integer;
  }
}

int compare(const Value& a, const Value& b, const char* op, int depth) {
  check(depth < kMaxDepth, "a value is nested too deeply");
  if (is_number(a) && is_number(b)) return compare_numbers(a, b);
  if (a.is_text() && b.is_text()) return compare_text(*a.text, *b.text);
  if (a.tag == b.tag && (a.is(Tag::kList) || a.is(Tag::kTuple))) {
    const List &x = *a.list, &y = *b.list;
    for (uint32_t i = 0; i < x.count && i < y.count; ++i)
      if (!equal(x.items[i], y.items[i], depth + 1)) return compare(x.items[i], y.items[i], op, depth + 1);
    return x.count < y.count ? -1 : x.count > y.count ? 1 : 0;
  }
  if (a.is(Tag::kUndefined)) fail_undefined(a);
  if (b.is(Tag::kUndefined)) fail_undefined(b);
  fail("'", op, "' not supported between instances of '", type_name(a), "' and '", type_name(b), "'");
}

const char* type_name(const Value& v) {
  switch (v.tag) {
    case Tag::kMissing:
    case Tag::kUndefined:
      return "Undefined";
    case Tag::kNone:
      return "NoneType";
    case Tag::kBool:
      return "bool";
    case Tag::kInt:
    case Tag::kBigInt:
      return "int";
    case Tag::kFloat:
      return "float";
    case Tag::kString:
      return v.text->markup ? "Markup" : "str";
    case Tag::kList:
      return "list";
    case Tag::kTuple:
      return "tuple";
    case Tag::kDict:
      return "dict";
    case Tag::kView:
      return v.view->name;
    case Tag::kRange:
      return "range";
    case Tag::kIterator:
      return v.iterator->name;
    case Tag::kNamespace:
      return "Namespace";
    case Tag::kFunction:
      return "function";
    case Tag::kMacro:
      return "Macro";
    case Tag::kLoop:
      return "LoopContext";
    case Tag::kCycler:
      return "Cycler";
    case Tag::kJoiner:
      return "Joiner";
  }
  return "object";
}

bool truth(State& state, const Value& v) {
  switch (v.tag) {
    case Tag::kMissing:
    case Tag::kUndefined:
    case Tag::kNone:
      return false;
    case Tag::kBool:
    case Tag::kInt:
      return v.integer != 0;
    case Tag::kFloat:
      return v.real != 0;
    case Tag::kString:
      return v.text->bytes != 0;
    case Tag::kList:
    case Tag::kTuple:
      return v.list->count != 0;
    case Tag::kDict:
      return v.dict->count != 0;
    case Tag::kView:
      return v.view->items.count != 0;
    case Tag::kRange:
      return v.range->count != 0;
    case Tag::kLoop:
      return loop_length(state, *v.loop) != 0;
    default:
      return true;
  }
}

const Value* Dict::find(const Str& key) const {
  if (slots == nullptr) {
    const uint32_t h = hash_of(key);
    for (uint32_t i = 0; i < count; ++i) {
      const Value& k = entries[i].key;
      if (k.source == h && k.tag == Tag::kString && same_text(*k.text, key)) return &entries[i].value;
    }
    return nullptr;
  }
  return find(text(&key));
}

const Value* Dict::find(const Value& key) const {
  if (slots == nullptr) {
    hash_of(key);  // refuses what cannot be hashed
    for (uint32_t i = 0; i < count; ++i)
      if (equal(entries[i].key, key)) return &entries[i].value;
    return nullptr;
  }
  for (uint32_t at = hash_of(key) & mask; slots[at] != 0; at = (at + 1) & mask) {
    const Entry& entry = entries[slots[at] - 1];
    if (equal(entry.key, key)) return &entry.value;
  }
  return nullptr;
}

const List* make_list(Arena& arena, const Value* items, size_t count, Source source) {
  check(count < (size_t{1} << 31), "a list is too long");
  return arena.make<List>(items, static_cast<uint32_t>(count), source);
}

void ListBuilder::add(const Value& value) {
  if (count_ == room_) {
    Value* larger = arena_.array<Value>(room_ * 2 + 1);
    std::memcpy(static_cast<void*>(larger), items_, count_ * sizeof(Value));
    items_ = larger;
    room_ = room_ * 2 + 1;
  }
  items_[count_++] = value;
}

DictBuilder::DictBuilder(Arena& arena, size_t room)
    : arena_(arena), entries_(arena.array<Entry>(room)), room_(static_cast<uint32_t>(room)) {}

void DictBuilder::append(const Value& key, const Value& value) {
  if (count_ == room_) {
    const uint32_t room = room_ * 2 + 1;
    Entry* larger = arena_.array<Entry>(room);
    std::memcpy(static_cast<void*>(larger), entries_, count_ * sizeof(Entry));
    entries_ = larger;
    room_ = room;
  }
  entries_[count_] = {key, value};
  if (key.is_text()) entries_[count_].key.source = hash_of(*key.text);
  ++count_;
}

void DictBuilder::index() {
  uint32_t size = 32;
  while (size < count_ * 3) size *= 2;
  slots_ = arena_.array<uint32_t>(size);
  std::memset(slots_, 0, size * sizeof(uint32_t));
  mask_ = size - 1;
  for (uint32_t i = 0; i < count_; ++i) {
    uint32_t at = hash_of(entries_[i].key) & mask_;
    while (slots_[at] != 0) at = (at + 1) & mask_;
    slots_[at] = i + 1;
  }
}

void DictBuilder::set(const Value& key, const Value& value) {
  if (slots_ == nullptr) {
    hash_of(key);
    for (uint32_t i = 0; i < count_; ++i)
      if (equal(entries_[i].key, key)) {
        entries_[i].value = value;
        return;
      }
    append(key, value);
    if (count_ > kFewEntries) index();
    return;
  }
  uint32_t at = hash_of(key) & mask_;
  for (; slots_[at] != 0; at = (at + 1) & mask_)
    if (equal(entries_[slots_[at] - 1].key, key)) {
      entries_[slots_[at] - 1].value = value;
      return;
    }
  append(key, value);
  slots_[at] = count_;
  if (count_ * 2 > mask_) index();
}

const Dict* DictBuilder::finish(Source source, int32_t message) {
  if (slots_ == nullptr && count_ > kFewEntries) index();
  return arena_.make<Dict>(entries_, count_, source, message, mask_, slots_);
}

}  // namespace decant::jinja
