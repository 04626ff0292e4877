// The members of one record, and which of them have been taken: what is left over becomes its `meta`.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data_pipeline/conversation.h"
#include "data_pipeline/json_tree.h"
#include "data_pipeline/source_config.h"

namespace decant {

// JSON written as text inside a record ("tools": "[...]"). The values stay valid until clear().
class NestedJson {
 public:
  // Error when it is not JSON; `key` says of what.
  JsonValue parse(std::string_view text, std::string_view key);
  void clear() { used_ = 0; }

 private:
  std::vector<std::unique_ptr<JsonTree>> trees_;
  size_t used_ = 0;
};

class RecordFields {
 public:
  // `record` must be an object, or an Error says so.
  RecordFields(JsonValue record, const SourceConfig& source, NestedJson& nested);

  // The member, which is then taken; absent when it is missing, null or the source's null_text.
  JsonValue take(std::string_view key);
  // As take, for a path of the source's FieldMap ("a.b.0"); takes the whole top member.
  JsonValue take_path(std::string_view path);
  // As take_path, but the member stays in `meta` unless it is the value itself.
  JsonValue look(std::string_view path);

  // An array as it is or written as JSON text; absent for one that is missing or "". Error for other values.
  JsonValue take_list(std::string_view key);
  JsonValue list_of(JsonValue value, std::string_view key);
  // Text, "" when absent. Error for other values.
  std::string take_text(std::string_view key);

  // id, tenant, period and customer, from where the source's fields say or the members of these names; the
  // source's own tenant and period, and "default", for records that have none.
  void read_head(Conversation& c);
  // What nobody took, and the members of an object `meta`.
  void read_meta(Conversation& c);

  bool has(std::string_view key) const { return static_cast<bool>(record_.find(key)); }
  const SourceConfig& source() const { return source_; }
  NestedJson& nested() { return nested_; }

 private:
  JsonValue value_or_absent(JsonValue value) const;
  JsonValue follow(std::string_view path, bool take);
  std::string short_text(JsonValue value, std::string_view key) const;
  JsonValue record_;
  const SourceConfig& source_;
  NestedJson& nested_;
  std::vector<uint32_t> taken_;
};

// "'key' must be text, found number"; null is "".
std::string text_of(JsonValue value, std::string_view key);

// Feedback on the answer: true, false, 1, 0, or one of these as text; absent: none.
void read_label(JsonValue label, std::string_view key, Conversation& c);

}  // namespace decant
