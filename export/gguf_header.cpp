#include "export/gguf_header.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <stdexcept>

#include "core/error.h"
#include "export/ggml_rows.h"

namespace decant {
namespace {

enum : uint32_t { kU32 = 4, kI32 = 5, kFloat = 6, kBool = 7, kText = 8, kArray = 9 };

template <class T>
void append(std::string& out, T value) {
  static_assert(std::endian::native == std::endian::little);
  char bytes[sizeof(T)];
  std::memcpy(bytes, &value, sizeof(T));
  out.append(bytes, sizeof(T));
}

void append_text(std::string& out, std::string_view text) {
  append<uint64_t>(out, text.size());
  out.append(text);
}

uint64_t padded(uint64_t size) {
  return (size + GgufHeader::kAlignment - 1) / GgufHeader::kAlignment * GgufHeader::kAlignment;
}

}  // namespace

void GgufHeader::begin(std::string_view key, uint32_t type) {
  if (key.empty() || std::find(keys_.begin(), keys_.end(), key) != keys_.end())
    throw std::logic_error("GGUF key '" + std::string(key) + "' is empty or written twice");
  keys_.emplace_back(key);
  append_text(pairs_, key);
  append<uint32_t>(pairs_, type);
}

void GgufHeader::add_text(std::string_view key, std::string_view value) {
  begin(key, kText);
  append_text(pairs_, value);
}

void GgufHeader::add_u32(std::string_view key, uint32_t value) {
  begin(key, kU32);
  append(pairs_, value);
}

void GgufHeader::add_i32(std::string_view key, int32_t value) {
  begin(key, kI32);
  append(pairs_, value);
}

void GgufHeader::add_f32(std::string_view key, float value) {
  begin(key, kFloat);
  append(pairs_, value);
}

void GgufHeader::add_bool(std::string_view key, bool value) {
  begin(key, kBool);
  append<uint8_t>(pairs_, value ? 1 : 0);
}

void GgufHeader::add_texts(std::string_view key, const std::vector<std::string>& values) {
  begin(key, kArray);
  append<uint32_t>(pairs_, kText);
  append<uint64_t>(pairs_, values.size());
  for (const std::string& value : values) append_text(pairs_, value);
}

void GgufHeader::add_i32s(std::string_view key, const std::vector<int32_t>& values) {
  begin(key, kArray);
  append<uint32_t>(pairs_, kI32);
  append<uint64_t>(pairs_, values.size());
  for (const int32_t value : values) append(pairs_, value);
}

uint64_t GgufHeader::tensor_bytes(const std::vector<int64_t>& shape, GgufTensorType type) {
  uint64_t elements = 1;
  for (const int64_t size : shape) elements *= static_cast<uint64_t>(size);
  switch (type) {
    case GgufTensorType::kF32:
      return elements * 4;
    case GgufTensorType::kF16:
    case GgufTensorType::kBf16:
      return elements * 2;
    case GgufTensorType::kQ8_0:
      return elements / kQ8Block * kQ8BlockBytes;
  }
  throw std::logic_error("no such ggml type");
}

void GgufHeader::add_tensor(const std::string& name, const std::vector<int64_t>& shape, GgufTensorType type) {
  check(name.size() < 64, "GGUF: the tensor name '", name, "' has ", name.size(),
        " bytes, ggml takes at most 63");
  check(!shape.empty() && shape.size() <= 4, "GGUF: tensor '", name, "' has ", shape.size(),
        " dimensions, ggml takes 1 to 4");
  append_text(tensors_, name);
  append<uint32_t>(tensors_, static_cast<uint32_t>(shape.size()));
  for (auto size = shape.rbegin(); size != shape.rend(); ++size) append<int64_t>(tensors_, *size);
  append<uint32_t>(tensors_, static_cast<uint32_t>(type));
  append<uint64_t>(tensors_, offset_);
  offset_ += padded(tensor_bytes(shape, type));
  ++tensor_count_;
}

std::string GgufHeader::bytes() const {
  std::string out = "GGUF";
  append<uint32_t>(out, 3);
  append<int64_t>(out, static_cast<int64_t>(tensor_count_));
  append<int64_t>(out, static_cast<int64_t>(keys_.size()));
  out += pairs_;
  out += tensors_;
  out.resize(padded(out.size()), '\0');
  return out;
}

}  // namespace decant
