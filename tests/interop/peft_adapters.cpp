// Adapters for the real peft, and from it: peft_adapters make FOLDER writes a tiny model, adapters of every
// kind and the logits that they give; peft_adapters check FOLDER reads the adapters that peft wrote into
// FOLDER/from_peft and compares their logits (tests/interop/peft_adapters_test.py stands between the two).
#include <ATen/ATen.h>

#include <cstdio>
#include <filesystem>
#include <string>

#include "core/file.h"
#include "core/kernels/head_cross_entropy.h"
#include "core/tensor_file.h"
#include "lora/attach.h"
#include "lora/merge.h"
#include "lora/soup.h"
#include "tests/train/tiny_training.h"

namespace decant {
namespace {

namespace fs = std::filesystem;

at::Tensor logits(const Decoder& model) {
  return head_logits(forward(model, make_batch({{1, 5, 9, 33, 60, 2, 44, 17}})), model.head().value, false);
}

// Adapters whose name ends so are for the model whose head is not its embedding.
bool is_untied(const std::string& name) { return name.ends_with("untied"); }

Decoder random_base(bool untied) {
  ModelConfig config = test::tiny_model_config();
  config.tie_word_embeddings = !untied;
  config.source["tie_word_embeddings"] = !untied;
  return random_decoder(config, Dtype::kFp32, 3, 0.2);
}

void fill(Decoder& model, double size) {
  for (Linear* linear : model.linears())
    for (auto& term : linear->terms) {
      term.lora_b.value.copy_(at::sin(at::arange(0, term.lora_b.value.numel(), at::kFloat) * 0.7)
                                  .mul_(size)
                                  .reshape(term.lora_b.value.sizes()));
      if (term.magnitude.defined()) term.magnitude.value.mul_(1.1);
    }
  if (!model.token_rows) return;
  model.token_rows->embedding.value.mul_(1.5);
  if (model.token_rows->head.defined()) model.token_rows->head.value.mul_(-0.5);
}

void make(const fs::path& folder) {
  save_model(random_base(false), folder / "model", Dtype::kFp32);
  save_model(random_base(true), folder / "model_untied", Dtype::kFp32);
  std::vector<std::pair<Adapter, double>> plain;
  const auto write = [&](const std::string& name, const LoraConfig& config, double size) {
    Decoder model = random_base(is_untied(name));
    attach_lora(model, config);
    fill(model, size);
    const Adapter adapter = collect_adapter(model, config, "base", "", {});
    write_adapter(folder / name, adapter);
    write_tensors(folder / name / "logits.safetensors", {{"logits", logits(model)}});
    if (!config.dora && config.trainable_tokens.empty()) plain.emplace_back(adapter, 0.5);
    merge_adapter(model, adapter);
    write_tensors(folder / name / "merged.safetensors", {{"logits", logits(model)}});
  };
  LoraConfig config;
  config.rank = 4;
  write("rslora", config, 0.3);
  config.dora = true;
  write("dora", config, 0.3);
  config.dora = false;
  config.rank_pattern = {{"q_proj", 2}, {"layers\\.1\\..*up_proj", 8}};
  config.alpha_pattern = {{"v_proj", 3}};
  config.rslora = false;
  write("patterns", config, 0.2);
  config = {};
  config.init = LoraInit::kOrthogonal;
  config.targets = {"regex:.*layers\\.\\d\\.self_attn\\.[qkv]_proj"};
  write("regex", config, 0.1);
  config.layers = {1};
  write("regex_layer", config, 0.1);
  config = {};
  config.layers = {1};
  write("layer", config, 0.1);

  config = {};
  config.rank = 4;
  config.dropout = 0.1;
  config.trainable_tokens = {"a", "b", "c"};
  config.trainable_token_ids = {5, 33, 44};
  write("tokens", config, 0.1);
  write("tokens_untied", config, 0.1);

  Decoder model = random_decoder(test::tiny_model_config(), Dtype::kFp32, 3, 0.2);
  const Adapter sum = soup(plain, 0);
  write_adapter(folder / "soup", sum);
  apply_adapter(model, sum);
  write_tensors(folder / "soup" / "logits.safetensors", {{"logits", logits(model)}});
  merge_adapter(model, sum);
  write_tensors(folder / "soup" / "merged.safetensors", {{"logits", logits(model)}});
}

int check_all(const fs::path& folder) {
  int seen = 0, failed = 0;
  for (const auto& entry : fs::directory_iterator(folder / "from_peft")) {
    const bool untied = is_untied(entry.path().filename().string());
    Decoder model = load_model(folder / (untied ? "model_untied" : "model"), Dtype::kFp32);
    apply_adapter(model, read_adapter(entry.path()));
    const at::Tensor expected = TensorFile(entry.path() / "logits.safetensors").load("logits");
    const double worst = (logits(model) - expected).abs().max().item<double>();
    std::printf("%s: largest difference %.2e\n", entry.path().filename().c_str(), worst);
    if (!(worst <= 1e-4)) ++failed;
    ++seen;
  }
  std::printf("%d adapters of peft, %d failed\n", seen, failed);
  return seen >= 7 && failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace decant

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  try {
    if (std::string(argv[1]) == "check") return decant::check_all(argv[2]);
    decant::make(argv[2]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
  return 0;
}
