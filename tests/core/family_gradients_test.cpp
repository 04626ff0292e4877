// Gradients of the families whose blocks are not llama's: against differences of the loss in float64 for
// every weight and adapter factor, and against transformers' own (make_family_gradients.py).
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "core/json.h"
#include "core/kernels/head_cross_entropy.h"
#include "core/model/layer_walk.h"
#include "core/model/load_model.h"
#include "core/tensor_file.h"
#include "tests/support/family_configs.h"
#include "tests/support/shared.h"

namespace decant {
namespace {

using test::shared_folder;

Batch two_documents() { return make_batch({{1, 2, 3, 4, 5, 6, 7, 3}, {9, 8, 7, 6, 5}}); }

at::Tensor pattern(at::IntArrayRef sizes, double step) {
  int64_t count = 1;
  for (const auto size : sizes) count *= size;
  return at::sin(at::arange(count, at::kDouble) * step + 0.3).reshape(sizes);
}

// The same weights in float64, each with a gradient of its own, the norms and counters off their start
// values.
Decoder in_float64(const Decoder& source) {
  Decoder model = source;
  const auto widen = [](Parameter& parameter) {
    parameter.value = parameter.value.to(at::kDouble);
    if (parameter.value.dim() == 1)
      parameter.value = parameter.value + 0.2 * pattern(parameter.value.sizes(), 1);
  };
  for (auto* parameter : {&model.embed_tokens, &model.norm, &model.lm_head})
    if (parameter->defined()) widen(*parameter);
  for (auto& layer : model.layers)
    walk_layer(
        layer,
        [&](Projection& projection) {
          for (auto& one : projection.linears) {
            widen(one.weight);
            if (one.bias.defined()) widen(one.bias);
          }
          projection = make_projection(projection.linears);
        },
        widen);
  return model;
}

void add_adapters(Decoder& model) {
  double step = 0.37;
  for (auto* linear : model.linears()) {
    LowRankTerm term;
    const auto factor = [&](const char* name, int64_t rows, int64_t columns) {
      const auto value = 0.3 * pattern({rows, columns}, step += 0.01);
      return Parameter{linear->name + name, value, at::zeros_like(value), true};
    };
    term.lora_a = factor(".lora_A.weight", 3, linear->weight.value.size(1));
    term.lora_b = factor(".lora_B.weight", linear->weight.value.size(0), 3);
    term.scale = 0.5;
    linear->terms.push_back(std::move(term));
  }
}

class FamilyGradients : public ::testing::TestWithParam<test::NamedConfig> {};

TEST_P(FamilyGradients, AreTheLossDifferencesInFloat64) {
  const auto config = parse_model_config(GetParam().config, GetParam().name);
  auto model = in_float64(random_decoder(config, Dtype::kFp32, 11, 0.3));
  add_adapters(model);
  make_trainable(model);
  const auto batch = two_documents();
  const auto direction = pattern({batch.size(), config.hidden_size}, 0.7);
  const auto loss = [&] { return (forward(model, batch) * direction).sum().item<double>(); };
  Saved saved;
  forward(model, batch, &saved);
  backward(model, batch, saved, direction);

  auto all = trainable_parameters(model);
  for (auto* factor : model.adapter_parameters()) all.push_back(factor);
  size_t with_gradient = 0;
  for (auto* parameter : all) {
    if (parameter->name == "lm_head.weight") continue;
    ASSERT_TRUE(parameter->grad.defined()) << parameter->name;
    auto step = pattern(parameter->value.sizes(), 1.3);
    step = step / step.norm();
    constexpr double kStep = 1e-6;
    parameter->value.add_(step, kStep);
    const double above = loss();
    parameter->value.add_(step, -2 * kStep);
    const double below = loss();
    parameter->value.add_(step, kStep);
    const double numeric = (above - below) / (2 * kStep),
                 written = (parameter->grad * step).sum().item<double>();
    const double size = parameter->grad.norm().item<double>();
    EXPECT_NEAR(written, numeric, 1e-6 * size + 2e-8) << parameter->name;
    with_gradient += size > 0;
  }
  EXPECT_GT(with_gradient, all.size() * 2 / 3);  // an expert that nobody chose has none
}

INSTANTIATE_TEST_SUITE_P(Configs, FamilyGradients, ::testing::ValuesIn(test::family_configs()),
                         [](const auto& info) { return info.param.name; });

class GoldenFamilyGradients : public ::testing::TestWithParam<const char*> {};

TEST_P(GoldenFamilyGradients, AgreeWithTransformers) {
  const std::string name = GetParam();
  DECANT_NEEDS_SHARED("conformance/golden/models/" + name);
  const auto golden = read_json("tests/golden/family_gradients.json").at(name);
  auto model = load_model(shared_folder() / "conformance/golden/models" / name, Dtype::kFp32);
  make_trainable(model);
  const auto ids = golden.at("input_ids").get<std::vector<std::vector<int64_t>>>();
  const auto batch = make_batch(ids);
  for (const bool checkpoint : {false, true}) {
    clear_gradients(model.parameters());
    Saved saved;
    saved.checkpoint = checkpoint;
    const auto hidden = forward(model, batch, &saved);
    const auto next = next_token_targets(batch);
    const auto loss = head_cross_entropy(hidden, model.head(), next.targets, next.weights,
                                         1 / batch.total_weight(), true, model.config.logit_cap);
    EXPECT_NEAR(loss.sum / loss.weight, golden.at("loss").get<double>(), 2e-5);
    backward(model, batch, saved, loss.d_hidden);
    const auto& expected = golden.at("gradients");
    size_t seen = 0;
    for (const auto* parameter : trainable_parameters(model)) {
      ASSERT_TRUE(expected.contains(parameter->name)) << parameter->name;
      const auto grad = parameter->grad.to(at::kDouble);
      const auto numbers = expected.at(parameter->name).get<std::vector<double>>();
      const double norm = grad.norm().item<double>();
      EXPECT_NEAR(norm, numbers[0], 1e-4 * numbers[0] + 1e-7) << parameter->name;
      EXPECT_NEAR((grad * pattern(grad.sizes(), 1)).sum().item<double>(), numbers[1],
                  1e-4 * numbers[0] + 1e-7)
          << parameter->name;
      ++seen;
    }
    EXPECT_EQ(seen, expected.size());
  }
}

INSTANTIATE_TEST_SUITE_P(Models, GoldenFamilyGradients, ::testing::Values("deepseek_v3", "gemma2", "phi3"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace decant
