// A projection with quantized weights against one in bf16: forward and input gradient of a 7b-shaped layer,
// alternatives interleaved in one loop, the least time of each.
//   quant_bench [OUTPUTS INPUTS ROUNDS THREADS]
// and the memory of one step of an adapter on a 14b-shaped model (Qwen2.5-14B's sizes, random weights) of so
// many layers:
//   quant_bench memory LAYERS TOKENS [KIND]
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/json.h"
#include "core/kernels/head_cross_entropy.h"
#include "core/kernels/quantized_gemm.h"
#include "core/model/load_model.h"
#include "lora/attach.h"
#include "tests/bench/measure.h"
#include "tests/support/guarded_main.h"
#include "train/optimizer.h"

namespace decant {
namespace {

using test::seconds_of, test::status_mib;

int memory(int count, char** arguments) {
  check(count >= 4, "usage: quant_bench memory LAYERS TOKENS [none|int8|nf4|nf4_dq]");
  auto json = Json::parse(
      R"({"model_type": "qwen2", "vocab_size": 152064, "hidden_size": 5120, "intermediate_size": 13824,
    "num_attention_heads": 40, "num_key_value_heads": 8, "max_position_embeddings": 4096, "tie_word_embeddings": false})");
  json["num_hidden_layers"] = std::atoll(arguments[2]);
  const ModelConfig config = parse_model_config(json, "quant_bench");
  const std::string name = count > 4 ? arguments[4] : "nf4_dq";
  auto kind = Quantization::kNone;
  for (const auto k : {Quantization::kInt8, Quantization::kNf4, Quantization::kNf4Dq})
    if (name == to_string(k)) kind = k;
  check(name == to_string(kind), "no such kind: ", name);
  const auto started = std::chrono::steady_clock::now();
  // Numbers drawn once and laid out anew for every tensor: to draw all of them would take longer than the
  // step.
  const at::Tensor drawn = at::empty({1 << 24}, at::kBFloat16).normal_(0, 0.02);
  int64_t next = 0;
  const auto normal = [&](at::IntArrayRef shape) {
    at::Tensor out = at::empty(shape, at::kBFloat16);
    const at::Tensor flat = out.view(-1);
    for (int64_t done = 0; done < flat.numel();) {
      const int64_t begin = next % drawn.numel(),
                    count = std::min(flat.numel() - done, drawn.numel() - begin);
      flat.narrow(0, done, count).copy_(drawn.narrow(0, begin, count));
      done += count;
      next += count + 7919;
    }
    return out;
  };
  const int64_t width = config.hidden_size, inner = config.intermediate_size,
                kv = config.num_key_value_heads * config.head_dim;
  Decoder model = make_decoder(
      config, Dtype::kBf16,
      [&](const std::string& of) {
        const auto is = [&](const char* part) { return of.find(part) != std::string::npos; };
        if (of.ends_with("norm.weight")) return at::ones({width}, at::kBFloat16);
        if (of.ends_with(".bias")) return at::zeros({is("q_proj") ? width : kv}, at::kBFloat16);
        if (is("embed_tokens") || is("lm_head")) return normal({config.vocab_size, width});
        if (is("k_proj") || is("v_proj")) return normal({kv, width});
        if (is("gate_proj") || is("up_proj")) return normal({inner, width});
        return is("down_proj") ? normal({width, inner}) : normal({width, width});
      },
      kind);
  Json out;
  out["loaded_mib"] = status_mib("VmRSS");
  out["loading_peak_mib"] = status_mib("VmHWM");
  attach_lora(model, LoraConfig{});
  const auto parameters = model.adapter_parameters();
  Optimizer optimizer(parameters, OptimizerConfig{});
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < std::atoll(arguments[3]); ++i) ids.push_back(i * 7919 % config.vocab_size);
  const Batch batch = make_batch({ids});
  const Targets targets = next_token_targets(batch);
  out["load_seconds"] = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  const double seconds = seconds_of([&] {
    Saved saved;
    saved.checkpoint = true;
    const auto hidden = forward(model, batch, &saved);
    const HeadLoss loss = head_cross_entropy(hidden, model.head(), targets.targets, targets.weights,
                                             1 / batch.total_weight(), true);
    backward(model, batch, saved, loss.d_hidden);
    optimizer.step(1e-4);
    out["loss"] = loss.sum / batch.total_weight();
  });
  out["step_seconds"] = seconds;
  out["peak_mib"] = status_mib("VmHWM");
  std::printf("%s\n", out.dump().c_str());
  return 0;
}

int run(int count, char** arguments) {
  if (count > 1 && std::string(arguments[1]) == "memory") return memory(count, arguments);
  const auto argument = [&](int i, int64_t otherwise) {
    return i < count ? std::atoll(arguments[i]) : otherwise;
  };
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
    for (int i = 0; i < 5; ++i)
      least = std::min(least, seconds_of([&] { dequantize(weights[k], at::kBFloat16); }));
    of["dequantize_ns_a_weight"] = least * 1e9 / static_cast<double>(w.numel());
  }
  for (const int64_t rows : {16, 64, 256, 1024}) {
    const at::Tensor x = at::randn({rows, inputs}).to(at::kBFloat16),
                     dy = at::randn({rows, outputs}).to(at::kBFloat16);
    const auto panel = rows == 16 ? Panel::kDecode : Panel::kTraining;
    std::vector<double> forward(kinds.size() + 1, 1e9), backward = forward;
    for (int64_t round = 0; round < rounds; ++round) {
      forward[0] = std::min(forward[0], seconds_of([&] { linear(x, w, {}, panel); }));
      backward[0] = std::min(backward[0], seconds_of([&] { linear_input_grad(dy, w, panel); }));
      for (size_t k = 0; k < kinds.size(); ++k) {
        forward[k + 1] =
            std::min(forward[k + 1], seconds_of([&] { linear(x, StackedWeights{&weights[k]}, {}, panel); }));
        backward[k + 1] = std::min(backward[k + 1],
                                   seconds_of([&] { linear_input_grad(dy, StackedWeights{&weights[k]}); }));
      }
    }
    const std::string key = std::to_string(rows) + "_rows";
    out["bf16"][key] = {{"forward_ms", forward[0] * 1e3}, {"backward_ms", backward[0] * 1e3}};
    for (size_t k = 0; k < kinds.size(); ++k)
      out[to_string(kinds[k])][key] = {
          {"forward_of_bf16", forward[k + 1] / forward[0]},
          {"backward_of_bf16", backward[k + 1] / backward[0]},
          {"step_of_bf16", (forward[k + 1] + backward[k + 1]) / (forward[0] + backward[0])}};
  }
  std::printf("%s\n", out.dump().c_str());
  return 0;
}

}  // namespace
}  // namespace decant

int main(int count, char** arguments) { return decant::test::guarded_main(decant::run, count, arguments); }
