// safetensors read for verify alone: header, offsets, values as fp32.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "export/verify_forward.h"

namespace decant::verifying {

struct PlainFile {
  PlainTensors tensors;
  std::map<std::string, std::string> dtypes;  // by tensor, as in the file
  uint64_t bytes = 0;                         // of tensor data
};

// One file; Defects name the first rule that it breaks. metadata format "pt" is required, values must be
// finite.
PlainFile read_plain_safetensors(const std::filesystem::path& file);

// <stem>.safetensors, or the shards of <stem>.safetensors.index.json: every tensor where the index says,
// nothing beside it.
PlainFile read_plain_checkpoint(const std::filesystem::path& folder, const std::string& stem);

}  // namespace decant::verifying
