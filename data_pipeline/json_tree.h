// One JSON text as a tree that lies in a few buffers: simdjson finds the tokens and checks UTF-8, the tree
// keeps what records need and a parser's own types lose: key order, numbers as they are written, duplicate
// keys. Accepts exactly RFC 8259, nested at most 256 deep, with these choices where the RFC leaves one: a
// number may be of any size, a lone surrogate escape is refused, and so is a byte-order mark.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"

namespace decant {

enum class JsonKind : uint8_t { kNull, kFalse, kTrue, kNumber, kString, kArray, kObject };

enum class JsonFault : uint8_t {
  kNone,
  kInvalid,
  kUtf8,
  kTooDeep,
  kSurrogate,
  kDuplicateKey,   // valid JSON, but what it says is open
  kTooManyValues,  // more than a million
  kTooLarge        // 4 GiB
};
const char* fault_text(JsonFault fault);  // "the JSON is nested deeper than 256 levels"

// Bytes that may be read, but mean nothing, after a text.
inline constexpr size_t kJsonPadding = 64;

class JsonTree;

// A value of a tree, as cheap as a pointer. One that is "absent" is what find() gives for a missing key.
class JsonValue {
 public:
  JsonValue() = default;
  explicit operator bool() const { return tree_ != nullptr; }
  JsonKind kind() const;
  bool is(JsonKind kind) const { return tree_ != nullptr && this->kind() == kind; }
  bool is_null() const { return is(JsonKind::kNull); }
  std::string_view text() const;  // of a string its characters, of a number as it is written
  std::string_view key() const;   // of a member
  size_t size() const;            // of an array or object
  uint32_t index() const { return index_; }

  // A member, or an element by its number; absent when there is none.
  JsonValue find(std::string_view key) const;
  JsonValue at(size_t position) const;

  class Iterator {
   public:
    Iterator(const JsonTree* tree, uint32_t index) : tree_(tree), index_(index) {}
    JsonValue operator*() const { return {tree_, index_}; }
    Iterator& operator++();
    bool operator!=(const Iterator& other) const { return index_ != other.index_; }

   private:
    const JsonTree* tree_;
    uint32_t index_;
  };
  Iterator begin() const;  // the elements or members; none of a scalar
  Iterator end() const;

 private:
  friend class JsonTree;
  JsonValue(const JsonTree* tree, uint32_t index) : tree_(tree), index_(index) {}
  const JsonTree* tree_ = nullptr;
  uint32_t index_ = 0;
};

// "an object", for error texts.
const char* kind_name(JsonValue value);

class JsonTree {
 public:
  JsonTree();
  ~JsonTree();
  JsonTree(const JsonTree&) = delete;
  JsonTree& operator=(const JsonTree&) = delete;

  // The text must stay where it is while the tree is used. `readable` bytes from its begin may be read (64
  // more than it has, or it is copied).
  JsonFault parse(std::string_view text, size_t readable);
  // An object of texts, as of a CSV row; the views must stay valid.
  void set_row(const std::vector<std::string>& keys, const std::vector<std::string_view>& values);
  JsonValue root() const { return {this, 0}; }

 private:
  friend class JsonValue;
  struct Node {
    std::string_view key, text;
    uint32_t end = 0;   // the node after the last one below this
    uint32_t size = 0;  // children
    JsonKind kind = JsonKind::kNull;
  };
  struct Parser;
  template <class Value>
  JsonFault add(Value& value, std::string_view key, int depth);
  JsonFault add_scalar(std::string_view token, std::string_view key);
  bool has_duplicates(uint32_t object);
  bool unescape(const char* quoted, std::string_view& text);

  std::unique_ptr<Parser> parser_;
  std::vector<Node> nodes_;
  std::string padded_;     // a copy of a text that may not be read beyond its end
  std::string unescaped_;  // as large as the text, so that views of it stay valid
  std::vector<std::string_view> keys_;
  JsonFault fault_ = JsonFault::kInvalid;  // why unescape failed
  bool duplicate_ = false;
};

// The value as nlohmann has it. A number that neither 64 bits nor a double holds to the last digit becomes
// its text when `inexact_numbers_as_text`, else an Error says so.
Json to_json(JsonValue value, bool inexact_numbers_as_text);
// Compact JSON: what Json::dump() gives, but numbers as they are written.
void append_json(std::string& out, JsonValue value);
// A JSON string literal, escaped as Json::dump() does. The text must be UTF-8.
void append_json_string(std::string& out, std::string_view text);

inline JsonKind JsonValue::kind() const { return tree_->nodes_[index_].kind; }
inline std::string_view JsonValue::text() const { return tree_->nodes_[index_].text; }
inline std::string_view JsonValue::key() const { return tree_->nodes_[index_].key; }
inline size_t JsonValue::size() const { return tree_->nodes_[index_].size; }
inline JsonValue::Iterator JsonValue::begin() const { return {tree_, index_ + 1}; }
inline JsonValue::Iterator JsonValue::end() const { return {tree_, tree_->nodes_[index_].end}; }
inline JsonValue::Iterator& JsonValue::Iterator::operator++() {
  index_ = tree_->nodes_[index_].end;
  return *this;
}

}  // namespace decant
