#include "data_pipeline/tokenizer.h"

#include "core/error.h"
#include "core/file.h"
#include "data_pipeline/sentencepiece_tokenizer.h"
#include "data_pipeline/tokenizer_gguf.h"

namespace decant {

std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& path) {
  const std::string where = path.string();
  if (std::filesystem::is_directory(path)) {
    for (const char* name : {"tokenizer.json", "tokenizer.model"})
      if (std::filesystem::exists(path / name)) return load_tokenizer(path / name);
    fail(where, ": a folder without tokenizer.json and tokenizer.model");
  }
  const std::string extension = path.extension().string();
  if (extension == ".json") return tokenizer_from_json(MappedFile(path).bytes(), where);
  if (extension == ".model") return sentencepiece_tokenizer(MappedFile(path).bytes(), where);
  if (extension == ".gguf") {
    const GgufFile file(path);
    const std::string model = file.text("tokenizer.ggml.model");
    if (model == "gpt2") return tokenizer_from_json(gguf_tokenizer_json(file), where);
    if (model == "llama") return sentencepiece_tokenizer(gguf_sentencepiece_model(file), where);
    fail(where, ": tokenizer.ggml.model '", model,
         "' is not supported; supported: gpt2 (byte-level BPE), llama (SentencePiece)");
  }
  check(std::filesystem::exists(path), where, ": no such file or folder");
  fail(where, ": expected a folder, a tokenizer.json, a tokenizer.model or a .gguf file");
}

}  // namespace decant
