// Values of the template language: Python's, as far as a sandboxed template can tell, with text that knows
// where it came from. Everything lies in the arena of one render or in the compiled template; nothing is
// changed after it was made, but for namespaces, loops and iterators.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "data_pipeline/jinja/arena.h"

namespace decant::jinja {

// Where bytes came from: 0 is the template itself, all else is the caller's (see chat_template.h for what
// its numbers say).
using Source = uint32_t;
inline constexpr Source kTemplate = 0;

struct Piece {
  const char* data;
  uint32_t size;
  Source source;
  std::string_view view() const { return {data, size}; }
};

// Text as pieces. An empty piece is kept when it is the caller's: it says where an empty answer stands.
struct Str {
  const Piece* pieces;
  uint32_t count;
  mutable uint32_t hash;  // 0: not known yet
  uint64_t bytes;
  mutable int64_t chars;     // code points; -1: not known yet
  mutable const char* flat;  // all bytes in a row, or null
  bool markup;               // markupsafe's Markup
  Piece only;                // storage when count is 1
};

enum class Tag : uint8_t {
  kMissing,  // a variable that nothing was assigned to; never seen by an expression
  kUndefined,
  kNone,
  kBool,
  kInt,
  kBigInt,  // beyond 64 bits: can be shown and compared, not computed with
  kFloat,
  kString,
  kList,
  kTuple,
  kDict,
  kView,  // dict.keys(), values(), items()
  kRange,
  kIterator,  // generators and reversed(): can be walked once
  kNamespace,
  kFunction,
  kMacro,
  kLoop,
  kCycler,
  kJoiner,
};

struct List;
struct Dict;
struct View;
struct Range;
struct Iterator;
struct Namespace;
struct Function;
struct Macro;
struct Loop;
struct Cycler;

// What an undefined value says when it is used.
struct UndefinedInfo {
  std::string_view name;
  std::string_view hint;  // replaces the usual words
};

struct Value {
  Tag tag = Tag::kUndefined;
  Tag object = Tag::kMissing;  // of an undefined attribute: of what
  Source source = kTemplate;   // of numbers and booleans; text, lists and dicts hold their own
  union {
    int64_t integer = 0;
    bool boolean;
    double real;
    const Str* text;
    const List* list;
    const Dict* dict;
    const View* view;
    const Range* range;
    Iterator* iterator;
    Namespace* names;
    const Function* function;
    const Macro* macro;
    Loop* loop;
    Cycler* cycler;
    const UndefinedInfo* undefined;
  };

  bool is(Tag t) const { return tag == t; }
  bool is_text() const { return tag == Tag::kString; }
};
static_assert(sizeof(Value) == 16 && std::is_trivially_copyable_v<Value>);

struct List {  // and tuple
  const Value* items;
  uint32_t count;
  Source source;
  const char* fields = nullptr;  // of groupby's tuples: they answer to .grouper and .list
};

struct Entry {
  Value key, value;  // the `source` of a dict's text key is its hash
};

struct Dict {
  const Entry* entries;
  uint32_t count;
  Source source;
  int32_t message;        // which of the caller's messages this is, or -1
  uint32_t mask;          // of `slots`
  const uint32_t* slots;  // open addressing, 0 empty, else entry + 1; null for few entries

  const Value* find(const Str& key) const;
  const Value* find(const Value& key) const;  // Error when the key cannot be hashed
};

struct View {
  const char* name;  // dict_keys, dict_values, dict_items
  List items;
};

struct Range {
  int64_t start, stop, step, count;
};

struct State;

struct Iterator {
  const char* name;
  bool (*next)(State&, Iterator&, Value&);
};

struct Namespace {
  Entry* entries;
  uint32_t count, room;
};

inline Value tagged(Tag tag, Source source = kTemplate) {
  Value v;
  v.tag = tag;
  v.source = source;
  return v;
}
inline Value none() { return tagged(Tag::kNone); }
inline Value missing() { return tagged(Tag::kMissing); }
inline Value boolean(bool b, Source source = kTemplate) {
  Value v = tagged(Tag::kBool, source);
  v.integer = b ? 1 : 0;
  return v;
}
inline Value integer(int64_t i, Source source = kTemplate) {
  Value v = tagged(Tag::kInt, source);
  v.integer = i;
  return v;
}
inline Value real(double d, Source source = kTemplate) {
  Value v = tagged(Tag::kFloat, source);
  v.real = d;
  return v;
}
inline Value text(const Str* s) {
  Value v = tagged(Tag::kString);
  v.text = s;
  return v;
}
inline Value list_value(const List* l, Tag tag = Tag::kList) {
  Value v = tagged(tag);
  v.list = l;
  return v;
}
inline Value dict_value(const Dict* d) {
  Value v = tagged(Tag::kDict);
  v.dict = d;
  return v;
}

// Python's name of the type.
const char* type_name(const Value& value);
bool truth(State& state, const Value& value);
bool equal(const Value& a, const Value& b, int depth = 0);
// Error for what Python cannot hash.
uint32_t hash_of(const Value& value, int depth = 0);
uint32_t make_hash(const Str& text);
inline uint32_t hash_of(const Str& text) { return text.hash != 0 ? text.hash : make_hash(text); }
bool same_text(const Str& a, const Str& b);
bool same_text(const Str& a, std::string_view b);
// < 0, 0, > 0; Error with `op` for types that have no order.
int compare(const Value& a, const Value& b, const char* op, int depth = 0);

const List* make_list(Arena& arena, const Value* items, size_t count, Source source = kTemplate);

// Collects entries, later ones for a key that is there already replacing its value.
class DictBuilder {
 public:
  explicit DictBuilder(Arena& arena, size_t room = 8);
  void set(const Value& key, const Value& value);
  // For keys that are known to differ.
  void append(const Value& key, const Value& value);
  const Dict* finish(Source source = kTemplate, int32_t message = -1);

 private:
  Arena& arena_;
  Entry* entries_;
  uint32_t count_ = 0, room_;
  uint32_t* slots_ = nullptr;
  uint32_t mask_ = 0;
  void index();
};

// Grows a list of values in the arena.
class ListBuilder {
 public:
  explicit ListBuilder(Arena& arena, size_t room = 8)
      : arena_(arena), items_(arena.array<Value>(room)), room_(room) {}
  void add(const Value& value);
  size_t size() const { return count_; }
  Value* data() { return items_; }
  const List* finish(Source source = kTemplate) const { return make_list(arena_, items_, count_, source); }

 private:
  Arena& arena_;
  Value* items_;
  size_t count_ = 0, room_;
};

}  // namespace decant::jinja
