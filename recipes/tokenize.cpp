// decant tokenize: exactly the ids that a model will see.
#include <CLI/CLI.hpp>
#include <memory>

#include "core/json.h"
#include "data_pipeline/tokenizer.h"
#include "recipes/verbs.h"

namespace decant {

namespace {

std::string ids_text(const std::vector<int64_t>& ids) {
  std::string out = "[";
  for (const int64_t id : ids) {
    if (out.size() > 1) out += ", ";
    out += std::to_string(id);
  }
  return out + "]";
}

Exit run_tokenize(const std::string& path, SpecialMode mode) {
  const auto tokenizer = load_tokenizer(path);
  std::string text;
  for (int64_t line = 0; next_line(text, line);) {
    const std::string where = concat("standard input:", line);
    const Json json = parse_json(text, where);
    check(json.is_string(), where, ": expected a JSON string, found ", json.type_name());
    print(ids_text(tokenizer->encode(json.get_ref<const std::string&>(), mode)) + "\n");
    if (!more_input()) flush_output();
  }
  return Exit::kFinished;
}

}  // namespace

void add_tokenize(CLI::App& app, Action& action) {
  auto* tokenize =
      app.add_subcommand("tokenize", "JSON strings on standard input, arrays of ids out; no BOS is added");
  auto path = std::make_shared<std::string>(), special = std::make_shared<std::string>("match");
  tokenize->add_option("TOKENIZER", *path, "model folder, tokenizer.json, tokenizer.model or GGUF file")
      ->required();
  tokenize
      ->add_option("--special", *special,
                   "match (default): a special token's text becomes its id; text: it is ordinary text")
      ->check(CLI::IsMember({"match", "text"}));
  tokenize->callback([&action, path, special] {
    action = [path, special] {
      return run_tokenize(*path, *special == "text" ? SpecialMode::kAsText : SpecialMode::kMatch);
    };
  });
}

}  // namespace decant
