// decant render: conversations to the text that a model would see, and what of it the assistant said.
#include <CLI/CLI.hpp>
#include <memory>

#include "core/json.h"
#include "data_pipeline/chat_template.h"
#include "recipes/open_model.h"
#include "recipes/verbs.h"

namespace decant {

namespace {

// Of several named templates a request with tools takes the one for tools.
class Templates {
 public:
  explicit Templates(std::string path) : path_(std::move(path)), plain_(open(false)) {}
  const ChatTemplate& of(const Json& request) {
    const bool tools = request.is_object() && request.contains("tools") && request["tools"].is_array() &&
                       !request["tools"].empty();
    if (!tools) return *plain_;
    if (!with_tools_) with_tools_ = open(true);
    return *with_tools_;
  }

 private:
  std::unique_ptr<ChatTemplate> open(bool tools) const {
    return is_gguf(path_) ? open_chat_template(path_) : open_template_file(path_, tools);
  }
  std::string path_;
  std::unique_ptr<ChatTemplate> plain_, with_tools_;
};

Json answer(Templates& templates, const std::string& line, int64_t number, const std::string& date) {
  Json out;
  try {
    const Json request = parse_json(line, concat("line ", number));
    const Rendered rendered = templates.of(request).render_json(request, date);
    out["text"] = rendered.text;
    out["assistant_spans"] = Json::array();
    for (const Span& span : rendered.assistant_spans)
      out["assistant_spans"].push_back({span.begin, span.end});
  } catch (const Error& e) {
    out = {{"error", e.what()}};
  }
  return out;
}

Exit run_render(const std::string& path, const std::string& date) {
  Templates templates(path);
  std::string text;
  for (int64_t line = 0; next_line(text, line);) {
    print(answer(templates, text, line, date).dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
    if (!more_input()) flush_output();
  }
  return Exit::kFinished;
}

}  // namespace

void add_render(CLI::App& app, Action& action) {
  auto* render = app.add_subcommand(
      "render",
      "requests on standard input, one JSON object a line ('messages', 'tools', 'add_generation_prompt', "
      "'bos_token', any other variable); their text and the assistant's bytes in it out");
  auto path = std::make_shared<std::string>();
  auto date = std::make_shared<std::string>("2026-11-23 12:00");
  render
      ->add_option(
          "TEMPLATE", *path,
          "a .jinja file, a tokenizer_config.json, a chat_template.json, a model folder or a GGUF file")
      ->required();
  render->add_option("--date", *date, "the date that templates see, YYYY-MM-DD [HH:MM]; never the clock")
      ->capture_default_str();
  render->callback([&action, path, date] { action = [path, date] { return run_render(*path, *date); }; });
}

}  // namespace decant
