#include "data_pipeline/chat_context.h"

#include <algorithm>

#include "core/error.h"
#include "data_pipeline/jinja/show.h"

namespace decant {

using jinja::Arena;
using jinja::Entry;
using jinja::Value;

MessageKeys::MessageKeys() {
  arena_.reset(1 << 20);
  const auto key = [&](const char* name) {
    const jinja::Str* s = jinja::make_text(arena_, name);
    Value v = jinja::text(s);
    v.source = jinja::hash_of(*s);
    jinja::length(*s);
    return v;
  };
  thinking = key("thinking");
  role = key("role");
  content = key("content");
  tool_calls = key("tool_calls");
  reasoning = key("reasoning_content");
  name = key("name");
  tool_call_id = key("tool_call_id");
}

bool is_plain_name(std::string_view role) {
  return !role.empty() && role.size() <= 64 && std::all_of(role.begin(), role.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  });
}

namespace {

Value field(Arena& arena, const std::string& text, Origin origin, int64_t message) {
  return jinja::text(jinja::make_text(arena, text, source_of(origin, message)));
}

Value role_value(Arena& arena, const std::string& role, int64_t index) {
  const bool plain = is_plain_name(role);
  return jinja::text(
      jinja::make_text(arena, role, plain ? jinja::kTemplate : source_of(Origin::kRole, index)));
}

// Python's json.dumps(value, ensure_ascii=False).
std::string python_dumps(const Json& json) {
  if (json.is_object() || json.is_array()) {
    std::string out(1, json.is_object() ? '{' : '[');
    bool first = true;
    for (const auto& [key, value] : json.items()) {
      if (!first) out += ", ";
      first = false;
      if (json.is_object()) out += Json(key).dump(-1, ' ', false) + ": ";
      out += python_dumps(value);
    }
    return out + (json.is_object() ? '}' : ']');
  }
  if (json.is_number_float()) return jinja::float_repr(json.get<double>());
  return json.dump(-1, ' ', false);
}

bool has_arguments(const Json& call) { return call.is_object() && call.contains("arguments"); }

void convert_arguments(Json& holder, ArgumentForm form) {
  Json& arguments = holder["arguments"];
  if (form == ArgumentForm::kText) {
    if (arguments.is_object()) arguments = python_dumps(arguments);
    return;
  }
  if (!arguments.is_string()) return;
  const auto& text = arguments.get_ref<const std::string&>();
  if (text.find('{') == std::string::npos) return;
  try {
    Json parsed = parse_json(text, "arguments");
    if (parsed.is_object()) arguments = std::move(parsed);
  } catch (const Error&) {
    // Not an object: the template is given the text as it is.
  }
}

bool needs_conversion(const Json& calls, ArgumentForm form) {
  const auto wrong = [&](const Json& holder) {
    return has_arguments(holder) &&
           (form == ArgumentForm::kText ? holder["arguments"].is_object() : holder["arguments"].is_string());
  };
  return calls.is_array() && std::any_of(calls.begin(), calls.end(), [&](const Json& call) {
           return wrong(call) || (call.is_object() && call.contains("function") && wrong(call["function"]));
         });
}

}  // namespace

Value message_value(Arena& arena, const MessageKeys& keys, const Message& m, int64_t index, ArgumentForm form,
                    std::vector<Json>& kept) {
  auto* entries = arena.array<Entry>(7);
  uint32_t n = 0;
  if (!m.reasoning.empty())
    entries[n++] = {keys.thinking, field(arena, m.reasoning, Origin::kReasoning, index)};
  entries[n++] = {keys.role, role_value(arena, m.role, index)};
  entries[n++] = {keys.content, field(arena, m.content, Origin::kContent, index)};
  if (!m.tool_calls.is_null()) {
    const Json* calls = &m.tool_calls;
    if (needs_conversion(*calls, form)) {
      kept.push_back(*calls);
      for (Json& call : kept.back()) {
        if (has_arguments(call)) convert_arguments(call, form);
        if (call.is_object() && call.contains("function") && has_arguments(call["function"]))
          convert_arguments(call["function"], form);
      }
      calls = &kept.back();
    }
    entries[n++] = {keys.tool_calls, from_json(arena, *calls, source_of(Origin::kToolCalls, index))};
  }
  if (!m.reasoning.empty())
    entries[n++] = {keys.reasoning, field(arena, m.reasoning, Origin::kReasoning, index)};
  if (!m.name.empty()) entries[n++] = {keys.name, field(arena, m.name, Origin::kOther, index)};
  if (!m.tool_call_id.empty())
    entries[n++] = {keys.tool_call_id, field(arena, m.tool_call_id, Origin::kOther, index)};
  return jinja::dict_value(arena.make<jinja::Dict>(entries, n, source_of(Origin::kOther, index),
                                                   static_cast<int32_t>(index), 0u, nullptr));
}

Value message_value(Arena& arena, const Json& message, int64_t index) {
  if (!message.is_object()) return from_json(arena, message, source_of(Origin::kOther, index));
  jinja::DictBuilder out(arena, message.size());
  for (const auto& [key, value] : message.items()) {
    const Value name = jinja::text(jinja::make_text(arena, key, source_of(Origin::kOther, index)));
    const Origin origin = key == "content" ? Origin::kContent
                          : key == "reasoning_content" || key == "thinking" || key == "reasoning"
                              ? Origin::kReasoning
                          : key == "tool_calls" ? Origin::kToolCalls
                                                : Origin::kOther;
    if (key == "role" && value.is_string())
      out.append(name, role_value(arena, value.get_ref<const std::string&>(), index));
    else
      out.append(name, from_json(arena, value, source_of(origin, index)));
  }
  return jinja::dict_value(out.finish(source_of(Origin::kOther, index), static_cast<int32_t>(index)));
}

}  // namespace decant
