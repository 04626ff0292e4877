// Program of the resume tests: trains the tiny model in a folder and writes its weights. `train_tiny FOLDER
// DTYPE [STEP]`: with STEP it kills itself as step STEP begins.
#include <ATen/Parallel.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "core/progress.h"
#include "tests/train/tiny_training.h"

int main(int argc, char** argv) {
  using namespace decant;
  if (argc < 3) return 2;
  at::set_num_threads(1);
  set_progress_quiet(true);
  const std::filesystem::path folder = argv[1];
  const Dtype dtype = std::string(argv[2]) == "bf16" ? Dtype::kBf16 : Dtype::kFp32;
  const int64_t die_at = argc > 3 ? std::atoll(argv[3]) : -1;
  try {
    Decoder model = random_decoder(test::tiny_model_config(), dtype, 1);
    make_trainable(model);
    StepBatches batches = test::tiny_batches();
    batches.step = [inner = batches.step, die_at](int64_t step) {
      if (step == die_at) ::kill(::getpid(), SIGKILL);
      return inner(step);
    };
    train(model, model.parameters(), batches, next_token_loss, test::tiny_config(), folder);
    NamedTensors weights;
    for (const Parameter* p : model.parameters()) weights.emplace_back(p->name, p->value);
    write_tensors(folder / "weights.safetensors", weights);
  } catch (const Error& e) {
    std::fprintf(stderr, "error: %s\n", e.what());
    return static_cast<int>(e.code());
  }
  return 0;
}
