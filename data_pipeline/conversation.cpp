#include "data_pipeline/conversation.h"

#include <algorithm>

#include "core/error.h"
#include "core/hash.h"
#include "data_pipeline/json_line.h"
#include "data_pipeline/json_tree.h"
#include "data_pipeline/record_form.h"

namespace decant {

namespace {

// Ids of records without one are hashes of it.
void append_message(std::string& out, const Message& message) {
  JsonLine line(out);
  line.text("role", message.role).text("content", message.content);
  if (!message.tool_calls.is_null()) line.tree("tool_calls", message.tool_calls);
  if (!message.reasoning.empty()) line.text("reasoning_content", message.reasoning);
  if (!message.name.empty()) line.text("name", message.name);
  if (!message.tool_call_id.empty()) line.text("tool_call_id", message.tool_call_id);
  if (message.weight != 1) line.tree("weight", message.weight);
  line.end();
}

void append_messages(std::string& out, const std::vector<Message>& messages) {
  out += '[';
  for (size_t m = 0; m < messages.size(); ++m) {
    if (m > 0) out += ',';
    append_message(out, messages[m]);
  }
  out += ']';
}

std::string text_of(const Conversation& c, const std::string& id, const Conversation* rejected) {
  std::string out;
  JsonLine line(out);
  line.text("id", id).text("tenant", c.tenant).text("period", c.period).text("customer", c.customer);
  append_messages(line.member("messages"), c.messages);
  JsonLine(line.member("source"))
      .text("file", c.source.file)
      .number("byte_offset", c.source.byte_offset)
      .number("line", c.source.line)
      .end();
  if (!c.tools.is_null()) line.tree("tools", c.tools);
  if (!c.pair.empty()) line.text("pair", c.pair);
  if (c.judged || !c.pair.empty() || c.rejected) line.written("rejected", c.rejected ? "true" : "false");
  if (!c.meta.is_null()) line.tree("meta", c.meta);
  if (rejected != nullptr) append_messages(line.member("rejected_messages"), rejected->messages);
  line.end();
  return out;
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

Json conversation_json(const Conversation& c) { return parse_json(conversation_text(c), "a conversation"); }

std::string conversation_text(const Conversation& c) { return text_of(c, c.id, nullptr); }

std::string pair_text(const Conversation& chosen, const Conversation& rejected) {
  return text_of(chosen, chosen.pair, &rejected);
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
