#include "data_pipeline/record_form.h"

#include <algorithm>

#include "core/error.h"
#include "data_pipeline/mapped_form.h"
#include "data_pipeline/record_turns.h"

namespace decant {

namespace {

bool same(const Message& a, const Message& b) {
  return a.role == b.role && a.content == b.content && a.tool_calls == b.tool_calls &&
         a.reasoning == b.reasoning;
}

bool same(const std::vector<Message>& a, const std::vector<Message>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const Message& x, const Message& y) { return same(x, y); });
}

// Two whole conversations that differ but for their messages as a pair, named after what they share.
void push_pair(Conversation better, Conversation worse, std::vector<Conversation>& out) {
  if (same(better.messages, worse.messages)) fail("'chosen' and 'rejected' are the same");
  if (!same(better.messages.front(), worse.messages.front()))
    fail("'chosen' and 'rejected' do not answer the same");
  std::string id = better.id;
  if (id.empty()) {
    Conversation both = better;
    both.messages.insert(both.messages.end(), worse.messages.begin(), worse.messages.end());
    id = content_id(both);
  }
  better.pair = worse.pair = id;
  better.judged = worse.judged = true;
  better.id = id + "#chosen";
  worse.id = id + "#rejected";
  worse.rejected = true;
  out.push_back(std::move(better));
  out.push_back(std::move(worse));
}

void finish(RecordFields& fields, Conversation& c) {
  fields.read_meta(c);
  if (c.id.empty()) c.id = content_id(c);
}

void read_tools(RecordFields& fields, Conversation& c, bool wrap) {
  c.tools = tool_definitions(fields.take_list("tools"), wrap);
  if (c.tools.is_null()) c.tools = tool_definitions(fields.take_list("functions"), true);
}

void add_system(RecordFields& fields, std::vector<Message>& messages) {
  std::string system = fields.take_text("system");
  if (!system.empty()) messages.push_back(make_message("system", std::move(system)));
}

void append_messages_form(RecordFields& fields, std::vector<Conversation>& out) {
  Conversation c;
  fields.read_head(c);
  const JsonValue list = fields.take("messages");
  if (!list) fail("no 'messages'");
  append_messages(fields.list_of(list, "messages"), "messages", c.messages);
  read_tools(fields, c, false);
  c.pair = fields.take_text("pair");
  if (c.pair.size() > kMaxIdBytes) fail("'pair' has more than ", kMaxIdBytes, " bytes");
  if (const JsonValue rejected = fields.take("rejected")) {
    const bool is_bool = rejected.is(JsonKind::kTrue) || rejected.is(JsonKind::kFalse);
    if (!is_bool) fail("'rejected' must be true or false, found ", kind_name(rejected));
    c.judged = true;
    c.rejected = rejected.is(JsonKind::kTrue);
  }
  std::vector<Message> worse;
  if (const JsonValue list = fields.take("rejected_messages"))
    append_messages(fields.list_of(list, "rejected_messages"), "rejected_messages", worse);
  if (worse.empty()) {
    c.judged = c.judged || !c.pair.empty();
    finish(fields, c);
    out.push_back(std::move(c));
    return;
  }
  if (c.rejected) fail("'rejected' is true, but 'rejected_messages' are the other conversation");
  fields.read_meta(c);
  Conversation other = c;
  other.messages = std::move(worse);
  push_pair(std::move(c), std::move(other), out);
}

Conversation sharegpt_form(RecordFields& fields) {
  Conversation c;
  fields.read_head(c);
  add_system(fields, c.messages);
  const JsonValue list = fields.take("conversations");
  if (!list) fail("no 'conversations'");
  append_sharegpt(fields.list_of(list, "conversations"), "conversations", fields.nested(), c.messages);
  read_tools(fields, c, true);
  finish(fields, c);
  return c;
}

// system, history, instruction and input: what is answered.
void alpaca_question(RecordFields& fields, std::vector<Message>& messages) {
  add_system(fields, messages);
  if (const JsonValue history = fields.take_list("history")) {
    if (history.size() > kMaxMessages) fail("more than ", kMaxMessages, " messages");
    for (const JsonValue exchange : history) {
      const JsonValue question = exchange.at(0), answer = exchange.at(1);
      const bool two = exchange.size() == 2 && question.is(JsonKind::kString) && answer.is(JsonKind::kString);
      if (!two) fail("'history' must be a list of [question, answer]");
      messages.push_back(make_message("user", std::string(question.text())));
      messages.push_back(make_message("assistant", std::string(answer.text())));
    }
  }
  std::string question = fields.take_text("instruction");
  const std::string input = fields.take_text("input");
  if (!question.empty() && !input.empty()) question += '\n';
  question += input;
  if (question.empty()) fail("no 'instruction'");
  messages.push_back(make_message("user", std::move(question)));
}

Conversation alpaca_form(RecordFields& fields) {
  Conversation c;
  fields.read_head(c);
  alpaca_question(fields, c.messages);
  const JsonValue output = fields.take("output");
  if (!output) fail("no 'output'");
  c.messages.push_back(make_message("assistant", text_of(output, "output")));
  read_tools(fields, c, true);
  finish(fields, c);
  return c;
}

