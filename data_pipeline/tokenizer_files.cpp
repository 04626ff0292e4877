#include "data_pipeline/tokenizer_files.h"

#include <algorithm>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "data_pipeline/tokenizer_gguf.h"
#include "data_pipeline/unicode.h"

namespace decant {

namespace {

// A token that a GGUF key names by id.
std::optional<std::string> named_token(const GgufFile& file, const std::string& key) {
  if (file.find_value(key) == nullptr) return std::nullopt;
  const auto& tokens = file.strings("tokenizer.ggml.tokens");
  const int64_t id = file.integer(key);
  check(id >= 0 && id < static_cast<int64_t>(tokens.size()), file.path().string(), ": ", key, " is ", id,
        ", but there are ", tokens.size(), " tokens");
  return tokens[static_cast<size_t>(id)];
}

std::vector<int64_t> eos_ids(const GgufFile& file) {
  const auto& tokens = file.strings("tokenizer.ggml.tokens");
  std::vector<int64_t> ids;
  const auto add = [&](int64_t id) {
    if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
  };
  for (const char* key :
       {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"})
    if (named_token(file, key)) add(file.integer(key));
  // A ChatML model ends its turn with <|im_end|>, whatever the file calls its end of text.
  const auto im_end = std::find(tokens.begin(), tokens.end(), "<|im_end|>");
  if (im_end != tokens.end()) add(im_end - tokens.begin());
  check(!ids.empty(), file.path().string(), ": no tokenizer.ggml.eos_token_id: generation would never stop");
  return ids;
}

std::vector<int64_t> eos_of(const Json& json, const std::string& where) {
  const auto entry = json.find("eos_token_id");
  if (entry == json.end() || entry->is_null()) return {};
  const Json list = entry->is_array() ? *entry : Json::array({*entry});
  std::vector<int64_t> ids;
  for (const Json& id : list) {
    check(id.is_number_integer() && id.get<double>() >= 0 && id.get<double>() < 1e9, where,
          ": eos_token_id must be a token id or a list of them, found ", id.dump());
    ids.push_back(id.get<int64_t>());
  }
  return ids;
}

Json read_object(const std::filesystem::path& path) {
  Json json = read_json(path);
  check(json.is_object(), path.string(), ": expected a JSON object");
  return json;
}

}  // namespace

void import_gguf_tokenizer_files(const std::filesystem::path& gguf, const std::filesystem::path& folder) {
  const GgufFile file(gguf);
  const std::string model = file.text("tokenizer.ggml.model");
  check(model == "gpt2" || model == "llama", gguf.string(), ": tokenizer.ggml.model '", model,
        "' is not supported; supported: gpt2 (byte-level BPE), llama (SentencePiece)");
  if (model == "gpt2")
    write_file(folder / "tokenizer.json", gguf_tokenizer_json(file));
  else
    write_file(folder / "tokenizer.model", gguf_sentencepiece_model(file));

  Json config = Json::object(), specials = Json::object();
  const std::pair<const char*, const char*> names[] = {{"bos_token", "tokenizer.ggml.bos_token_id"},
                                                       {"eos_token", "tokenizer.ggml.eos_token_id"},
                                                       {"pad_token", "tokenizer.ggml.padding_token_id"},
                                                       {"unk_token", "tokenizer.ggml.unknown_token_id"}};
  const bool llama3 = model == "gpt2" && file.text("tokenizer.ggml.pre") == "llama-bpe";
  config["add_bos_token"] = file.boolean_or("tokenizer.ggml.add_bos_token", model == "llama" || llama3);
  config["add_prefix_space"] = model == "llama" && file.boolean_or("tokenizer.ggml.add_space_prefix", true);
  for (const auto& [name, key] : names) {
    const auto token = named_token(file, key);
    if (!token) continue;
    config[name] = *token;
    specials[name] = *token;
  }
  config["clean_up_tokenization_spaces"] = false;
  const int64_t context = file.integer_or(file.text("general.architecture") + ".context_length", 0);
  if (context > 0) config["model_max_length"] = context;
  // The general class takes tokenizer.json as it stands; the class of a model family would build its own
  // pre-tokenizer.
  config["tokenizer_class"] = model == "gpt2" ? "PreTrainedTokenizerFast" : "LlamaTokenizer";
  if (file.find_value("tokenizer.chat_template") != nullptr) {
    const std::string chat_template = file.text("tokenizer.chat_template");
    check(valid_utf8_prefix(chat_template) == chat_template.size(), gguf.string(),
          ": tokenizer.chat_template is not UTF-8");
    config["chat_template"] = chat_template;
    write_file(folder / "chat_template.jinja", chat_template);
  }
  write_json(folder / "tokenizer_config.json", config);
  write_json(folder / "special_tokens_map.json", specials);

  Json generation = Json::object();
  if (named_token(file, "tokenizer.ggml.bos_token_id"))
    generation["bos_token_id"] = file.integer("tokenizer.ggml.bos_token_id");
  const std::vector<int64_t> stops = eos_ids(file);
  generation["eos_token_id"] = stops.size() == 1 ? Json(stops[0]) : Json(stops);
  if (named_token(file, "tokenizer.ggml.padding_token_id"))
    generation["pad_token_id"] = file.integer("tokenizer.ggml.padding_token_id");
  write_json(folder / "generation_config.json", generation);
}

std::vector<std::string> tokenizer_file_names(const std::filesystem::path& folder) {
  std::vector<std::string> found;
  for (const char* name : {"tokenizer.json", "tokenizer.model", "tokenizer_config.json",
                           "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt",
                           "chat_template.jinja", "chat_template.json", "generation_config.json"})
    if (std::filesystem::is_regular_file(folder / name)) found.emplace_back(name);
  return found;
}

std::vector<int64_t> stop_ids(const std::filesystem::path& model_folder) {
  for (const char* name : {"generation_config.json", "config.json"}) {
    const auto path = model_folder / name;
    if (!std::filesystem::exists(path)) continue;
    std::vector<int64_t> ids = eos_of(read_object(path), path.string());
    if (!ids.empty()) return ids;
  }
  fail(model_folder.string(),
       ": neither generation_config.json nor config.json has an eos_token_id: generation would never stop");
}

int64_t padded_rows(const Tokenizer& tokenizer, const std::filesystem::path& model_folder) {
  const auto path = model_folder / "config.json";
  Json config = read_object(path);
  if (!config.contains("vocab_size") && config.contains("text_config")) config = Json(config["text_config"]);
  const auto rows = config.is_object() ? config.find("vocab_size") : config.end();
  check(config.is_object() && rows != config.end() && rows->is_number_integer() && rows->get<double>() > 0 &&
            rows->get<double>() < 1e9,
        path.string(), ": expected vocab_size, the number of rows of the embedding");
  const int64_t padded = rows->get<int64_t>() - tokenizer.vocab_size();
  check(padded >= 0, path.string(), ": vocab_size is ", rows->get<int64_t>(), ", but the tokenizer has ",
        tokenizer.vocab_size(), " ids: they do not belong together");
  return padded;
}

std::string chat_template_text(const std::filesystem::path& model_folder) {
  const auto file_path = model_folder / "chat_template.jinja",
             config_path = model_folder / "tokenizer_config.json";
  const bool has_file = std::filesystem::exists(file_path);
  const std::string from_file = has_file ? read_file(file_path) : "";
  if (!std::filesystem::exists(config_path)) return from_file;
  const Json config = read_object(config_path);
  const auto entry = config.find("chat_template");
  if (entry == config.end() || entry->is_null()) return from_file;
  std::string from_config;
  if (entry->is_string()) {
    from_config = *entry;
  } else {
    // A list of named templates: transformers takes "default".
    check(entry->is_array(), config_path.string(),
          ": chat_template must be a text or a list of named templates");
    bool found = false;
    for (const Json& one : *entry) {
      check(one.is_object() && one.contains("name") && one.contains("template") && one["name"].is_string() &&
                one["template"].is_string(),
            config_path.string(),
            ": an entry of the list chat_template needs the texts 'name' and 'template'");
      if (one["name"] == "default") from_config = one["template"], found = true;
    }
    check(found, config_path.string(), ": chat_template is a list without one named 'default'");
  }
  check(!has_file || from_file == from_config, file_path.string(), " and chat_template in ",
        config_path.string(),
        " differ: which of them the model was trained with cannot be known; remove the wrong one");
  return from_config;
}

}  // namespace decant
