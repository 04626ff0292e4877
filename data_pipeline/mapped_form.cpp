#include "data_pipeline/mapped_form.h"

#include <charconv>

#include "core/error.h"
#include "data_pipeline/record_turns.h"

namespace decant {

namespace {

constexpr std::string_view kSkip = "skip";

// What the record calls a speaker -> system, user, assistant, tool, skip, or empty.
std::string_view role_of(const FieldMap& map, std::string_view speaker) {
  if (const auto found = map.roles.find(std::string(speaker)); found != map.roles.end()) return found->second;
  for (const char* role : {"system", "user", "assistant", "tool"})
    if (speaker == role) return role;
  return {};
}

// A member of an object, or an element of a list that serves as a turn ("0" is the first).
JsonValue part_of(JsonValue turn, std::string_view name) {
  if (turn.is(JsonKind::kObject)) return turn.find(name);
  size_t position = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), position);
  const bool number = error == std::errc() && end == name.data() + name.size();
  return number ? turn.at(position) : JsonValue();
}

std::string value_text(JsonValue value) {
  if (value.is(JsonKind::kString)) return std::string(value.text());
  std::string text;
  append_json(text, value);
  return text;
}

void append_turn(const FieldMap& map, JsonValue turn, std::string_view key, size_t index,
                 std::vector<Message>& messages) {
  const auto where = [&] { return concat(key, "[", index, "]"); };
  const bool composite = turn.is(JsonKind::kObject) || turn.is(JsonKind::kArray);
  if (!composite) fail(where(), " must be an object or a list, found ", kind_name(turn));
  const JsonValue speaker = part_of(turn, map.role);
  if (!speaker.is(JsonKind::kString)) fail(where(), " has no '", map.role, "'");
  const std::string_view role = role_of(map, speaker.text());
  if (role.empty()) fail(where(), ".", map.role, " is a speaker that 'fields.roles' does not name");
  if (role == kSkip) return;
  for (const std::string& name : map.content) {
    const JsonValue content = part_of(turn, name);
    if (!content || content.is_null()) continue;
    messages.push_back(make_message(role, value_text(content)));
    return;
  }
  fail(where(), " has no '", map.content.front(), "'");
}

void append_lists(RecordFields& fields, std::vector<Message>& messages) {
  const FieldMap& map = fields.source().fields;
  for (const std::string& path : map.messages) {
    JsonValue list = fields.take_path(path);
    if (list.is(JsonKind::kString)) list = fields.nested().parse(list.text(), path);
    if (!list) fail("no '", path, "'");
    if (list.is(JsonKind::kObject)) {
      append_turn(map, list, path, 0, messages);
      continue;
    }
    if (!list.is(JsonKind::kArray)) fail("'", path, "' must be a list, found ", kind_name(list));
    if (messages.size() + list.size() > kMaxMessages) fail("more than ", kMaxMessages, " messages");
    size_t i = 0;
    for (const JsonValue turn : list) append_turn(map, turn, path, i++, messages);
  }
}

// "user: hello" begins a turn; other lines belong to the turn before.
void append_transcript(RecordFields& fields, std::string_view text, std::vector<Message>& messages) {
  const FieldMap& map = fields.source().fields;
  const std::string& null_text = fields.source().null_text;
  bool skipping = false, any = false;
  const auto close = [&] {
    if (!any || skipping || messages.empty()) return;
    std::string& content = messages.back().content;
    while (content.ends_with('\n') || content.ends_with('\r')) content.pop_back();
    if (!null_text.empty() && content == null_text) messages.pop_back();
  };
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    const size_t colon = line.find(':');
    std::string_view role;
    if (colon != std::string_view::npos && colon <= 64) role = role_of(map, line.substr(0, colon));
    if (!role.empty()) {
      close();
      any = true;
      skipping = role == kSkip;
      line.remove_prefix(colon + 1);
      if (line.starts_with(' ')) line.remove_prefix(1);
      if (!skipping) messages.push_back(make_message(role, std::string(line)));
      if (messages.size() > kMaxMessages) fail("more than ", kMaxMessages, " messages");
    } else if (any && !skipping) {
      (messages.back().content += '\n') += line;
    } else if (!any && line.find_first_not_of(" \t") != std::string_view::npos) {
      fail("'", map.transcript, "' begins without a speaker that 'fields.roles' names");
    }
  }
  close();
}

// A text at `path`; "" when the map names none or the record has none.
std::string text_at(RecordFields& fields, const std::string& path) {
  if (path.empty()) return {};
  const JsonValue value = fields.take_path(path);
  return value ? value_text(value) : std::string();
}

void append_question(RecordFields& fields, std::vector<Message>& messages) {
  const FieldMap& map = fields.source().fields;
  std::string system = text_at(fields, map.system);
  if (!system.empty()) messages.push_back(make_message("system", std::move(system)));
  if (map.user.empty() && map.input.empty()) return;
  std::string question = text_at(fields, map.user);
  const std::string input = text_at(fields, map.input);
  if (!question.empty() && !input.empty()) question += '\n';
  question += input;
  if (question.empty()) fail("no '", map.user.empty() ? map.input : map.user, "'");
  messages.push_back(make_message("user", std::move(question)));
}

void append_answer(RecordFields& fields, const std::string& path, std::vector<Message>& messages) {
  const JsonValue value = fields.take_path(path);
  if (!value) fail("no '", path, "'");
  if (value.is(JsonKind::kArray) || value.find("role") || value.find("from")) {
    append_turns(value, path, "assistant", fields.nested(), messages);
  } else {
    messages.push_back(make_message("assistant", value_text(value)));
  }
}

}  // namespace

void mapped_form(RecordFields& fields, std::vector<Conversation>& out) {
  const FieldMap& map = fields.source().fields;
  Conversation c;
  fields.read_head(c);
  append_question(fields, c.messages);
  if (!map.messages.empty()) append_lists(fields, c.messages);
  if (!map.transcript.empty()) append_transcript(fields, text_at(fields, map.transcript), c.messages);
  if (!map.assistant.empty()) append_answer(fields, map.assistant, c.messages);
  if (!map.reasoning.empty() && !c.messages.empty() && c.messages.back().role == "assistant")
    c.messages.back().reasoning = text_at(fields, map.reasoning);
  if (!map.tools.empty())
    c.tools = tool_definitions(fields.list_of(fields.take_path(map.tools), map.tools), true);
  if (!map.chosen.empty()) {
    std::vector<Message> chosen, rejected;
    append_answer(fields, map.chosen, chosen);
    append_answer(fields, map.rejected, rejected);
    fields.read_meta(c);
    append_pair(std::move(c), std::move(chosen), std::move(rejected), out);
    return;
  }
  if (c.messages.empty()) fail("no messages");
  if (!map.label.empty()) {
    const JsonValue label = fields.take_path(map.label);
    if (!label) fail("no '", map.label, "'");
    read_label(label, map.label, c);
  }
  fields.read_meta(c);
  if (c.id.empty()) c.id = content_id(c);
  out.push_back(std::move(c));
}

}  // namespace decant
