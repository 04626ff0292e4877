// A projection with quantized weights against one in bf16: forward and input gradient of a 7b-shaped layer, alternatives
// interleaved in one loop, the least time of each.
//   quant_bench [OUTPUTS INPUTS ROUNDS THREADS]
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "core/json.h"
#include "core/kernels/quantized_gemm.h"

namespace decant {
namespace {

double seconds_of(const auto& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

int run(int count, char** arguments) {
  const auto argument = [&](int i, int64_t otherwise) { return i < count ? std::atoll(arguments[i]) : otherwise; };
  const int64_t outputs = argument(1, 3584), inputs = argument(2, 3584), rounds = argument(3, 20);
  at::set_num_threads(static_cast<int>(argument(4, 1)));
  at::manual_seed(0);
  const at::Tensor w = (at::randn({outputs, inputs}) * 0.02).to(at::kBFloat16);
  const std::vector<Quantization> kinds = {Quantization::kInt8, Quantization::kNf4, Quantization::kNf4Dq};
  std::vector<QuantizedWeight> weights;
  for (const auto kind : kinds) weights.push_back(quantize_weight(w, kind));
  Json out;
  for (size_t k = 0; k < kinds.size(); ++k) {
    Json& of = out[to_string(kinds[k])];
    of["bytes_of_bf16"] = static_cast<double>(weights[k].bytes()) / static_cast<double>(w.nbytes());
    double least = 1e9;
    for (int i = 0; i < 5; ++i) least = std::min(least, seconds_of([&] { quantize_weight(w, kinds[k]); }));
    of["quantize_ns_a_weight"] = least * 1e9 / static_cast<double>(w.numel());
    least = 1e9;
    for (int i = 0; i < 5; ++i) least = std::min(least, seconds_of([&] { dequantize(weights[k], at::kBFloat16); }));
    of["dequantize_ns_a_weight"] = least * 1e9 / static_cast<double>(w.numel());
  }
  for (const int64_t rows : {16, 64, 256, 1024}) {
    const at::Tensor x = at::randn({rows, inputs}).to(at::kBFloat16), dy = at::randn({rows, outputs}).to(at::kBFloat16);
    const auto panel = rows == 16 ? Panel::kDecode : Panel::kTraining;
    std::vector<double> forward(kinds.size() + 1, 1e9), backward = forward;
    for (int64_t round = 0; round < rounds; ++round) {
      forward[0] = std::min(forward[0], seconds_of([&] { linear(x, w, {}, panel); }));
      backward[0] = std::min(backward[0], seconds_of([&] { linear_input_grad(dy, w, panel); }));
      for (size_t k = 0; k < kinds.size(); ++k) {
        forward[k + 1] = std::min(forward[k + 1], seconds_of([&] { linear(x, StackedWeights{&weights[k]}, {}, panel); }));
        backward[k + 1] =
            std::min(backward[k + 1], seconds_of([&] { linear_input_grad(dy, StackedWeights{&weights[k]}); }));
      }
    }
    const std::string key = std::to_string(rows) + "_rows";
    out["bf16"][key] = {{"forward_ms", forward[0] * 1e3}, {"backward_ms", backward[0] * 1e3}};
    for (size_t k = 0; k < kinds.size(); ++k)
      out[to_string(kinds[k])][key] = {{"forward_of_bf16", forward[k + 1] / forward[0]},
                                       {"backward_of_bf16", backward[k + 1] / backward[0]},
                                       {"step_of_bf16", (forward[k + 1] + backward[k + 1]) / (forward[0] + backward[0])}};
  }
  std::printf("%s\n", out.dump(1).c_str());
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
