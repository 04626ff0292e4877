// One optimizer step (gradient norm, then AdamW) on the tensors of SmolLM2-135M, and the bytes of its
// moments.
//   optimizer_bench full|lora fp32|int8 [STEPS THREADS]
// full: bf16 weights with fp32 masters; lora: rank 16 on all linears, fp32. Prints the least time of a step.
// For instructions and memory traffic: perf stat -e instructions,cache-misses optimizer_bench ...
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <string>

#include "core/error.h"
#include "tests/support/guarded_main.h"
#include "train/optimizer.h"

namespace decant {
namespace {

std::deque<Parameter> parameters_of(const std::string& kind) {
  constexpr int64_t kWidth = 576, kKeys = 192, kInner = 1536;
  std::deque<Parameter> all;
  const auto type = kind == "full" ? at::kBFloat16 : at::kFloat;
  const auto add = [&](const std::string& name, at::IntArrayRef shape) {
    all.push_back({name, at::full(shape, 0.02, type), at::full(shape, 1e-3, at::kFloat), true});
  };
  struct Shape {
    const char* name;
    int64_t outputs, inputs;
  };
  const Shape shapes[] = {{"q_proj", kWidth, kWidth},    {"k_proj", kKeys, kWidth},
                          {"v_proj", kKeys, kWidth},     {"o_proj", kWidth, kWidth},
                          {"gate_proj", kInner, kWidth}, {"up_proj", kInner, kWidth},
                          {"down_proj", kWidth, kInner}};
  if (kind == "full") add("model.embed_tokens.weight", {49152, kWidth});
  for (int layer = 0; layer < 30; ++layer) {
    const std::string before = concat("model.layers.", layer, ".");
    for (const auto& [name, outputs, inputs] : shapes) {
      if (kind == "full") {
        add(before + name + ".weight", {outputs, inputs});
      } else {
        add(before + name + ".lora_A.weight", {16, inputs});
        add(before + name + ".lora_B.weight", {outputs, 16});
      }
    }
    if (kind != "full") continue;
    add(before + "input_layernorm.weight", {kWidth});
    add(before + "post_attention_layernorm.weight", {kWidth});
  }
  if (kind == "full") add("model.norm.weight", {kWidth});
  return all;
}

int run(int count, char** arguments) {
  check(count >= 3, "usage: optimizer_bench full|lora fp32|int8 [STEPS THREADS]");
  const std::string kind = arguments[1], state = arguments[2];
  const int64_t steps = count > 3 ? std::atoll(arguments[3]) : 5;
  at::set_num_threads(count > 4 ? std::atoi(arguments[4]) : 1);
  auto parameters = parameters_of(kind);
  std::vector<Parameter*> all;
  int64_t elements = 0;
  for (auto& p : parameters) {
    all.push_back(&p);
    elements += p.value.numel();
  }
  OptimizerConfig config;
  config.state = state == "int8" ? MomentState::kInt8 : MomentState::kFp32;
  Optimizer optimizer(all, config);
  double least = 1e9;
  for (int64_t step = 0; step < steps; ++step) {
    const auto begin = std::chrono::steady_clock::now();
    optimizer.step(1e-4);
    least = std::min(least, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  std::printf("%s %s: %.1f M elements, %.1f MB of moments, %.1f ms a step, %.2f ns an element\n",
              kind.c_str(), state.c_str(), static_cast<double>(elements) / 1e6,
              static_cast<double>(optimizer.moment_bytes()) / 1e6, least * 1e3,
              least * 1e9 / static_cast<double>(elements));
  return 0;
}

}  // namespace
}  // namespace decant

int main(int count, char** arguments) { return decant::test::guarded_main(decant::run, count, arguments); }
