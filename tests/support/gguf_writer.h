// GGUF bytes written piece by piece, valid or not: what the readers' tests are made of. Shares nothing with
// the exporter.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace decant::test {

template <class T>
std::string raw(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}
inline std::string gguf_text(const std::string& text) { return raw<uint64_t>(text.size()) + text; }
inline std::string gguf_u32(const std::string& key, uint32_t value) {
  return gguf_text(key) + raw<uint32_t>(4) + raw(value);
}
inline std::string gguf_f32(const std::string& key, float value) {
  return gguf_text(key) + raw<uint32_t>(6) + raw(value);
}
inline std::string gguf_string(const std::string& key, const std::string& value) {
  return gguf_text(key) + raw<uint32_t>(8) + gguf_text(value);
}
template <class T>
std::string gguf_array(const std::string& key, uint32_t element_type, const std::vector<T>& values) {
  std::string out = gguf_text(key) + raw<uint32_t>(9) + raw(element_type) + raw<uint64_t>(values.size());
  for (const auto& value : values) out += raw(value);
  return out;
}
inline std::string gguf_strings(const std::string& key, const std::vector<std::string>& values) {
  std::string out = gguf_text(key) + raw<uint32_t>(9) + raw<uint32_t>(8) + raw<uint64_t>(values.size());
  for (const auto& value : values) out += gguf_text(value);
  return out;
}
// `ne` innermost first, as in the file.
inline std::string gguf_tensor(const std::string& name, const std::vector<int64_t>& ne, uint32_t type,
                               uint64_t offset) {
  std::string out = gguf_text(name) + raw(static_cast<uint32_t>(ne.size()));
  for (const int64_t size : ne) out += raw(size);
  return out + raw(type) + raw(offset);
}
inline std::string gguf_pad(std::string bytes, size_t alignment = 32) {
  bytes.resize((bytes.size() + alignment - 1) / alignment * alignment, '\0');
  return bytes;
}
inline std::string gguf_head(int64_t tensors, int64_t values, uint32_t version = 3) {
  return "GGUF" + raw(version) + raw(tensors) + raw(values);
}

}  // namespace decant::test
