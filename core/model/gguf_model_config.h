// What a GGUF model is, from its metadata alone: the config.json that import_gguf() writes.
#pragma once

#include <filesystem>

#include "core/model/model_config.h"

namespace decant {

// Errors as import_gguf's, but for those of the weights.
ModelConfig read_gguf_model_config(const std::filesystem::path& gguf);

}  // namespace decant
