#include "recipes/open_model.h"

#include "core/adapter_file.h"
#include "core/error.h"
#include "core/gguf_file.h"
#include "data_pipeline/tokenizer_files.h"

namespace decant {

namespace fs = std::filesystem;

bool is_gguf(const fs::path& path) { return path.extension() == ".gguf"; }

Decoder open_model(const fs::path& path, Dtype dtype, const fs::path& adapter) {
  check(fs::exists(path), path.string(), ": no such model; expected a Hugging Face folder or a GGUF file");
  check(is_gguf(path) || fs::is_directory(path), path.string(),
        ": expected a Hugging Face folder or a file that ends in .gguf");
  Decoder model = is_gguf(path) ? import_gguf(path, dtype) : load_model(path, dtype);
  if (!adapter.empty()) apply_adapter(model, read_adapter(adapter));
  return model;
}

std::unique_ptr<ChatTemplate> open_chat_template(const fs::path& path) {
  if (!is_gguf(path)) return chat_template_text(path).empty() ? plain_template() : load_chat_template(path);
  const GgufFile file(path);
  if (file.find_value("tokenizer.chat_template") == nullptr) return plain_template();
  return chat_template_from_text(file.text("tokenizer.chat_template"), path.string());
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
