#include "data_pipeline/record_turns.h"

#include <charconv>

#include "core/error.h"

namespace decant {

namespace {

// "messages[3]", made only when it is needed.
struct Where {
  std::string_view key;
  size_t index;
  std::string text() const { return concat(key, "[", index, "]"); }
};

bool is_empty(JsonValue value) {
  switch (value.kind()) {
    case JsonKind::kNull:
      return true;
    case JsonKind::kString:
      return value.text().empty();
    case JsonKind::kArray:
    case JsonKind::kObject:
      return value.size() == 0;
    default:
      return false;
  }
}

std::string content_text(JsonValue content, const Where& where) {
  if (content.is_null()) return {};
  if (content.is(JsonKind::kString)) return std::string(content.text());
  if (!content.is(JsonKind::kArray)) fail(where.text(), ".content must be text, found ", kind_name(content));
  std::string text;
  for (const JsonValue part : content) {
    const JsonValue type = part.find("type"), words = part.find("text");
    const bool is_text = type.is(JsonKind::kString) && type.text() == "text" && words.is(JsonKind::kString);
    if (!is_text) fail(where.text(), ".content holds a part that is not text");
    text += words.text();
  }
  return text;
}

double weight_of(JsonValue value, const Where& where) {
  double weight = -1;
  if (value.is(JsonKind::kNumber)) {
    const std::string_view text = value.text();
    if (std::from_chars(text.data(), text.data() + text.size(), weight).ec != std::errc()) weight = -1;
  }
  if (!(weight >= 0 && weight <= 1)) fail(where.text(), ".weight must be a number from 0 to 1");
  return weight;
}

std::string text_member(JsonValue value, const Where& where) {
  if (value.is_null()) return {};
  if (!value.is(JsonKind::kString))
    fail(where.text(), ".", value.key(), " must be text, found ", kind_name(value));
  return std::string(value.text());
}

Json function_call(Json function) {
  return Json::array({Json{{"type", "function"}, {"function", std::move(function)}}});
}

std::string_view openai_role(std::string_view role) {
  if (role == "system" || role == "user" || role == "assistant" || role == "tool") return role;
  if (role == "developer") return "system";
  if (role == "function") return "tool";
  return {};
}

void append_message(JsonValue json, const Where& where, std::vector<Message>& messages) {
  if (!json.is(JsonKind::kObject)) fail(where.text(), " must be an object, found ", kind_name(json));
  Message& message = messages.emplace_back();
  JsonValue role, content, weight;
  for (const JsonValue value : json) {
    const std::string_view key = value.key();
    if (key == "role") {
      role = value;
    } else if (key == "content") {
      content = value;
      message.content = content_text(value, where);
    } else if (key == "name") {
      message.name = text_member(value, where);
    } else if (key == "tool_call_id") {
      message.tool_call_id = text_member(value, where);
    } else if (key == "reasoning_content" || key == "reasoning") {
      std::string text = text_member(value, where);
      const bool two = !text.empty() && !message.reasoning.empty() && text != message.reasoning;
      if (two) fail(where.text(), " has two different texts of reasoning");
      if (!text.empty()) message.reasoning = std::move(text);
    } else if (key == "tool_calls") {
      const bool list = value.is_null() || value.is(JsonKind::kArray);
      if (!list) fail(where.text(), ".tool_calls must be a list, found ", kind_name(value));
      if (value.size() > 0) message.tool_calls = to_json(value, false);
    } else if (key == "function_call" && value.is(JsonKind::kObject)) {
      if (message.tool_calls.is_null()) message.tool_calls = function_call(to_json(value, false));
    } else if (key == "weight") {
      if (!value.is_null()) weight = value;
    } else if (!is_empty(value)) {
      fail(where.text(),
           " has a key that is not understood (known: role, content, tool_calls, reasoning_content, name, "
           "tool_call_id, weight; of your own records, 'fields' says what counts)");
    }
  }
  if (!role.is(JsonKind::kString)) fail(where.text(), " has no 'role'");
  message.role = openai_role(role.text());
  if (message.role.empty()) fail(where.text(), ".role must be system, user, assistant or tool");
  if (!content && message.tool_calls.is_null()) fail(where.text(), " has no 'content'");
  const bool assistant = message.role == "assistant";
  if (!message.tool_calls.is_null() && !assistant) fail(where.text(), ".tool_calls belongs to an assistant");
  if (!message.reasoning.empty() && !assistant)
    fail(where.text(), ".reasoning_content belongs to an assistant");
  if (!weight) return;
  const double given = weight_of(weight, where);
  // Nothing is learned from the other roles: 0 says so, 1 would ask for something else.
  if (!assistant && given != 0) fail(where.text(), ".weight other than 0 belongs to an assistant");
  if (assistant) message.weight = given;
}

// A call as ShareGPT's function_call turns have it: JSON text.
Json calls_of_text(JsonValue value, const Where& where, NestedJson& nested) {
  if (!value.is(JsonKind::kString)) fail(where.text(), ".value must be text, found ", kind_name(value));
  const JsonValue json = nested.parse(value.text(), where.text() + ".value");
  Json calls = Json::array();
  const auto add = [&](JsonValue call) {
    const JsonValue name = call.find("name");
    if (!name.is(JsonKind::kString)) fail(where.text(), ".value is a function call without a 'name'");
    calls.push_back(Json{{"type", "function"}, {"function", to_json(call, false)}});
  };
  if (json.is(JsonKind::kArray)) {
    for (const JsonValue call : json) add(call);
  } else {
    add(json);
  }
  if (calls.empty()) fail(where.text(), ".value holds no function call");
  return calls;
}

std::string_view sharegpt_role(std::string_view from) {
  if (from == "human" || from == "user") return "user";
  if (from == "gpt" || from == "assistant" || from == "chatgpt" || from == "bing" || from == "bard" ||
      from == "model" || from == "function_call")
    return "assistant";
  if (from == "system") return "system";
  if (from == "observation" || from == "tool" || from == "function_response") return "tool";
  return {};
}

void append_sharegpt_turn(JsonValue json, const Where& where, NestedJson& nested,
                          std::vector<Message>& messages) {
  const JsonValue from = json.find("from"), value = json.find("value");
  if (!from.is(JsonKind::kString)) fail(where.text(), " has no 'from'");
  Message& message = messages.emplace_back();
  message.role = sharegpt_role(from.text());
  if (message.role.empty())
    fail(where.text(), ".from must be human, gpt, system, observation or function_call");
  if (!value) fail(where.text(), " has no 'value'");
  if (from.text() == "function_call") {
    message.tool_calls = calls_of_text(value, where, nested);
  } else {
    message.content = text_member(value, where);
  }
  for (const JsonValue other : json) {
    const std::string_view key = other.key();
    if (key == "from" || key == "value" || is_empty(other)) continue;
    if (key != "weight") fail(where.text(), " has a key that is not understood (known: from, value, weight)");
    const double given = weight_of(other, where);
    if (message.role == "assistant") {
      message.weight = given;
    } else if (given != 0) {
      fail(where.text(), ".weight other than 0 belongs to an assistant");
    }
  }
}

void check_list(JsonValue list, std::string_view key) {
  if (!list.is(JsonKind::kArray)) fail("'", key, "' must be a list, found ", kind_name(list));
  if (list.size() == 0) fail("'", key, "' is empty");
  if (list.size() > kMaxMessages) fail("more than ", kMaxMessages, " messages");
}

}  // namespace

Message make_message(std::string_view role, std::string content) {
  Message message;
  message.role = role;
  message.content = std::move(content);
  return message;
}

void append_messages(JsonValue list, std::string_view key, std::vector<Message>& messages) {
  check_list(list, key);
  messages.reserve(messages.size() + list.size());
  size_t i = 0;
  for (const JsonValue message : list) append_message(message, {key, i++}, messages);
}

void append_sharegpt(JsonValue list, std::string_view key, NestedJson& nested,
                     std::vector<Message>& messages) {
  check_list(list, key);
  messages.reserve(messages.size() + list.size());
  size_t i = 0;
  for (const JsonValue turn : list) {
    const Where where{key, i++};
    if (!turn.is(JsonKind::kObject)) fail(where.text(), " must be an object, found ", kind_name(turn));
    if (turn.find("role")) {
      append_message(turn, where, messages);
    } else {
      append_sharegpt_turn(turn, where, nested, messages);
    }
  }
}

void append_turns(JsonValue value, std::string_view key, std::string_view role, NestedJson& nested,
                  std::vector<Message>& messages) {
  if (value.is(JsonKind::kString)) {
    messages.push_back(make_message(role, std::string(value.text())));
  } else if (value.is(JsonKind::kObject)) {
    const Where where{key, 0};
    if (value.find("role")) {
      append_message(value, where, messages);
    } else {
      append_sharegpt_turn(value, where, nested, messages);
    }
  } else if (value.is(JsonKind::kArray)) {
    append_sharegpt(value, key, nested, messages);
  } else {
    fail("'", key, "' must be text or a list of messages, found ", kind_name(value));
  }
}

Json tool_definitions(JsonValue list, bool wrap) {
  if (!list || list.size() == 0) return nullptr;
  Json tools = to_json(list, false);
  if (!wrap) return tools;
  for (Json& tool : tools)
    if (tool.is_object() && tool.contains("name") && !tool.contains("function"))
      tool = Json{{"type", "function"}, {"function", std::move(tool)}};
  return tools;
}

}  // namespace decant
