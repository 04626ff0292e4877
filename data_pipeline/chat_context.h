// Messages as a template sees them, and the numbers that tell where each of their texts came from.
#pragma once

#include <string_view>
#include <vector>

#include "data_pipeline/chat_template.h"
#include "data_pipeline/jinja/template.h"

namespace decant {

// jinja::Source: 0 the template, else the field and the message (-1: none) it belongs to.
inline jinja::Source source_of(Origin origin, int64_t message) {
  return static_cast<jinja::Source>((message + 1) << 4) | static_cast<jinja::Source>(origin);
}
inline Origin origin_of(jinja::Source source) { return static_cast<Origin>(source & 15); }
inline int64_t message_of(jinja::Source source) { return static_cast<int64_t>(source >> 4) - 1; }

// Names of messages' fields, made once.
class MessageKeys {
 public:
  MessageKeys();
  jinja::Value thinking, role, content, tool_calls, reasoning, name, tool_call_id;

 private:
  jinja::Arena arena_;
};

enum class ArgumentForm : uint8_t { kObject, kText };

// `kept` keeps the JSON that parsing and printing arguments makes, as long as the values are used.
jinja::Value message_value(jinja::Arena& arena, const MessageKeys& keys, const Message& message,
                           int64_t index, ArgumentForm form, std::vector<Json>& kept);
// A message given as JSON, with all its keys.
jinja::Value message_value(jinja::Arena& arena, const Json& message, int64_t index);

// Roles that are plain names cannot carry anything in.
bool is_plain_name(std::string_view role);

}  // namespace decant
