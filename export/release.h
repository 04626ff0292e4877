// Packages for serving teams, and their independent check.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "core/adapter_file.h"
#include "core/config.h"
#include "core/json.h"
#include "core/model/decoder.h"

namespace decant {

enum class GgufType { kF32, kF16, kBf16, kQ8_0 };
template <>
struct EnumNames<GgufType> {
  static constexpr std::pair<GgufType, const char*> values[] = {{GgufType::kF32, "f32"},
                                                                {GgufType::kF16, "f16"},
                                                                {GgufType::kBf16, "bf16"},
                                                                {GgufType::kQ8_0, "q8_0"}};
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

// hf_folder.h: config.json, generation_config.json, tokenizer files byte-identical, chat_template.jinja, shards.
void export_hf_folder(const Decoder& model, const std::filesystem::path& tokenizer_folder,
                      const std::filesystem::path& out, int64_t max_shard_bytes);
// gguf_writer.h: one file; tokenizer and template in its metadata (names and rules: references/export 2.2, 2.3).
void export_gguf(const Decoder& model, const std::filesystem::path& tokenizer_folder, GgufType type,
                 const std::string& name, const std::filesystem::path& file);
// A PEFT folder with the scale folded.
void export_adapter(const Adapter& adapter, const std::filesystem::path& out);

struct VerifyReport {
  struct Check {
    std::string artefact, what;
    bool passed = false;
    std::string detail;
  };
  std::vector<Check> checks;
  bool passed() const;
};

// Re-reads every artefact of a release directory (or one artefact) with readers that share nothing with the writers or with core's
// file readers: structure, tokenizer round trip, and log-probabilities against `golden.jsonl` that the export step wrote from
// the model in memory. Prints nothing.
VerifyReport verify_release(const std::filesystem::path& release);
std::string verify_report_text(const VerifyReport& report);

}  // namespace decant
