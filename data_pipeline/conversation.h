// The canonical record every reader ends in (DESIGN 3.1).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/json.h"

namespace decant {

struct Message {
  std::string role;  // system, user, assistant, tool
  std::string content;
  Json tool_calls;                 // null when there are none
  std::string reasoning;           // of an assistant turn, before its content (`reasoning_content`)
  std::string name, tool_call_id;  // of a tool message
  double weight = 1;               // of its loss, 0 to 1
};

struct Source {
  std::string file;
  uint64_t byte_offset = 0;
  uint64_t line = 0;  // from 1
};

struct Conversation {
  std::string id, tenant, period, customer;
  std::vector<Message> messages;
  Source source;
  Json tools;        // the definitions that the assistant was given; null when there are none
  std::string pair;  // of a preference pair, which is two conversations: what joins them; else empty
  bool rejected = false;
  Json meta;
};

Json conversation_json(const Conversation& conversation);

// A canonical record, or an OpenAI-style line {"messages": [...]}. What is missing is filled: id "sha256-<32
// hex>" of tenant and messages, tenant "default", period and customer empty. Whole numbers are taken as ids
// and customers. Content is text, null (empty) or a list of {"type": "text"} parts. `name` and `tool_call_id`
// of a message are left out; top-level keys that the record does not have go to `meta`. Error text without a
// prefix (the caller knows the place): missing or wrong fields, unknown role, no messages, bad period, a key
// that would change what is learned if it were ignored (`tools`, `functions`, a message's `weight`).
Conversation parse_conversation(const Json& json);

// [a-z0-9-]{1,64}: tenants become paths.
bool is_tenant_name(const std::string& tenant);
// YYYY-MM
bool is_period(const std::string& period);

}  // namespace decant
