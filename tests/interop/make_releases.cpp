// Makes the releases that the interop scripts load with other people's programs:
//   make_releases FOLDER [SMOLLM2.gguf]
// FOLDER/<case>/release for tiny random models of every family, and SmolLM2 when its GGUF is given. The
// numbers to compare with are each release's golden.jsonl: log-probabilities of the model in memory.
#include <ATen/ATen.h>

#include <cstdio>
#include <exception>

#include "data_pipeline/tokenizer.h"
#include "data_pipeline/tokenizer_files.h"
#include "export/release.h"
#include "tests/support/tiny_release.h"

namespace {

using namespace decant;
using test::tiny_config;
namespace fs = std::filesystem;

void make(const fs::path& folder, const Decoder& model, const fs::path& tokenizer,
          std::vector<GgufType> gguf) {
  ExportConfig settings;
  settings.name = "model";
  settings.gguf = std::move(gguf);
  settings.max_shard_bytes =
      model.config.hidden_size == 72 ? 40'000 : 5'000'000'000;  // one of them in shards
  export_release(
      model, tokenizer,
      {{"plain", test::tiny_adapter(model, 7, false)}, {"rslora", test::tiny_adapter(model, 8, true)}},
      settings, folder / "release");
  std::printf("%s\n", folder.filename().c_str());
}

// A model of random weights whose greedy answers have a text: the rows of its head beyond the tokenizer's ids
// give logits of 0, which are never the largest.
Decoder speaking_decoder(const Json& config, const fs::path& tokenizer) {
  Decoder model = test::tiny_decoder(config, 3);
  model.head().value.slice(0, load_tokenizer(tokenizer)->vocab_size()).zero_();
  return model;
}

void make_tiny(const fs::path& out, const char* name, const Json& config, const char* grammar) {
  test::write_tiny_tokenizer(out / name / "tokenizer", grammar);
  // llama.cpp knows no sliding window in a llama model, and its context is then shorter than the golden
  // texts.
  const bool windowed = config.contains("sliding_window");
  make(out / name, speaking_decoder(config, out / name / "tokenizer"), out / name / "tokenizer",
       windowed ? std::vector<GgufType>{}
                : std::vector<GgufType>{GgufType::kF32, GgufType::kF16, GgufType::kBf16, GgufType::kQ8_0});
}

// Of a family that has no GGUF, with adapters on the given linears.
void make_folder(const fs::path& out, const char* name, const Json& config,
                 const std::vector<std::string>& targets, const std::vector<std::string>& within) {
  test::write_tiny_tokenizer(out / name / "tokenizer", "qwen2");
  const auto model = speaking_decoder(config, out / name / "tokenizer");
  ExportConfig settings;
  settings.name = "model";
  settings.gguf = {};
  export_release(model, out / name / "tokenizer",
                 {{"plain", test::tiny_adapter(model, 7, false, targets, within)},
                  {"rslora", test::tiny_adapter(model, 8, true, targets, within)}},
                 settings, out / name / "release");
  std::printf("%s\n", name);
}

void make_all(const fs::path& out, const char* smollm2) {
  const Json llama3 = {{"rope_type", "llama3"},
                       {"factor", 8.0},
                       {"low_freq_factor", 1.0},
                       {"high_freq_factor", 4.0},
                       {"original_max_position_embeddings", 64}};
  const Json yarn = {{"rope_type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 64}};
  make_tiny(out, "llama", tiny_config("llama"), "smollm");
  make_tiny(out, "llama_tied_sharded",
            tiny_config("llama", {{"hidden_size", 72},
                                  {"num_attention_heads", 9},
                                  {"num_key_value_heads", 3},
                                  {"tie_word_embeddings", true}}),
            "gpt-2");
  make_tiny(out, "llama3", tiny_config("llama", {{"rope_scaling", llama3}, {"rope_theta", 500000.0}}),
            "llama-bpe");
  make_tiny(out, "qwen2", tiny_config("qwen2", {{"rope_theta", 1000000.0}}), "qwen2");
  make_tiny(out, "qwen2_yarn", tiny_config("qwen2", {{"rope_scaling", yarn}}), "qwen2");
  make_tiny(out, "qwen3", tiny_config("qwen3"), "qwen2");
  make_tiny(out, "mistral", tiny_config("mistral"), "smollm");
  // Families without GGUF. (peft 0.21 cannot hang an adapter on DeepSeek's routed experts and on other
  // linears of the same last part at one time: the names are the experts' alone.)
  const std::vector<std::string> latent = {"q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj",
                                           "o_proj"};
  make_folder(out, "deepseek_v3", tiny_config("deepseek_v3"), latent, {});
  make_folder(out, "deepseek_v3_experts", tiny_config("deepseek_v3", {{"q_lora_rank", nullptr}}),
              {"down_proj", "gate_proj", "up_proj"}, {".experts."});
  std::vector<std::string> both = latent;
  both.insert(both.end(), {"down_proj", "gate_proj", "up_proj"});
  make_folder(out, "deepseek_v3_attention_and_experts", tiny_config("deepseek_v3"), both,
              {".self_attn.", ".experts."});
  make_folder(out, "gemma2", tiny_config("gemma2"), {"down_proj", "k_proj", "q_proj"}, {});
  make_folder(out, "phi3", tiny_config("phi3"), {"gate_up_proj", "o_proj", "qkv_proj"}, {});
  if (smollm2 == nullptr) return;
  import_gguf_tokenizer_files(smollm2, out / "smollm2" / "tokenizer");
  make(out / "smollm2", import_gguf(smollm2, Dtype::kBf16), out / "smollm2" / "tokenizer",
       {GgufType::kF32, GgufType::kF16, GgufType::kQ8_0});
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc != 2 && argc != 3) return 2;
    make_all(argv[1], argc == 3 ? argv[2] : nullptr);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
  return 0;
}
