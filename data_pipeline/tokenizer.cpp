#include "data_pipeline/tokenizer.h"

#include "core/error.h"
#include "core/file.h"

namespace decant {

std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& path) {
  if (std::filesystem::is_directory(path)) {
    if (const auto file = path / "tokenizer.json"; std::filesystem::exists(file)) return load_tokenizer(file);
    fail(path.string(), ": a folder without tokenizer.json");
  }
  const std::string extension = path.extension().string();
  if (extension == ".json") return tokenizer_from_json(MappedFile(path).bytes(), path.string());
  fail(path.string(), ": expected a tokenizer.json");
}

}  // namespace decant
