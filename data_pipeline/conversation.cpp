#include "data_pipeline/conversation.h"

#include <algorithm>

#include "core/error.h"
#include "core/hash.h"

namespace decant {

namespace {

constexpr size_t kMaxIdBytes = 256;
constexpr size_t kMaxMessages = 100000;

bool plain_text(const std::string& text) {
  return std::none_of(text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; });
}

// A short text field; whole numbers are taken in decimal.
std::string short_field(const Json& json, const char* key) {
  const auto found = json.find(key);
  if (found == json.end() || found->is_null()) return {};
  std::string text;
  if (found->is_string()) {
    text = found->get<std::string>();
  } else if (found->is_number_integer()) {
    text = found->dump();
  } else {
    fail("'", key, "' must be text, found ", found->type_name());
  }
  check(text.size() <= kMaxIdBytes, "'", key, "' has ", text.size(), " bytes, at most ", kMaxIdBytes,
        " are taken");
  check(plain_text(text), "'", key, "' holds a control character");
  return text;
}

std::string content_text(const Json& content, const std::string& where) {
  if (content.is_null()) return {};
  if (content.is_string()) return content.get<std::string>();
  check(content.is_array(), where, ".content must be text, found ", content.type_name());
  std::string text;
  for (const Json& part : content) {
    const bool is_text = part.is_object() && part.contains("type") && part["type"] == "text" &&
                         part.contains("text") && part["text"].is_string();
    check(is_text, where, ".content holds a part that is not text");
    text += part["text"].get<std::string>();
  }
  return text;
}

Message parse_message(const Json& json, const std::string& where) {
  check(json.is_object(), where, " must be an object, found ", json.type_name());
  const auto role = json.find("role");
  check(role != json.end() && role->is_string(), where, " has no 'role'");
  Message message;
  message.role = role->get<std::string>();
  const bool known = message.role == "system" || message.role == "user" || message.role == "assistant" ||
                     message.role == "tool";
  check(known, where, ".role must be system, user, assistant or tool");
  for (const auto& [key, value] : json.items()) {
    if (key == "content") {
      message.content = content_text(value, where);
    } else if (key == "tool_calls") {
      check(value.is_null() || value.is_array(), where, ".tool_calls must be a list, found ",
            value.type_name());
      if (value.is_array() && !value.empty()) message.tool_calls = value;
    } else if (!value.is_null()) {
      const bool harmless = key == "role" || key == "name" || key == "tool_call_id";
      check(harmless, where,
            " has a key that is not understood (known: role, content, tool_calls, name, tool_call_id)");
    }
  }
  const bool has_content = json.contains("content") || !message.tool_calls.is_null();
  check(has_content, where, " has no 'content'");
  check(message.tool_calls.is_null() || message.role == "assistant", where,
        ".tool_calls belongs to an assistant");
  return message;
}

Json message_json(const Message& message) {
  Json json = {{"role", message.role}, {"content", message.content}};
  if (!message.tool_calls.is_null()) json["tool_calls"] = message.tool_calls;
  if (!message.reasoning.empty()) json["reasoning_content"] = message.reasoning;
  if (!message.name.empty()) json["name"] = message.name;
  if (!message.tool_call_id.empty()) json["tool_call_id"] = message.tool_call_id;
  if (message.weight != 1) json["weight"] = message.weight;
  return json;
}

}  // namespace

bool is_tenant_name(const std::string& tenant) {
  if (tenant.empty() || tenant.size() > 64) return false;
  return std::all_of(tenant.begin(), tenant.end(),
                     [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; });
}

bool is_period(const std::string& p) {
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
  if (!c.pair.empty()) {
    json["pair"] = c.pair;
    json["rejected"] = c.rejected;
  }
  if (!c.meta.is_null()) json["meta"] = c.meta;
  return json;
}

Conversation parse_conversation(const Json& json) {
  check(json.is_object(), "a record must be a JSON object, found ", json.type_name());
  Conversation c;
  c.id = short_field(json, "id");
  c.tenant = short_field(json, "tenant");
  c.period = short_field(json, "period");
  c.customer = short_field(json, "customer");
  check(c.period.empty() || is_period(c.period), "'period' must be YYYY-MM");
  if (c.tenant.empty()) c.tenant = "default";

  const auto messages = json.find("messages");
  check(messages != json.end(), "no 'messages'");
  check(messages->is_array(), "'messages' must be a list, found ", messages->type_name());
  check(!messages->empty(), "'messages' is empty");
  check(messages->size() <= kMaxMessages, "more than ", kMaxMessages, " messages");
  for (size_t i = 0; i < messages->size(); ++i)
    c.messages.push_back(parse_message((*messages)[i], concat("messages[", i, "]")));

  for (const auto& [key, value] : json.items()) {
    if (key == "id" || key == "tenant" || key == "period" || key == "customer" || key == "messages") continue;
    if (key == "source" || value.is_null())
      continue;  // the place in the file that was read replaces an older one
    check(key != "tools" && key != "functions" && key != "parallel_tool_calls",
          "records with tool definitions are not supported yet");
    if (key == "meta") {
      check(value.is_object(), "'meta' must be an object, found ", value.type_name());
      for (const auto& [name, item] : value.items()) c.meta[name] = item;
    } else {
      c.meta[key] = value;
    }
  }
  if (c.id.empty()) {
    Json key = Json::array({c.tenant});
    for (const Message& message : c.messages) key.push_back(message_json(message));
    c.id = "sha256-" + sha256_hex(key.dump()).substr(0, 32);
  }
  return c;
}

}  // namespace decant
