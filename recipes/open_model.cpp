#include "recipes/open_model.h"

#include <ATen/ATen.h>

#include <CLI/CLI.hpp>

#include "core/adapter_file.h"
#include "core/error.h"
#include "core/gguf_file.h"
#include "core/hash.h"
#include "core/log.h"
#include "core/model/gguf_model_config.h"
#include "core/model/stored_quantization.h"
#include "core/tensor_file.h"
#include "data_pipeline/tokenizer_files.h"

namespace decant {

namespace fs = std::filesystem;

bool is_gguf(const fs::path& path) { return path.extension() == ".gguf"; }

namespace {

// Adapters of others do not say what their base was kept in.
void warn_of_other_quantization(const Adapter& read, const fs::path& adapter, const Decoder& model) {
  const bool ours = !read.config.base_sha256.empty() || !read.config.base_quantization.empty();
  const std::string trained = read.config.base_quantization.empty() ? "none" : read.config.base_quantization,
                    now = to_string(quantization_of(model));
  if (ours && trained != now)
    log_warning(adapter.string(), ": was trained on a base quantized to ", trained,
                " and runs on one quantized to ", now,
                ": what it learned fits the former's weights (see --quantize)");
}

}  // namespace

Decoder open_model(const fs::path& path, Dtype dtype, const fs::path& adapter, Quantization kind) {
  check(fs::exists(path), path.string(), ": no such model; expected a Hugging Face folder or a GGUF file");
  check(is_gguf(path) || fs::is_directory(path), path.string(),
        ": expected a Hugging Face folder or a file that ends in .gguf");
  check(!is_gguf(path) || kind == Quantization::kNone, path.string(), ": a GGUF file is not quantized to ",
        to_string(kind), "; import it first (decant import)");
  Decoder model = is_gguf(path) ? import_gguf(path, dtype) : load_model(path, dtype, {kind, {}});
  if (!adapter.empty()) {
    const Adapter read = read_adapter(adapter);
    check_base(read, adapter, path);
    warn_of_other_quantization(read, adapter, model);
    apply_adapter(model, read);
  }
  return model;
}

void check_base(const Adapter& read, const fs::path& adapter, const fs::path& base) {
  if (read.config.base_sha256.empty() || is_gguf(base)) return;
  check(read.config.base_sha256 == weights_sha256(base), adapter.string(),
        ": was trained on another base than ", base.string(), " (on ", read.config.base_model, ", sha256 ",
        read.config.base_sha256.substr(0, 12), "...)");
}

std::string weights_sha256(const fs::path& folder) {
  const TensorFile tensors(folder);
  Sha256 digest;
  for (const auto& name : tensors.names()) {
    const at::Tensor t = tensors.load(name).to(at::kBFloat16).contiguous();
    digest.update(concat(name, " ", t.sizes(), "\n"));
    digest.update({static_cast<const char*>(t.data_ptr()), static_cast<size_t>(t.nbytes())});
  }
  return digest.hex();
}

LoadQuantized adapter_base(const LoraSection& section, const fs::path& base) {
  if (section.quantize == Quantization::kNone || section.quantize_cache.empty())
    return {section.quantize, {}};
  return {section.quantize,
          quantized_cache_file(section.quantize_cache, weights_sha256(base), section.quantize)};
}

std::string quantization_key(const LoraSection& section) {
  return section.quantize == Quantization::kNone ? ""
                                                 : concat("quantize: ", to_string(section.quantize), "\n");
}

Quantization parse_quantization(const std::string& text) {
  for (const auto& [kind, name] : EnumNames<Quantization>::values)
    if (text == name) return kind;
  fail("--quantize: must be none, int8, nf4 or nf4_dq, found '", text, "'");
}

void add_quantize_option(CLI::App* verb, std::string& value) {
  verb->add_option("--quantize", value, "the model's linears: none (default), int8, nf4 or nf4_dq")
      ->check(CLI::IsMember({"none", "int8", "nf4", "nf4_dq"}));
}

ModelConfig open_model_config(const fs::path& path) {
  return is_gguf(path) ? read_gguf_model_config(path) : read_model_config(path);
}

std::unique_ptr<ChatTemplate> open_chat_template(const fs::path& path) {
  if (!is_gguf(path)) return load_chat_template(path);
  const GgufFile file(path);
  check(file.find_value("tokenizer.chat_template") != nullptr, path.string(),
        ": no chat template (tokenizer.chat_template in its metadata); a recipe's 'corpus.template: plain' "
        "and the "
        "command line's --raw do without");
  // The special tokens that templates ask for, by the names that Hugging Face gives them.
  Json tokens = Json::object();
  for (const auto& [name, key] : {std::pair{"bos_token", "tokenizer.ggml.bos_token_id"},
                                  {"eos_token", "tokenizer.ggml.eos_token_id"},
                                  {"unk_token", "tokenizer.ggml.unknown_token_id"},
                                  {"pad_token", "tokenizer.ggml.padding_token_id"}}) {
    if (file.find_value(key) == nullptr) continue;
    const auto& texts = file.strings("tokenizer.ggml.tokens");
    const int64_t id = file.integer(key);
    check(id >= 0 && id < static_cast<int64_t>(texts.size()), path.string(), ": ", key, " is ", id,
          ", but there are ", texts.size(), " tokens");
    tokens[name] = texts[static_cast<size_t>(id)];
  }
  return chat_template_from_text(file.text("tokenizer.chat_template"), path.string(), tokens);
}

std::vector<int64_t> open_stop_ids(const fs::path& path) {
  if (!is_gguf(path)) return stop_ids(path);
  const GgufFile file(path);
  std::vector<int64_t> ids = {file.integer("tokenizer.ggml.eos_token_id")};
  const int64_t end_of_turn = file.integer_or("tokenizer.ggml.eot_token_id", ids[0]);
  if (end_of_turn != ids[0]) ids.push_back(end_of_turn);
  return ids;
}

Dtype parse_dtype(const std::string& text) {
  return text == "bf16" ? Dtype::kBf16 : text == "fp32" ? Dtype::kFp32 : fastest_dtype();
}

}  // namespace decant
