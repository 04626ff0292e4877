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
  Json tool_calls;   // null when there are none
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
  Json meta;
};

Json conversation_json(const Conversation& conversation);
// Error text without a prefix (the caller knows the place): missing or wrong fields, unknown role, no messages, bad period.
Conversation parse_conversation(const Json& json);

}  // namespace decant
