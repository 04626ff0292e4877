// The safetensors container, read strictly and written canonically; no torch here. Format: references of
// huggingface/safetensors (README, tensor.rs): u64 LE header length, JSON header, buffer; offsets without
// holes or overlap.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/file.h"

namespace decant {

struct TensorEntry {
  std::string name;
  std::string dtype;  // as in the file: "BF16", "F32", ...
  std::vector<int64_t> shape;
  uint64_t begin = 0, end = 0;  // within the buffer
};

// Bits of one element, 0 for an unknown dtype.
int safetensors_dtype_bits(std::string_view dtype);

class SafetensorsFile {
 public:
  // Maps and checks the whole header; each rule of the format is an Error of its own that names the file.
  explicit SafetensorsFile(const std::filesystem::path& path);
  const std::vector<TensorEntry>& entries() const { return entries_; }  // by offset
  const TensorEntry* find(std::string_view name) const;
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  std::string_view bytes(const TensorEntry& entry) const;  // valid while this lives
  void let_go(std::string_view bytes) const { file_.let_go(bytes); }
  const std::filesystem::path& path() const { return file_.path(); }

 private:
  MappedFile file_;
  std::string_view buffer_;
  std::vector<TensorEntry> entries_;
  std::map<std::string, std::string> metadata_;
};

// Writes atomically, in the official order (larger dtype first, then name), header padded to 8 bytes.
// `entries` need name, dtype and shape; offsets are computed. `fill(entry, write)` is called once a tensor in
// file order and hands its bytes to write in any number of pieces; a wrong total is an internal error.
using TensorWriter =
    std::function<void(const TensorEntry&, const std::function<void(std::string_view)>& write)>;
void write_safetensors_file(const std::filesystem::path& path, std::vector<TensorEntry> entries,
                            const std::map<std::string, std::string>& metadata, const TensorWriter& fill);

}  // namespace decant
