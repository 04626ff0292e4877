// What a release holds: the `export` section of a recipe.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/config.h"

namespace decant {

enum class GgufType { kF32, kF16, kBf16, kQ8_0 };
template <>
struct EnumNames<GgufType> {
  static constexpr std::pair<GgufType, const char*> values[] = {
      {GgufType::kF32, "f32"}, {GgufType::kF16, "f16"}, {GgufType::kBf16, "bf16"}, {GgufType::kQ8_0, "q8_0"}};
};

struct ExportConfig {
  bool hugging_face = true;
  bool adapters = true;
  std::vector<GgufType> gguf = {GgufType::kQ8_0};
  std::string name = "decant-model";
  int64_t max_shard_bytes = 5'000'000'000;

  static void visit(auto& c, auto&& field) {
    field("hugging_face", c.hugging_face, "a folder that transformers, vLLM and SGLang load, in BF16");
    field("adapters", c.adapters, "a PEFT folder per tenant with its scale folded into B");
    field("gguf", c.gguf, "GGUF files for llama.cpp and Ollama: f32, f16, bf16, q8_0");
    field("name", c.name, "of the model, in file names and metadata");
    field("max_shard_bytes", c.max_shard_bytes, "of a safetensors shard");
  }
  void validate(const Place& place) const;
};

}  // namespace decant
