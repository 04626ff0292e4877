#include "core/error.h"
#include "core/file.h"
#include "data_pipeline/chat_template.h"
#include "data_pipeline/tokenizer_files.h"

namespace decant {

namespace fs = std::filesystem;

namespace {

// "bos_token" and the others of tokenizer_config.json and special_tokens_map.json, as the template sees them.
void add_special_tokens(const fs::path& file, Json& tokens) {
  if (!fs::exists(file)) return;
  const Json config = read_json(file);
  if (!config.is_object()) return;
  for (const auto& [name, value] : config.items()) {
    if (!name.ends_with("_token")) continue;
    if (value.is_string())
      tokens[name] = value;
    else if (value.is_object() && value.contains("content") && value["content"].is_string())
      tokens[name] = value["content"];
  }
}

Json special_tokens(const fs::path& folder) {
  Json tokens = Json::object();
  add_special_tokens(folder / "special_tokens_map.json", tokens);
  add_special_tokens(folder / "tokenizer_config.json", tokens);
  return tokens;
}

// The text, or of several named ones "tool_use" where tools are given and it exists, else "default".
std::string template_entry(const Json& config, const fs::path& path, bool with_tools) {
  const auto entry = config.is_object() ? config.find("chat_template") : config.end();
  check(config.is_object() && entry != config.end(), path.string(), ": no 'chat_template'");
  if (entry->is_string()) return entry->get<std::string>();
  std::string text;
  bool found = false;
  const auto take = [&](const std::string& name, const Json& value) {
    const bool wanted = name == "default" ? !found : with_tools && name == "tool_use";
    if (wanted && value.is_string()) text = value.get<std::string>(), found = true;
  };
  if (entry->is_array()) {
    for (const Json& one : *entry)
      if (one.is_object() && one.contains("name") && one["name"].is_string() && one.contains("template"))
        take(one["name"], one["template"]);
  } else if (entry->is_object()) {
    for (const auto& [name, value] : entry->items()) take(name, value);
  }
  check(found, path.string(), ": chat_template must be a text or named templates with one called 'default'");
  return text;
}

}  // namespace

std::unique_ptr<ChatTemplate> load_chat_template(const fs::path& model_folder) {
  const std::string text = chat_template_text(model_folder);
  check(!text.empty(), model_folder.string(),
        ": no chat template (chat_template.jinja, or chat_template in tokenizer_config.json); a recipe's "
        "'corpus.template: plain' and the command line's --raw do without");
  return chat_template_from_text(text, model_folder.string(), special_tokens(model_folder));
}

std::unique_ptr<ChatTemplate> open_template_file(const fs::path& path, bool with_tools) {
  check(fs::exists(path), path.string(),
        ": no such template; expected a .jinja file, a tokenizer_config.json, a "
        "chat_template.json or a model folder");
  if (!fs::is_directory(path)) {
    if (path.extension() != ".json") return chat_template_from_text(read_file(path), path.string());
    return chat_template_from_text(template_entry(read_json(path), path, with_tools), path.string(),
                                   special_tokens(path.parent_path()));
  }
  if (fs::exists(path / "chat_template.json") && !fs::exists(path / "chat_template.jinja"))
    return open_template_file(path / "chat_template.json", with_tools);
  const fs::path config = path / "tokenizer_config.json";
  if (with_tools && !fs::exists(path / "chat_template.jinja") && fs::exists(config)) {
    const Json json = read_json(config);
    if (json.is_object() && json.contains("chat_template") && !json["chat_template"].is_null())
      return chat_template_from_text(template_entry(json, config, true), config.string(),
                                     special_tokens(path));
  }
  return load_chat_template(path);
}

}  // namespace decant
