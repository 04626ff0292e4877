// A GGUF file, or a model's tokenizer files, into a model folder.
#pragma once

#include <filesystem>

#include "core/model/load_model.h"

namespace decant {

void import_model(const std::filesystem::path& gguf, const std::filesystem::path& folder, Dtype dtype);
// Tokenizer, template and generation settings, byte for byte.
void copy_tokenizer_files(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace decant
