#include "data_pipeline/tokenizer_gguf.h"

#include <bit>
#include <unordered_set>

#include "core/error.h"
#include "core/json.h"
#include "data_pipeline/pre_tokenizer.h"
#include "data_pipeline/tokenizer.h"
#include "data_pipeline/unicode.h"

namespace decant {

namespace {

// tokenizer.ggml.token_type
constexpr int kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6;

constexpr size_t kMaxTokens = size_t{1} << 22;

// The types, checked against the tokens.
std::vector<int> token_types(const GgufFile& file) {
  const std::string where = file.path().string();
  const auto& tokens = file.strings("tokenizer.ggml.tokens");
  check(!tokens.empty() && tokens.size() <= kMaxTokens, where, ": tokenizer.ggml.tokens has ", tokens.size(),
        " tokens; expected 1 to ", kMaxTokens);
  for (size_t i = 0; i < tokens.size(); ++i)
    if (valid_utf8_prefix(tokens[i]) != tokens[i].size())
      fail(where, ": tokenizer.ggml.tokens[", i, "] is not UTF-8");
  if (file.find_value("tokenizer.ggml.token_type") == nullptr)
    return std::vector<int>(tokens.size(), kNormal);
  const auto& numbers = file.numbers("tokenizer.ggml.token_type");
  check(numbers.size() == tokens.size(), where, ": tokenizer.ggml.token_type has ", numbers.size(),
        " entries for ", tokens.size(), " tokens");
  std::vector<int> types;
  types.reserve(numbers.size());
  for (const double type : numbers) {
    if (!(type >= kNormal && type <= kByte) || type != static_cast<int>(type))
      fail(where, ": tokenizer.ggml.token_type holds ", type, "; expected 1 to 6");
    types.push_back(static_cast<int>(type));
  }
  return types;
}

Json split(const std::string& pattern) {
  return {{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}};
}

Json byte_level(bool use_regex) {
  return {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", use_regex}};
}

Json sequence(Json steps) { return {{"type", "Sequence"}, {"pretokenizers", std::move(steps)}}; }

// Source: llama.cpp's table of pre-tokenizers and the tokenizer.json of the models it was made from.
Json pre_tokenizer(const std::string& pre, const std::string& where) {
  if (pre == "gpt-2") return byte_level(true);
  if (pre == "smollm")
    return sequence(Json::array({{{"type", "Digits"}, {"individual_digits", true}}, byte_level(true)}));
  if (pre == "qwen2" || pre == "deepseek-r1-qwen")
    return sequence(Json::array({split(kQwen2Pattern), byte_level(false)}));
  if (pre == "llama-bpe") return sequence(Json::array({split(kLlama3Pattern), byte_level(false)}));
  if (pre == "deepseek-v3")
    return sequence(Json::array({split(kDeepSeekV3Patterns[0]), split(kDeepSeekV3Patterns[1]),
                                 split(kDeepSeekV3Patterns[2]), byte_level(false)}));
  if (pre == "deepseek-coder")
    return sequence(Json::array({split("[\r\n]"),
                                 split(R"(\s?\p{L}+)"),
                                 split(R"(\s?\p{P}+)"),
                                 split("[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"),
                                 {{"type", "Digits"}, {"individual_digits", true}},
                                 byte_level(false)}));
  fail(where, ": tokenizer.ggml.pre '", pre,
       "' is not supported; supported: gpt-2, smollm, qwen2, llama-bpe, deepseek-v3, deepseek-r1-qwen, "
       "deepseek-coder");
}

std::string quoted(const std::string& text) { return Json(text).dump(); }

// Protocol buffers, as much as a SentencePiece model needs.
struct Proto {
  std::string bytes;
  void varint(uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes += static_cast<char>(value | 0x80);
    bytes += static_cast<char>(value);
  }
  void number(uint32_t field, uint64_t value) {
    varint(field << 3);
    varint(value);
  }
  void real(uint32_t field, float value) {
    varint(field << 3 | 5);
    const auto bits = std::bit_cast<uint32_t>(value);
    for (int i = 0; i < 4; ++i) bytes += static_cast<char>(bits >> (8 * i));
  }
  void text(uint32_t field, const std::string& value) {
    varint(field << 3 | 2);
    varint(value.size());
    bytes += value;
  }
};

}  // namespace

std::string gguf_tokenizer_json(const GgufFile& file) {
  const std::string where = file.path().string();
  const std::string model = file.text("tokenizer.ggml.model");
  check(model == "gpt2", where, ": tokenizer.ggml.model is '", model, "'; expected 'gpt2' (byte-level BPE)");
  check(file.find_value("tokenizer.ggml.pre") != nullptr, where,
        ": no tokenizer.ggml.pre: how this file cuts text before merging cannot be known; convert it anew");
  const std::string pre = file.text("tokenizer.ggml.pre");
  const Json pre_tokenizer_json = pre_tokenizer(pre, where);
  const auto& tokens = file.strings("tokenizer.ggml.tokens");
  const std::vector<int> types = token_types(file);
  const auto& merges = file.strings("tokenizer.ggml.merges");

  // Padding at the end is no token; added tokens at the end are in Hugging Face's added_tokens only.
  size_t count = tokens.size();
  while (count > 0 && types[count - 1] == kUnused) --count;
  const auto is_added = [&](size_t i) {
    return types[i] == kControl || types[i] == kUserDefined || types[i] == kUnknown;
  };
  size_t vocabulary = count;
  while (vocabulary > 0 && is_added(vocabulary - 1)) --vocabulary;

  std::string added, vocab, pairs;
  std::unordered_set<std::string_view> seen;
  for (size_t i = 0; i < count; ++i) {
    if (types[i] == kByte)
      fail(where, ": tokenizer.ggml.token_type[", i, "] is a byte token, which byte-level BPE has not");
    if (!seen.insert(tokens[i]).second)
      fail(where, ": the token '", tokens[i], "' stands twice in tokenizer.ggml.tokens");
    const std::string text = quoted(tokens[i]);
    if (is_added(i))
      added += concat(added.empty() ? "" : ",", "\n    {\"id\": ", i, ", \"content\": ", text,
                      ", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": "
                      "false, \"special\": ",
                      types[i] == kUserDefined ? "false" : "true", "}");
    if (i < vocabulary) {
      vocab += vocab.empty() ? "\n      " : ",\n      ";
      vocab += text + ": " + std::to_string(i);
    }
  }
  for (size_t i = 0; i < merges.size(); ++i) {
    const size_t space = merges[i].find(' ', 1);
    if (space == std::string::npos || valid_utf8_prefix(merges[i]) != merges[i].size())
      fail(where, ": tokenizer.ggml.merges[", i, "] is not two tokens with a space between");
    pairs += pairs.empty() ? "\n      [" : ",\n      [";
    pairs += quoted(merges[i].substr(0, space)) + ", " + quoted(merges[i].substr(space + 1)) + "]";
  }

  const bool nfc = pre == "qwen2" || pre == "deepseek-r1-qwen";
  const bool llama3 = pre == "llama-bpe";
  Json post = byte_level(false);
  if (file.boolean_or("tokenizer.ggml.add_bos_token", llama3)) {
    const int64_t bos = file.integer("tokenizer.ggml.bos_token_id");
    check(bos >= 0 && bos < static_cast<int64_t>(count), where, ": tokenizer.ggml.bos_token_id ", bos,
          " is not a token");
    const std::string text = tokens[static_cast<size_t>(bos)];
    const auto special = [&](int type_id) -> Json {
      return {{"SpecialToken", {{"id", text}, {"type_id", type_id}}}};
    };
    const auto part = [](const char* id, int type_id) -> Json {
      return {{"Sequence", {{"id", id}, {"type_id", type_id}}}};
    };
    Json bos_json = {{"id", text}, {"ids", Json::array({bos})}, {"tokens", Json::array({text})}};
    Json specials = Json::object();
    specials[text] = std::move(bos_json);
    Json processing = {{"type", "TemplateProcessing"},
                       {"single", Json::array({special(0), part("A", 0)})},
                       {"pair", Json::array({special(0), part("A", 0), special(1), part("B", 1)})},
                       {"special_tokens", std::move(specials)}};
    post = {{"type", "Sequence"}, {"processors", Json::array({byte_level(false), std::move(processing)})}};
  }

  std::string json =
      "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n  \"added_tokens\": [";
  json += added + "\n  ],\n  \"normalizer\": " + (nfc ? "{\"type\":\"NFC\"}" : "null");
  json += ",\n  \"pre_tokenizer\": " + pre_tokenizer_json.dump() + ",\n  \"post_processor\": " + post.dump();
  json += ",\n  \"decoder\": " + byte_level(true).dump() +
          ",\n  \"model\": {\n    \"type\": \"BPE\",\n    \"dropout\": null,\n";
  json +=
      "    \"unk_token\": null,\n    \"continuing_subword_prefix\": null,\n    \"end_of_word_suffix\": "
      "null,\n";
  json += "    \"fuse_unk\": false,\n    \"byte_fallback\": false,\n    \"ignore_merges\": ";
  json += std::string(llama3 ? "true" : "false") + ",\n    \"vocab\": {" + vocab +
          "\n    },\n    \"merges\": [" + pairs;
  json += "\n    ]\n  }\n}\n";
  return json;
}

std::string tokenizer_json_from_gguf(const std::filesystem::path& gguf) {
  return gguf_tokenizer_json(GgufFile(gguf));
}

std::string gguf_sentencepiece_model(const GgufFile& file) {
  const std::string where = file.path().string();
  const auto& tokens = file.strings("tokenizer.ggml.tokens");
  const std::vector<int> types = token_types(file);
  const auto& scores = file.numbers("tokenizer.ggml.scores");
  check(scores.size() == tokens.size(), where, ": tokenizer.ggml.scores has ", scores.size(), " entries for ",
        tokens.size(), " tokens");
  Proto model;
  bool has_bytes = false;
  for (size_t i = 0; i < tokens.size(); ++i) {
    Proto piece;
    piece.text(1, tokens[i]);
    piece.real(2, static_cast<float>(scores[i]));
    piece.number(3, static_cast<uint64_t>(types[i]));
    model.text(1, piece.bytes);
    has_bytes = has_bytes || types[i] == kByte;
  }
  Proto trainer;
  trainer.number(3, 2);  // byte-pair encoding
  trainer.number(35, has_bytes ? 1 : 0);
  trainer.number(40, static_cast<uint64_t>(file.integer_or("tokenizer.ggml.unknown_token_id", 0)));
  trainer.number(41, static_cast<uint64_t>(file.integer_or("tokenizer.ggml.bos_token_id", 1)));
  trainer.number(42, static_cast<uint64_t>(file.integer_or("tokenizer.ggml.eos_token_id", 2)));
  model.text(2, trainer.bytes);
  Proto normalizer;
  normalizer.text(1, "identity");
  normalizer.number(3, file.boolean_or("tokenizer.ggml.add_space_prefix", true) ? 1 : 0);
  normalizer.number(4, file.boolean_or("tokenizer.ggml.remove_extra_whitespaces", false) ? 1 : 0);
  normalizer.number(5, 1);
  model.text(3, normalizer.bytes);
  return model.bytes;
}

}  // namespace decant
