// GGUF v2 and v3, read as a hostile file; no torch here. Source: ggml's gguf.cpp and ggml-quants.c (block
// layouts); references/export 2.1 and 2.4.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "core/file.h"
#include "core/ggml_blocks.h"

namespace decant {

// Integers of all widths become int64/uint64, f32/f64 double.
using GgufScalar = std::variant<bool, int64_t, uint64_t, double, std::string>;
struct GgufValue {
  uint32_t type = 0;          // the file's type code; 9 = array
  uint32_t element_type = 0;  // of an array
  GgufScalar scalar;
  std::vector<std::string> strings;  // array of strings
  std::vector<double>
      numbers;  // array of anything else (exact for all but 64-bit integers beyond 2^53, refused)
};

struct GgufTensor {
  std::string name;
  std::vector<int64_t> shape;  // torch order (reversed ne)
  uint32_t type = 0;           // ggml type code
  uint64_t offset = 0, bytes = 0;
  int64_t elements() const;
};

class GgufFile {
 public:
  // Maps and checks everything but the values of tensors; each rule of the format is an Error of its own that
  // names the file. A split file is read as what it is, one part of a model (split.count tells).
  explicit GgufFile(const std::filesystem::path& path);
  uint32_t version() const { return version_; }
  const std::vector<std::pair<std::string, GgufValue>>& metadata() const { return metadata_; }
  const std::vector<GgufTensor>& tensors() const { return tensors_; }
  const GgufTensor* find(std::string_view name) const;
  const GgufValue* find_value(std::string_view key) const;
  // Typed access; Error when absent or of another type. The `or` forms take a default when absent.
  std::string text(std::string_view key) const;
  int64_t integer(std::string_view key) const;
  double number(std::string_view key) const;
  bool boolean(std::string_view key) const;
  int64_t integer_or(std::string_view key, int64_t otherwise) const;
  double number_or(std::string_view key, double otherwise) const;
  bool boolean_or(std::string_view key, bool otherwise) const;
  const std::vector<std::string>& strings(std::string_view key) const;
  const std::vector<double>& numbers(std::string_view key) const;

  std::string_view bytes(const GgufTensor& tensor) const;
  // F32 F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q4_K Q5_K Q6_K to fp32, bit-equal to ggml's dequantize_row_*. `out`
  // holds elements().
  void dequantize(const GgufTensor& tensor, float* out) const;
  const std::filesystem::path& path() const { return file_.path(); }

 private:
  MappedFile file_;
  uint32_t version_ = 0;
  std::string_view data_;
  std::vector<std::pair<std::string, GgufValue>> metadata_;
  std::vector<GgufTensor> tensors_;
};

}  // namespace decant
