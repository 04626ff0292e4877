// The canonical record every reader ends in (DESIGN 3.1).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
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
  Json tools;             // the definitions that the assistant was given; null when there are none
  std::string pair;       // of a preference pair, which is two conversations: what joins them; else empty
  bool judged = false;    // people said what they think of its answer: of a pair, or alone (feedback)
  bool rejected = false;  // and it is the worse one of its pair, or an answer that is not wanted
  Json meta;
};

// One line of canonical JSON (record_format.h: the form `messages`), and the same as a tree.
std::string conversation_text(const Conversation& conversation);
Json conversation_json(const Conversation& conversation);
// A pair as one record: the better conversation under the pair's id, with what is said in the other one as
// `rejected_messages`.
std::string pair_text(const Conversation& chosen, const Conversation& rejected);

// A canonical record from JSON (record_format.h: the form `messages`), of a pair the better conversation;
// Error text without a prefix, since the caller knows the place.
Conversation parse_conversation(const Json& json);
// One, or the two of a pair: chosen, rejected.
std::vector<Conversation> parse_conversations(const Json& json);

// Messages that two conversations begin with in common: what the answers of a pair both follow.
size_t common_messages(const Conversation& a, const Conversation& b);

// "sha256-<32 hex>" of everything that is learned from: tenant, messages, and tools, pair and rejected where
// there are any.
std::string content_id(const Conversation& conversation);

inline constexpr size_t kMaxIdBytes = 256;
inline constexpr size_t kMaxMessages = 100000;

// [a-z0-9-]{1,64}: tenants become paths.
bool is_tenant_name(std::string_view tenant);
// YYYY-MM
bool is_period(std::string_view period);

}  // namespace decant