Conversation prompt_completion_form(RecordFields& fields) {
  Conversation c;
  fields.read_head(c);
  add_system(fields, c.messages);
  const JsonValue prompt = fields.take("prompt"), completion = fields.take("completion");
  if (!prompt) fail("no 'prompt'");
  if (!completion) fail("no 'completion'");
  append_turns(prompt, "prompt", "user", fields.nested(), c.messages);
  append_turns(completion, "completion", "assistant", fields.nested(), c.messages);
  read_label(fields.take("label"), "label", c);
  read_tools(fields, c, false);
  finish(fields, c);
  return c;
}

void preference_form(RecordFields& fields, std::vector<Conversation>& out) {
  Conversation c;
  fields.read_head(c);
  const JsonValue chosen = fields.take("chosen"), rejected = fields.take("rejected");
  if (!chosen) fail("no 'chosen'");
  if (!rejected) fail("no 'rejected'");
  if (fields.has("instruction")) {
    alpaca_question(fields, c.messages);
  } else {
    add_system(fields, c.messages);
    if (const JsonValue prompt = fields.take("prompt"))
      append_turns(prompt, "prompt", "user", fields.nested(), c.messages);
    else if (const JsonValue question = fields.take("question"))
      append_turns(question, "question", "user", fields.nested(), c.messages);
    else if (const JsonValue turns = fields.take_list("conversations"))
      append_sharegpt(turns, "conversations", fields.nested(), c.messages);
    else if (const JsonValue messages = fields.take_list("messages"))
      append_messages(messages, "messages", c.messages);
  }
  std::vector<Message> better, worse;
  append_turns(chosen, "chosen", "assistant", fields.nested(), better);
  append_turns(rejected, "rejected", "assistant", fields.nested(), worse);
  read_tools(fields, c, true);
  fields.read_meta(c);
  append_pair(std::move(c), std::move(better), std::move(worse), out);
}

bool is_whole(const std::vector<Message>& answer) {
  return answer.front().role == "user" || answer.front().role == "system";
}

// `answer` behind the prompt, or in its place when it begins with what is asked itself.
std::vector<Message> answered(const std::vector<Message>& prompt, std::vector<Message> answer,
                              std::string_view key) {
  if (answer.empty()) fail("'", key, "' is empty");
  if (answer.back().role != "assistant") fail("'", key, "' does not end in an answer");
  if (!is_whole(answer)) {
    if (prompt.empty()) fail("no 'prompt' that '", key, "' answers");
    answer.insert(answer.begin(), prompt.begin(), prompt.end());
    return answer;
  }
  if (prompt.empty()) return answer;
  const Message& asked = prompt.back();
  const bool has =
      std::any_of(answer.begin(), answer.end(), [&](const Message& m) { return same(m, asked); });
  if (!has) fail("'", key, "' begins with another question than 'prompt'");
  if (prompt.front().role == "system" && answer.front().role != "system")
    answer.insert(answer.begin(), prompt.front());
  return answer;
}

}  // namespace

void append_pair(Conversation shared, std::vector<Message> chosen, std::vector<Message> rejected,
                 std::vector<Conversation>& out) {
  const std::vector<Message> prompt = std::move(shared.messages);
  Conversation better = std::move(shared);
  better.messages.clear();
  Conversation worse = better;
  better.messages = answered(prompt, std::move(chosen), "chosen");
  worse.messages = answered(prompt, std::move(rejected), "rejected");
  push_pair(std::move(better), std::move(worse), out);
}

void read_form(RecordFormat format, JsonValue record, const SourceConfig& source, NestedJson& nested,
               std::vector<Conversation>& out) {
  nested.clear();
  RecordFields fields(record, source, nested);
  switch (format) {
    case RecordFormat::kAuto:
    case RecordFormat::kMessages:
      append_messages_form(fields, out);
      return;
    case RecordFormat::kShareGpt:
      out.push_back(sharegpt_form(fields));
      return;
    case RecordFormat::kAlpaca:
      out.push_back(alpaca_form(fields));
      return;
    case RecordFormat::kPromptCompletion:
      out.push_back(prompt_completion_form(fields));
      return;
    case RecordFormat::kPreference:
      preference_form(fields, out);
      return;
    case RecordFormat::kFields:
      mapped_form(fields, out);
      return;
    case RecordFormat::kText:
      break;
  }
  Conversation c;
  fields.read_head(c);
  const JsonValue text = fields.take("text");
  if (!text) fail("no 'text'");
  c.messages.push_back(make_message("assistant", text_of(text, "text")));
  finish(fields, c);
  out.push_back(std::move(c));
}

RecordFormat form_of(JsonValue record) {
  if (!record.is(JsonKind::kObject)) return RecordFormat::kAuto;
  const auto list = [&](const char* key) {
    const JsonValue value = record.find(key);
    return value.is(JsonKind::kArray) || (value.is(JsonKind::kString) && value.text().starts_with('['));
  };
  const auto has = [&](const char* key) { return static_cast<bool>(record.find(key)); };
  if (has("chosen") && has("rejected")) return RecordFormat::kPreference;
  if (list("messages")) return RecordFormat::kMessages;
  if (list("conversations")) return RecordFormat::kShareGpt;
  if (has("instruction") && has("output")) return RecordFormat::kAlpaca;
  if (has("prompt") && has("completion")) return RecordFormat::kPromptCompletion;
  return RecordFormat::kAuto;
}

}  // namespace decant
