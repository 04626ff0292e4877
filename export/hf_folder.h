// A Hugging Face checkpoint folder: config.json (both spellings of rope and dtype), generation_config.json,
// tokenizer files byte for byte as they were, chat_template.jinja, model.safetensors or shards with their
// index. Rules: references/export 1.
#pragma once

#include <cstdint>
#include <filesystem>

#include "core/model/decoder.h"
#include "core/model/load_model.h"

namespace decant {

// Weights in `dtype`, rounded once to nearest even. `tokenizer_folder` is the folder of the model that this
// one came from. The folder appears at once, complete. Error when the tokenizer has ids that the embedding
// lacks, or a weight is not finite.
void export_hf_folder(const Decoder& model, const std::filesystem::path& tokenizer_folder,
                      const std::filesystem::path& out, int64_t max_shard_bytes = 5'000'000'000,
                      Dtype dtype = Dtype::kBf16);

}  // namespace decant
