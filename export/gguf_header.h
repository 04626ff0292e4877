// The head of a GGUF v3 file as it is written: key/value pairs, tensor table, padding. Little endian. Rules:
// references/export 2.1.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace decant {

enum class GgufTensorType : uint32_t { kF32 = 0, kF16 = 1, kQ8_0 = 8, kBf16 = 30 };

class GgufHeader {
 public:
  static constexpr uint64_t kAlignment = 32;

  // Keys are unique; an internal error otherwise.
  void add_text(std::string_view key, std::string_view value);
  void add_u32(std::string_view key, uint32_t value);
  void add_i32(std::string_view key, int32_t value);
  void add_f32(std::string_view key, float value);
  void add_bool(std::string_view key, bool value);
  void add_texts(std::string_view key, const std::vector<std::string>& values);
  void add_i32s(std::string_view key, const std::vector<int32_t>& values);

  // Shape in torch's order. Error when the name is too long for ggml (64 bytes) or the shape has more than 4
  // dimensions.
  void add_tensor(const std::string& name, const std::vector<int64_t>& shape, GgufTensorType type);
  // Bytes of tensor data of that shape and type.
  static uint64_t tensor_bytes(const std::vector<int64_t>& shape, GgufTensorType type);

  // Everything up to the first tensor's data, padded.
  std::string bytes() const;

 private:
  void begin(std::string_view key, uint32_t type);
  std::string pairs_, tensors_;
  std::vector<std::string> keys_;
  uint64_t tensor_count_ = 0, offset_ = 0;
};

}  // namespace decant
