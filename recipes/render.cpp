// decant render: conversations to the text, ids and loss weights that training would use.
#include <CLI/CLI.hpp>
#include <memory>

#include "core/json.h"
#include "data_pipeline/chat_template.h"
#include "data_pipeline/conversation.h"
#include "data_pipeline/tokenizer.h"
#include "recipes/open_model.h"
#include "recipes/verbs.h"

namespace decant {

namespace {

// A whole conversation record, {"messages": [...]} or the bare list of messages.
std::vector<Message> parse_messages(const Json& json, const std::string& where) {
  const Json* list = json.is_object() && json.contains("messages") ? &json["messages"] : &json;
  check(list->is_array() && !list->empty(), where,
        ": expected an object with 'messages', or a list of messages");
  std::vector<Message> messages;
  for (const auto& item : *list) {
    check(item.is_object() && item.contains("role") && item["role"].is_string() && item.contains("content") &&
              item["content"].is_string(),
          where, ": message ", messages.size(), " must be an object with the texts 'role' and 'content'");
    Message message;
    message.role = item["role"].get<std::string>();
    message.content = item["content"].get<std::string>();
    if (item.contains("tool_calls")) message.tool_calls = item["tool_calls"];
    messages.push_back(std::move(message));
  }
  return messages;
}

Exit run_render(const std::string& path, bool prompt) {
  const auto tokenizer = load_tokenizer(path);
  const auto chat = open_chat_template(path);
  std::string text;
  for (int64_t line = 0; next_line(text, line);) {
    const std::string where = concat("standard input:", line);
    const auto pieces = chat->render(parse_messages(parse_json(text, where), where), prompt);
    const TokenizedDocument document = tokenize_rendered(pieces, *tokenizer);
    Json out;
    std::string rendered;
    Json spans = Json::array();
    for (const auto& piece : pieces) {
      const size_t begin = rendered.size();
      rendered += piece.text;
      if (piece.loss_weight <= 0 || piece.text.empty()) continue;
      if (!spans.empty() && spans.back()[1] == begin)
        spans.back()[1] = rendered.size();
      else
        spans.push_back({begin, rendered.size()});
    }
    out["text"] = rendered;
    out["loss_bytes"] = spans;  // [begin, end) in bytes of UTF-8
    out["ids"] = document.tokens;
    Json weights = Json::array();
    for (const uint8_t w : document.loss_weight) weights.push_back(w / 255.0);
    out["loss_weight"] = weights;
    print(out.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
    if (!more_input()) flush_output();
  }
  return Exit::kFinished;
}

}  // namespace

void add_render(CLI::App& app, Action& action) {
  auto* render =
      app.add_subcommand("render", "conversations on standard input, their text, ids and loss weights out");
  auto model = std::make_shared<std::string>();
  auto prompt = std::make_shared<bool>(false);
  render->add_option("MODEL", *model, "Hugging Face folder or GGUF file: its tokenizer and chat template")
      ->required();
  render->add_flag("--prompt", *prompt, "end with the start of an assistant turn, as for generation");
  render->callback(
      [&action, model, prompt] { action = [model, prompt] { return run_render(*model, *prompt); }; });
}

}  // namespace decant
