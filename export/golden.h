// golden.jsonl: what the model in memory says about a handful of texts, so that whoever loads the release can
// compare. The first line is the header (vocabulary, stop ids, digests of tokenizer and template); each
// further line
//   {"artefact": "model", "text", "ids", "log_probabilities" (of ids[1..])}
// belongs to the model or, with "adapters/<tenant>", to the model with that adapter. Written by export, read
// by verify and by sites.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "core/adapter_file.h"
#include "core/model/decoder.h"

namespace decant {

// `model` is fp32 and holds the weights as released (rounded to bf16). It is changed while an adapter is
// scored, and left as it was.
void write_golden(Decoder& model, const std::filesystem::path& tokenizer_folder,
                  const std::vector<std::pair<std::string, Adapter>>& adapters,
                  const std::filesystem::path& file);

}  // namespace decant
