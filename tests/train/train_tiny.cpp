// Program of the resume tests: trains the tiny model in a folder and writes what was trained.
//   train_tiny FOLDER HOW [STEP]
// HOW is a dtype (fp32, bf16) with, before it, what is trained: nothing for all weights, frozen- for a half
// of them, lora-, dora- or lora_plus- for an adapter; and threads2- for two threads. With STEP it kills
// itself as step STEP begins.
#include <ATen/Parallel.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "core/progress.h"
#include "lora/attach.h"
#include "tests/train/tiny_training.h"

namespace decant {
namespace {

// What trains of `model` by this method.
std::vector<Parameter*> chosen(Decoder& model, const std::string& how, TrainConfig& config) {
  const auto asked = [&](const char* word) { return how.find(word) != std::string::npos; };
  if (asked("lora") || asked("dora")) {
    LoraConfig lora;
    lora.rank = 4;
    lora.dora = asked("dora");
    attach_lora(model, lora);
    if (asked("lora_plus")) config.optimizer.groups = {{".*\\.lora_B\\.weight", 16, {}}};
    return model.adapter_parameters();
  }
  make_trainable(model);
  if (asked("frozen")) freeze_matching(model, {".*embed_tokens.*", "model\\.layers\\.0\\..*"}, "frozen");
  return trainable_parameters(model);
}

void run(const std::filesystem::path& folder, const std::string& how, int64_t die_at) {
  at::set_num_threads(how.find("threads2") != std::string::npos ? 2 : 1);
  Decoder model =
      random_decoder(test::tiny_model_config(), how.ends_with("bf16") ? Dtype::kBf16 : Dtype::kFp32, 1);
  TrainConfig config = test::tiny_config();
  const auto parameters = chosen(model, how, config);
  StepBatches batches = test::tiny_batches();
  batches.step = [inner = batches.step, die_at](int64_t step) {
    if (step == die_at) ::kill(::getpid(), SIGKILL);
    return inner(step);
  };
  const TrainResult result = train(model, parameters, batches, next_token_loss, config, folder);
  NamedTensors weights = result.masters;
  for (auto& [name, value] : weights) name = "master." + name;
  for (const Parameter* p : model.parameters()) weights.emplace_back(p->name, p->value);
  for (const Parameter* p : model.adapter_parameters()) weights.emplace_back(p->name, p->value);
  write_tensors(folder / "weights.safetensors", weights);
}

}  // namespace
}  // namespace decant

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  decant::set_progress_quiet(true);
  try {
    decant::run(argv[1], argv[2], argc > 3 ? std::atoll(argv[3]) : -1);
  } catch (const decant::Error& e) {
    std::fprintf(stderr, "error: %s\n", e.what());
    return static_cast<int>(e.code());
  }
  return 0;
}
