// Adapters of many tenants trained in one pass over the base, against one tenant after another: layers of a
// 7b model (Qwen2.5-7B's sizes, random weights), a step of every tenant, the two ways interleaved, median
// seconds of each; and the peak memory of one way alone.
//   grouped_bench TENANTS ROWS ROUNDS THREADS [LAYERS]
//   grouped_bench memory TENANTS ROWS LAYERS
// ROWS: tokens of one document of each tenant in a step. The vocabulary is small, so that what is timed is
// the layers.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/json.h"
#include "core/model/load_model.h"
#include "core/tensor_memory.h"
#include "lora/tenant_slots.h"
#include "tests/bench/measure.h"
#include "tests/support/guarded_main.h"
#include "train/grouped.h"
#include "train/optimizer.h"

namespace decant {
namespace {

using test::seconds_of, test::status_mib;

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.at(values.size() / 2);
}

ModelConfig seven_b(int64_t layers) {
  auto json = Json::parse(
      R"({"model_type": "qwen2", "vocab_size": 4096, "hidden_size": 3584, "intermediate_size": 18944,
    "num_attention_heads": 28, "num_key_value_heads": 4, "max_position_embeddings": 4096, "tie_word_embeddings": false})");
  json["num_hidden_layers"] = layers;
  return parse_model_config(json, "grouped_bench");
}

// Tenants on one base, each with an adapter, an optimizer and a document of its own.
class Tenants {
 public:
  Tenants(Decoder& model, int64_t tenants, int64_t rows) : model_(model) {
    open_slots(model, tenants);
    for (int64_t t = 0; t < tenants; ++t) {
      LoraConfig lora;
      lora.seed = t;
      attach_to_slot(model, t, lora);
      parameters_.push_back(slot_parameters(model, t));
      optimizers_.push_back(std::make_unique<Optimizer>(parameters_.back(), OptimizerConfig{}));
      std::vector<int64_t> ids;
      for (int64_t i = 0; i < rows; ++i) ids.push_back((t * 131 + i * 7919) % model.config.vocab_size);
      batches_.push_back(make_batch({ids}));
    }
  }

  // A step of tenants [begin, end) in one pass.
  void step(size_t begin, size_t end) {
    std::vector<const Batch*> chosen;
    std::vector<GroupSegment> segments;
    int64_t row = 0;
    for (size_t t = 0; t < batches_.size(); ++t) {
      const bool in = t >= begin && t < end;
      const int64_t size = in ? batches_[t].size() : 0;
      set_slot_rows(model_, static_cast<int64_t>(t), in ? row : 0, in ? row + size : 0);
      if (!in) continue;
      chosen.push_back(&batches_[t]);
      segments.push_back({row, row + size, &batches_[t], 1 / batches_[t].total_weight()});
      row += size;
    }
    const Batch pass = chosen.size() == 1 ? *chosen.front() : join_batches(chosen);
    Saved saved;
    const at::Tensor hidden = forward(model_, pass, &saved);
    const auto results = next_token_losses(model_, pass, segments, hidden);
    at::Tensor d_hidden = at::empty_like(hidden);
    for (size_t i = 0; i < segments.size(); ++i)
      d_hidden.slice(0, segments[i].begin, segments[i].end).copy_(results[i].loss.d_hidden);
    backward(model_, pass, saved, d_hidden);
    for (size_t t = begin; t < end; ++t) {
      optimizers_[t]->step(1e-4);
      clear_gradients(parameters_[t]);
    }
  }
  size_t count() const { return batches_.size(); }

 private:
  Decoder& model_;
  std::vector<std::vector<Parameter*>> parameters_;
  std::vector<std::unique_ptr<Optimizer>> optimizers_;
  std::vector<Batch> batches_;
};

int run(int count, char** arguments) {
  check(count >= 5,
        "usage: grouped_bench TENANTS ROWS ROUNDS THREADS [LAYERS] or memory TENANTS ROWS LAYERS");
  const bool memory = std::string(arguments[1]) == "memory";
  const auto argument = [&](int i, int64_t otherwise) {
    return i < count ? std::atoll(arguments[i]) : otherwise;
  };
  use_tensor_arena();
  at::set_num_threads(memory ? 1 : static_cast<int>(argument(4, 1)));
  Decoder model = random_decoder(seven_b(memory ? argument(4, 2) : argument(5, 2)), Dtype::kBf16, 1);
  Json out;
  if (memory) {
    out["base_mib"] = status_mib("VmHWM");
    Tenants tenants(model, argument(2, 8), argument(3, 64));
    for (int i = 0; i < 2; ++i) tenants.step(0, tenants.count());
    out["peak_mib"] = status_mib("VmHWM");
  } else {
    Tenants tenants(model, argument(1, 8), argument(2, 64));
    std::vector<double> together, after, ratios;
    for (int64_t round = 0; round <= argument(3, 5); ++round) {
      const double t = seconds_of([&] { tenants.step(0, tenants.count()); });
      const double a = seconds_of([&] {
        for (size_t i = 0; i < tenants.count(); ++i) tenants.step(i, i + 1);
      });
      if (round == 0) continue;  // buffers and the optimizers' moments are made
      together.push_back(t);
      after.push_back(a);
      ratios.push_back(a / t);
    }
    out["together_seconds"] = median(together);
    out["one_after_another_seconds"] = median(after);
    out["ratio"] = median(ratios);
    out["ratio_least"] = *std::min_element(ratios.begin(), ratios.end());
    out["ratio_most"] = *std::max_element(ratios.begin(), ratios.end());
  }
  std::printf("%s\n", out.dump().c_str());
  return 0;
}

}  // namespace
}  // namespace decant

int main(int count, char** arguments) { return decant::test::guarded_main(decant::run, count, arguments); }
