#include "data_pipeline/conversation.h"

#include <algorithm>

#include "core/error.h"
#include "core/hash.h"
#include "data_pipeline/json_tree.h"
#include "data_pipeline/record_form.h"

namespace decant {

namespace {

Json message_json(const Message& message) {
  Json json = {{"role", message.role}, {"content", message.content}};
  if (!message.tool_calls.is_null()) json["tool_calls"] = message.tool_calls;
  if (!message.reasoning.empty()) json["reasoning_content"] = message.reasoning;
  if (!message.name.empty()) json["name"] = message.name;
  if (!message.tool_call_id.empty()) json["tool_call_id"] = message.tool_call_id;
  if (message.weight != 1) json["weight"] = message.weight;
  return json;
}

// The text of message_json, without the tree: ids of records without one are hashes of it.
void append_message(std::string& out, const Message& message) {
  const auto member = [&](const char* key, const std::string& value) {
    out += key;
    append_json_string(out, value);
  };
  member("{\"role\":", message.role);
  member(",\"content\":", message.content);
  if (!message.tool_calls.is_null()) (out += ",\"tool_calls\":") += message.tool_calls.dump();
  if (!message.reasoning.empty()) member(",\"reasoning_content\":", message.reasoning);
  if (!message.name.empty()) member(",\"name\":", message.name);
  if (!message.tool_call_id.empty()) member(",\"tool_call_id\":", message.tool_call_id);
  if (message.weight != 1) (out += ",\"weight\":") += Json(message.weight).dump();
  out += '}';
}

}  // namespace

bool is_tenant_name(std::string_view tenant) {
  if (tenant.empty() || tenant.size() > 64) return false;
  return std::all_of(tenant.begin(), tenant.end(),
                     [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; });
}

bool is_period(std::string_view p) {
  if (p.size() != 7 || p[4] != '-') return false;
  for (size_t i : {0, 1, 2, 3, 5, 6})
    if (p[i] < '0' || p[i] > '9') return false;
  const int month = (p[5] - '0') * 10 + (p[6] - '0');
  return month >= 1 && month <= 12;
}

Json conversation_json(const Conversation& c) {
  Json messages = Json::array();
  for (const Message& message : c.messages) messages.push_back(message_json(message));
  Json json = {{"id", c.id}, {"tenant", c.tenant}, {"period", c.period}, {"customer", c.customer}};
  json["messages"] = std::move(messages);
  json["source"] = {{"file", c.source.file}, {"byte_offset", c.source.byte_offset}, {"line", c.source.line}};
  if (!c.tools.is_null()) json["tools"] = c.tools;
  if (!c.pair.empty()) json["pair"] = c.pair;
  if (c.judged || !c.pair.empty() || c.rejected) json["rejected"] = c.rejected;
  if (!c.meta.is_null()) json["meta"] = c.meta;
  return json;
}

Json pair_json(const Conversation& chosen, const Conversation& rejected) {
  Json json = conversation_json(chosen);
  json["id"] = chosen.pair;
  Json messages = Json::array();
  for (const Message& message : rejected.messages) messages.push_back(message_json(message));
  json["rejected_messages"] = std::move(messages);
  return json;
}

size_t common_messages(const Conversation& a, const Conversation& b) {
  const auto same = [](const Message& x, const Message& y) {
    return x.role == y.role && x.content == y.content && x.tool_calls == y.tool_calls &&
           x.reasoning == y.reasoning && x.name == y.name && x.tool_call_id == y.tool_call_id;
  };
  const auto [end, unused] =
      std::mismatch(a.messages.begin(), a.messages.end(), b.messages.begin(), b.messages.end(), same);
  return static_cast<size_t>(end - a.messages.begin());
}

std::string content_id(const Conversation& c) {
  std::string text = "[";
  append_json_string(text, c.tenant);
  for (const Message& message : c.messages) append_message(text += ',', message);
  if (!c.tools.is_null()) ((text += ",{\"tools\":") += c.tools.dump()) += '}';
  if (!c.pair.empty()) {
    append_json_string(text += ",{\"pair\":", c.pair);
    text += '}';
  }
  if (c.rejected) text += ",{\"rejected\":true}";
  text += ']';
  return "sha256-" + sha256_hex(text).substr(0, 32);
}

std::vector<Conversation> parse_conversations(const Json& json) {
  const std::string text = json.dump();
  JsonTree tree;
  const JsonFault fault = tree.parse(text, text.size());
  check(fault == JsonFault::kNone, fault_text(fault));
  NestedJson nested;
  std::vector<Conversation> conversations;
  read_form(RecordFormat::kMessages, tree.root(), {}, nested, conversations);
  return conversations;
}

Conversation parse_conversation(const Json& json) {
  Conversation first = std::move(parse_conversations(json).front());
  return first;
}

}  // namespace decant
