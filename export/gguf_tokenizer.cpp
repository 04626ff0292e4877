#include "export/gguf_tokenizer.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "core/error.h"
#include "data_pipeline/tokenizer_files.h"

namespace decant {
namespace {

namespace fs = std::filesystem;

constexpr const char* kQwenSplit =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kLlamaSplit =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

const Json* member(const Json& object, const char* key) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

std::string text_member(const Json& object, const char* key) {
  const Json* value = member(object, key);
  return value != nullptr && value->is_string() ? value->get<std::string>() : std::string();
}

bool flag_member(const Json& object, const char* key, bool otherwise) {
  const Json* value = member(object, key);
  return value != nullptr && value->is_boolean() ? value->get<bool>() : otherwise;
}

std::string split_regex(const Json& part) {
  const Json* pattern = member(part, "pattern");
  return pattern == nullptr ? std::string() : text_member(*pattern, "Regex");
}

// Everything about the tokens of tokenizer.json that GGUF asks for.
struct Vocabulary {
  std::vector<std::string> tokens;
  std::vector<int32_t> types;

  std::optional<int64_t> id_of(const std::string& token) const {
    const auto found = std::find(tokens.begin(), tokens.end(), token);
    if (found == tokens.end()) return std::nullopt;
    return found - tokens.begin();
  }
};

enum : int32_t { kNormal = 1, kControl = 3, kUserDefined = 4, kUnused = 5 };

bool looks_like_control(const std::string& token) {
  const auto between = [&](const std::string& open, const std::string& close) {
    return token.size() >= open.size() + close.size() && token.starts_with(open) && token.ends_with(close);
  };
  return between("<|", "|>") || between("<｜", "｜>");
}

int64_t checked_id(const Json& id, int64_t rows, const std::string& token, const std::string& where) {
  check(id.is_number_integer(), where, ": the id of token '", token, "' is not an integer");
  const int64_t value = id.get<int64_t>();
  check(value >= 0 && value < rows, where, ": token '", token, "' has id ", value,
        ", but the model's embedding has ", rows, " rows; this tokenizer belongs to another model");
  return value;
}

Vocabulary read_vocabulary(const Json& tokenizer, int64_t rows, const std::string& where) {
  Vocabulary result;
  result.tokens.resize(static_cast<size_t>(rows));
  result.types.assign(static_cast<size_t>(rows), kUnused);
  const Json* model = member(tokenizer, "model");
  const Json* vocab = model == nullptr ? nullptr : member(*model, "vocab");
  check(vocab != nullptr && vocab->is_object(), where, ": no model.vocab");
  const auto put = [&](const std::string& token, int64_t id, int32_t type) {
    auto& slot = result.tokens[static_cast<size_t>(id)];
    check(slot.empty() || slot == token, where, ": id ", id, " belongs to both '", slot, "' and '", token,
          "'");
    check(!token.empty(), where, ": the token of id ", id, " is empty");
    slot = token;
    result.types[static_cast<size_t>(id)] = type;
  };
  for (const auto& [token, id] : vocab->items()) put(token, checked_id(id, rows, token, where), kNormal);
  if (const Json* added = member(tokenizer, "added_tokens")) {
    check(added->is_array(), where, ": added_tokens is not a list");
    for (const Json& entry : *added) {
      const std::string token = text_member(entry, "content");
      const Json* id = member(entry, "id");
      check(id != nullptr, where, ": the added token '", token, "' has no id");
      const bool control = flag_member(entry, "special", false) || looks_like_control(token);
      put(token, checked_id(*id, rows, token, where), control ? kControl : kUserDefined);
    }
  }
  for (size_t id = 0; id < result.tokens.size(); ++id)
    if (result.tokens[id].empty()) result.tokens[id] = "[PAD" + std::to_string(id) + "]";
  // llama.cpp aborts on two equal strings.
  std::vector<std::string> sorted = result.tokens;
  std::sort(sorted.begin(), sorted.end());
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
  check(twice == sorted.end(), where, ": token '", twice == sorted.end() ? "" : *twice, "' has two ids");
  return result;
}

// A space inside a part of a merge is written as the byte-level alphabet's letter for it, so that the one
// between the parts stays the separator.
std::string merge_part(const std::string& part) {
  std::string out;
  for (const char c : part) out += c == ' ' ? std::string("\xC4\xA0") : std::string(1, c);
  return out;
}

std::vector<std::string> read_merges(const Json& tokenizer, const std::string& where) {
  std::vector<std::string> merges;
  const Json* list = member(tokenizer["model"], "merges");
  check(list != nullptr && list->is_array(), where, ": no model.merges");
  for (const Json& merge : *list) {
    if (merge.is_string()) {
      merges.push_back(merge.get<std::string>());
      continue;
    }
    check(merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string(), where,
          ": merge ", merges.size(), " is neither a text nor a pair of texts");
    merges.push_back(merge_part(merge[0].get<std::string>()) + " " + merge_part(merge[1].get<std::string>()));
  }
  return merges;
}

// A token named by tokenizer_config.json: a text, or an object with its content.
std::string named_token(const Json& config, const char* key) {
  const Json* value = member(config, key);
  if (value == nullptr) return {};
  return value->is_string() ? value->get<std::string>() : text_member(*value, "content");
}

// Ids under a key of generation_config.json or config.json: one, or a list.
std::vector<int64_t> id_list(const Json& config, const char* key) {
  std::vector<int64_t> ids;
  const Json* value = member(config, key);
  if (value == nullptr) return ids;
  if (value->is_number_integer()) ids.push_back(value->get<int64_t>());
  if (value->is_array())
    for (const Json& id : *value)
      if (id.is_number_integer()) ids.push_back(id.get<int64_t>());
  return ids;
}

Json read_if_there(const fs::path& path) { return fs::exists(path) ? read_json(path) : Json::object(); }

// Does the post-processor put `token` in front of every text?
bool processor_adds(const Json& tokenizer, const std::string& token) {
  const Json* processor = member(tokenizer, "post_processor");
  if (processor == nullptr || token.empty()) return false;
  const auto adds = [&](const Json& part) {
    const Json* single = member(part, "single");
    if (text_member(part, "type") != "TemplateProcessing" || single == nullptr || !single->is_array() ||
        single->empty())
      return false;
    const Json* special = member((*single)[0], "SpecialToken");
    return special != nullptr && text_member(*special, "id") == token;
  };
  if (adds(*processor)) return true;
  const Json* parts = member(*processor, "processors");
  return parts != nullptr && parts->is_array() && std::any_of(parts->begin(), parts->end(), adds);
}

}  // namespace

std::string gguf_pre_tokenizer(const Json& tokenizer, const std::string& where) {
  const Json* pre = member(tokenizer, "pre_tokenizer");
  check(pre != nullptr, where, ": no pre_tokenizer; only byte-level BPE can be written to GGUF");
  std::vector<Json> parts;
  if (text_member(*pre, "type") == "Sequence") {
    const Json* list = member(*pre, "pretokenizers");
    check(list != nullptr && list->is_array(), where, ": the pre_tokenizer sequence has no list");
    parts.assign(list->begin(), list->end());
  } else {
    parts.push_back(*pre);
  }
  std::string grammar;
  for (const Json& part : parts) {
    const std::string type = text_member(part, "type");
    if (type == "ByteLevel")
      grammar += flag_member(part, "use_regex", true) ? "bytes+regex " : "bytes ";
    else if (type == "Digits")
      grammar += flag_member(part, "individual_digits", false) ? "digits " : "numbers ";
    else if (type == "Split")
      grammar += split_regex(part) == kQwenSplit    ? "qwen "
                 : split_regex(part) == kLlamaSplit ? "llama "
                                                    : "split ";
    else
      grammar += type + " ";
  }
  if (grammar == "bytes+regex ") return "gpt-2";
  if (grammar == "digits bytes+regex ") return "smollm";
  if (grammar == "llama bytes ") return "llama-bpe";
  if (grammar == "qwen bytes ") {
    const Json* added = member(tokenizer, "added_tokens");
    const bool deepseek =
        added != nullptr && std::any_of(added->begin(), added->end(), [](const Json& token) {
          return text_member(token, "content") == "<｜end▁of▁sentence｜>";
        });
    return deepseek ? "deepseek-r1-qwen" : "qwen2";
  }
  if (grammar == "split split split bytes " && split_regex(parts[0]) == "\\p{N}{1,3}" &&
      split_regex(parts[1]) == "[一-龥\u3040-ゟ゠-ヿ]+")
    return "deepseek-v3";
  fail(where, ": llama.cpp has no name for this pre-tokenizer (", grammar,
       "); known are those of GPT-2, SmolLM2, Qwen 2 to 3, Llama 3 and DeepSeek-V3");
}

void add_gguf_tokenizer(GgufHeader& header, const fs::path& folder, int64_t rows) {
  const fs::path file = folder / "tokenizer.json";
  check(fs::exists(file), folder.string(),
        ": no tokenizer.json; GGUF export takes byte-level BPE tokenizers only");
  const std::string where = file.string();
  const Json tokenizer = read_json(file);
  const Json* model = member(tokenizer, "model");
  check(model != nullptr && text_member(*model, "type") == "BPE" &&
            !flag_member(*model, "byte_fallback", false),
        where, ": the model is not byte-level BPE; other tokenizers cannot be written to GGUF yet");
  const Json config = read_if_there(folder / "tokenizer_config.json");
  const Json generation = read_if_there(folder / "generation_config.json");
  const Json model_config = read_if_there(folder / "config.json");
  const Vocabulary vocabulary = read_vocabulary(tokenizer, rows, where);

  header.add_text("tokenizer.ggml.model", "gpt2");
  header.add_text("tokenizer.ggml.pre", gguf_pre_tokenizer(tokenizer, where));
  header.add_texts("tokenizer.ggml.tokens", vocabulary.tokens);
  header.add_i32s("tokenizer.ggml.token_type", vocabulary.types);
  header.add_texts("tokenizer.ggml.merges", read_merges(tokenizer, where));

  const auto id_of = [&](const char* name, const char* id_key) -> std::optional<int64_t> {
    const std::string token = named_token(config, name);
    if (!token.empty()) {
      const auto id = vocabulary.id_of(token);
      check(id.has_value(), (folder / "tokenizer_config.json").string(), ": ", name, " '", token,
            "' is not in the vocabulary");
      return id;
    }
    for (const Json* from : {&generation, &model_config}) {
      const std::vector<int64_t> ids = id_list(*from, id_key);
      if (!ids.empty()) return ids.front();
    }
    return std::nullopt;
  };
  const auto add_id = [&](const char* key, std::optional<int64_t> id) {
    if (!id.has_value()) return;
    check(*id >= 0 && *id < rows, folder.string(), ": ", key, " ", *id, " is not in the vocabulary of ",
          rows);
    header.add_u32(key, static_cast<uint32_t>(*id));
  };
  const auto bos = id_of("bos_token", "bos_token_id");
  add_id("tokenizer.ggml.bos_token_id", bos);

  // The stop ids of generation_config.json are the authority; the tokenizer's own end of turn goes first when
  // it is among them.
  const std::vector<int64_t> stops = stop_ids(folder);
  const auto named_eos = vocabulary.id_of(named_token(config, "eos_token"));
  int64_t eos = stops.front();
  if (named_eos.has_value() && std::find(stops.begin(), stops.end(), *named_eos) != stops.end())
    eos = *named_eos;
  add_id("tokenizer.ggml.eos_token_id", eos);
  const auto other = std::find_if(stops.begin(), stops.end(), [&](int64_t id) { return id != eos; });
  if (other != stops.end()) add_id("tokenizer.ggml.eot_token_id", *other);
  add_id("tokenizer.ggml.unknown_token_id", vocabulary.id_of(named_token(config, "unk_token")));
  add_id("tokenizer.ggml.padding_token_id", id_of("pad_token", "pad_token_id"));

  const bool adds = processor_adds(tokenizer, named_token(config, "bos_token"));
  header.add_bool("tokenizer.ggml.add_bos_token",
                  bos.has_value() && flag_member(config, "add_bos_token", adds));
  const std::string chat_template = chat_template_text(folder);
  if (!chat_template.empty()) header.add_text("tokenizer.chat_template", chat_template);
}

}  // namespace decant
