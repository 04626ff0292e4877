// Tensors on disk: a folder or file of safetensors, single or sharded with an index, as one set of names.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/safetensors.h"

namespace decant {

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

class TensorFile {
 public:
  // A .safetensors file, or a folder with <stem>.safetensors or <stem>.safetensors.index.json. A missing
  // shard, a tensor in another shard than the index says, an unlisted tensor, or a total_size that does not
  // fit are Errors.
  explicit TensorFile(const std::filesystem::path& path, const std::string& stem = "model");
  std::vector<std::string> names() const;  // sorted
  bool contains(const std::string& name) const;
  const TensorEntry& entry(const std::string& name) const;
  // A copy in the file's dtype. Error if the name is absent or the dtype has no libtorch type.
  at::Tensor load(const std::string& name) const;
  // As load, but the tensor is the mapped file itself where the file is aligned for it: not to be written to.
  at::Tensor map(const std::string& name) const;
  const std::map<std::string, std::string>& metadata() const;  // of the first file
  std::vector<std::filesystem::path> files() const;

 private:
  std::vector<std::shared_ptr<SafetensorsFile>> files_;
  std::map<std::string, std::pair<size_t, const TensorEntry*>> where_;
};

// One file, atomically; metadata gets "format": "pt".
void write_tensors(const std::filesystem::path& file, const NamedTensors& tensors,
                   std::map<std::string, std::string> metadata = {});

// model.safetensors, or model-0000i-of-0000n.safetensors with its index, greedily in the given order.
void write_sharded(const std::filesystem::path& folder, const NamedTensors& tensors, int64_t max_shard_bytes,
                   const std::string& stem = "model");

}  // namespace decant
