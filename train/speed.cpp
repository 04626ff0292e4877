#include "train/speed.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>
#include <tuple>

#include "core/kernels/gemm.h"
#include "core/log.h"
#include "core/machine_memory.h"
#include "core/model/block.h"
#include "core/model/layer_walk.h"

namespace decant {

namespace {

// Multiplications and additions of the linears of a layer for one token, forward; an expert's by its share of
// the tokens.
double layer_flops(const ModelConfig& config, const DecoderLayer& layer, bool trained_only) {
  double sum = 0;
  walk_layer(
      layer,
      [&](const Projection& projection) {
        for (const Linear& one : projection.linears) {
          if (trained_only && !one.weight.trainable) continue;
          const double of_one = 2 * static_cast<double>(one.outputs()) * static_cast<double>(one.inputs());
          const bool routed = one.name.find(".experts.") != std::string::npos;
          sum += routed ? of_one * static_cast<double>(config.experts->per_token) /
                              static_cast<double>(config.experts->routed)
                        : of_one;
        }
      },
      [](const Parameter&) {});
  return sum;
}

// Pairs of a query and a key that it sees.
double attended_pairs(const Batch& batch, int64_t window) {
  const auto* starts = batch.document_starts.const_data_ptr<int32_t>();
  double pairs = 0;
  for (int64_t d = 0; d + 1 < batch.document_starts.numel(); ++d) {
    const double length = starts[d + 1] - starts[d];
    const double near = window > 0 ? std::min(length, static_cast<double>(window)) : length;
    pairs += near * (near + 1) / 2 + (length - near) * near;
  }
  return pairs;
}

}  // namespace

double training_flops(const Decoder& model, const std::vector<Parameter*>& parameters, const Batch& batch) {
  const ModelConfig& config = model.config;
  const auto tokens = static_cast<double>(batch.size());
  const bool embedding = model.embed_tokens.trainable || model.embed_tokens.row_ids.defined();
  bool back = embedding;  // whether the gradient comes down to this layer
  double flops = 0;
  for (size_t i = 0; i < model.layers.size(); ++i) {
    const DecoderLayer& layer = model.layers[i];
    back = back || trains(layer);
    const double attention = 4 * attended_pairs(batch, config.sliding_window.at(i)) *
                             static_cast<double>(config.num_attention_heads * config.key_width());
    flops += (back ? 2 : 1) * tokens * layer_flops(config, layer, false) + (back ? 3 : 1) * attention;
    flops += tokens * layer_flops(config, layer, true);
  }
  // Factors of adapters: forward, and the gradients of the factor and of what it reads.
  for (const Parameter* p : parameters)
    if (p->name.find(".lora_") != std::string::npos && p->value.dim() == 2)
      flops += 6 * tokens * static_cast<double>(p->value.numel());
  const auto under_loss = static_cast<double>((batch.loss_weight != 0).sum().item<int64_t>());
  return flops + (model.head().trainable ? 6 : 4) * under_loss * static_cast<double>(config.vocab_size) *
                     static_cast<double>(config.hidden_size);
}

double product_rate(const Decoder& model) {
  constexpr int64_t kRows = 256;
  constexpr double kSeconds = 0.03;
  static std::map<std::tuple<at::ScalarType, int64_t, int64_t>, double> known;
  const int64_t inputs = model.config.hidden_size, outputs = model.config.intermediate_size;
  double& rate = known[{model.dtype(), inputs, outputs}];
  if (rate > 0) return rate;
  const auto x = at::full({kRows, inputs}, 0.5, model.embed_tokens.value.options()),
             w = at::full({outputs, inputs}, 0.01, model.embed_tokens.value.options());
  using Clock = std::chrono::steady_clock;
  decant::linear(x, w, {});  // packs, starts threads
  double best = 0;
  const auto begin = Clock::now();
  for (int64_t runs = 0; runs < 3 || std::chrono::duration<double>(Clock::now() - begin).count() < kSeconds;
       ++runs) {
    const auto start = Clock::now();
    decant::linear(x, w, {});
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    const double flops = 2.0 * kRows * static_cast<double>(inputs) * static_cast<double>(outputs);
    if (seconds > 0) best = std::max(best, flops / seconds);
  }
  rate = best;
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", rate / 1e9);
  log_info("train: a product [", kRows, ", ", inputs, "] x [", inputs, ", ", outputs, "] in ",
           c10::toString(model.dtype()), " runs at ", text, " GFLOP/s here; MFU is the share of that rate");
  return rate;
}

void Speed::add(const Speed& other) {
  tokens += other.tokens;
  flops += other.flops;
  seconds += other.seconds;
}

std::string speed_text(const Speed& speed, double rate) {
  char text[96];
  std::snprintf(text, sizeof text, "%.0f tokens/s, MFU %.0f%%, %.1f GB resident", speed.tokens_per_second(),
                100 * speed.share_of(rate), static_cast<double>(resident_memory()) / 1e9);
  return text;
}

}  // namespace decant
