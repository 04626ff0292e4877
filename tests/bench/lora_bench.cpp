// LoRA steps on real token ids, timed: decant's side of scripts/bench.sh (its peer is peers/lora_peft.py;
// both print the same JSON).
//   lora_bench MODEL IDS.json STEPS THREADS STARTED   STARTED: seconds since the epoch when the process was
//   launched
#include <ATen/Parallel.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/randn.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

#include "core/error.h"
#include "core/json.h"
#include "core/kernels/head_cross_entropy.h"
#include "core/model/batch.h"
#include "core/model/decoder.h"
#include "core/model/load_model.h"
#include "lora/attach.h"
#include "train/optimizer.h"

namespace decant {
namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

int64_t peak_mib() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmHWM:")) return std::strtoll(line.c_str() + 6, nullptr, 10) / 1024;
  return 0;
}

// bf16 rate of the machine in this very run, on a shape of the model: what a step's rate is to be read
// against.
double gemm_gflops() {
  const auto x = at::randn({256, 576}, at::kBFloat16), w = at::randn({1536, 576}, at::kBFloat16);
  for (int i = 0; i < 20; ++i) at::linear(x, w);
  const double start = now();
  constexpr int kRuns = 100;
  for (int i = 0; i < kRuns; ++i) at::linear(x, w);
  return 2.0 * 256 * 576 * 1536 * kRuns / (now() - start) / 1e9;
}

int run(int count, char** arguments) {
  check(count == 6, "usage: lora_bench MODEL IDS.json STEPS THREADS STARTED");
  at::set_num_threads(std::atoi(arguments[4]));
  const double started = std::atof(arguments[5]);
  Decoder model = load_model(arguments[1], Dtype::kBf16);
  attach_lora(model, LoraConfig{});
  const auto parameters = model.adapter_parameters();
  Optimizer optimizer(parameters, OptimizerConfig{});
  const Json rows = read_json(arguments[2]);  // [step][row][token]
  Json seconds = Json::array(), losses = Json::array();
  double first = 0;
  int64_t tokens = 0;
  for (int64_t step = 0; step < std::atoi(arguments[3]); ++step) {
    const double begin = now();
    const Batch batch =
        make_batch(rows.at(static_cast<size_t>(step)).get<std::vector<std::vector<int64_t>>>());
    tokens = batch.size();
    const Targets targets = next_token_targets(batch);
    const double scale = 1 / batch.total_weight();
    Saved saved;
    const at::Tensor hidden = forward(model, batch, &saved);
    const HeadLoss loss =
        head_cross_entropy(hidden, model.head(), targets.targets, targets.weights, scale, true);
    backward(model, batch, saved, loss.d_hidden);
    optimizer.step(1e-5);
    clear_gradients(parameters);
    seconds.push_back(now() - begin);
    losses.push_back(loss.sum * scale);
    if (step == 0) first = now() - started;
  }
  Json out;
  out["tokens"] = tokens;
  out["step_seconds"] = seconds;
  out["losses"] = losses;
  out["first_step_seconds"] = first;
  out["peak_mib"] = peak_mib();
  out["gemm_gflops"] = gemm_gflops();
  std::printf("%s\n", out.dump().c_str());
  return 0;
}

}  // namespace
}  // namespace decant

int main(int count, char** arguments) {
  try {
    return decant::run(count, arguments);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "error: %s\n", e.what());
    return 1;
  }
}
