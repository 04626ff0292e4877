// Whole models on rows of odd shapes: one token, documents of one token, a document a row, 4,097 tokens. Loss
// and gradients of the fast kernels against the same model in float64, and those against differences.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "core/kernels/head_cross_entropy.h"
#include "core/model/layer_walk.h"
#include "core/model/load_model.h"
#include "core/random.h"

namespace decant {
namespace {

using Documents = std::vector<std::vector<int64_t>>;

Documents documents(const std::vector<int64_t>& lengths) {
  Documents all;
  for (size_t d = 0; d < lengths.size(); ++d)
    for (int64_t t = 0; t < lengths[d]; ++t) {
      if (t == 0) all.emplace_back();
      all.back().push_back(
          static_cast<int64_t>(64 * uniform(3, purpose_stream(Purpose::kTest, d), static_cast<uint64_t>(t))));
    }
  return all;
}

Decoder model_of(const char* family, bool tied, Dtype dtype, const char* changes = "{}") {
  auto json = Json::parse(R"({"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
    "max_position_embeddings": 8192, "rope_theta": 10000.0})");
  json.update(Json::parse(changes));
  json["model_type"] = family;
  json["tie_word_embeddings"] = tied;
  if (std::string(family) == "mistral") json["sliding_window"] = 5;
  Decoder model = random_decoder(parse_model_config(json, "tiny"), dtype, 3, 0.2);
  make_trainable(model);
  return model;
}

// The same weights in float64.
Decoder in_float64(const Decoder& source) {
  Decoder model = source;
  const auto widen = [](Parameter& one) {
    if (one.defined()) one.value = one.value.to(at::kDouble);
  };
  for (auto* one : {&model.embed_tokens, &model.norm, &model.lm_head}) widen(*one);
  for (auto& layer : model.layers)
    walk_layer(
        layer,
        [&](Projection& projection) {
          for (auto& one : projection.linears) {
            widen(one.weight);
            widen(one.bias);
          }
          projection = make_projection(projection.linears);
        },
        widen);
  make_trainable(model);
  return model;
}

// Mean cross-entropy of what follows in the documents and, for tokens that nothing follows, a sum of the
// hidden state: so that a row of one token has a gradient, too.
double step(Decoder& model, const Batch& batch, bool gradients) {
  Saved saved;
  const auto hidden = forward(model, batch, gradients ? &saved : nullptr);
  const Targets next = next_token_targets(batch);
  const double scale = 1.0 / static_cast<double>(batch.size());
  auto loss = head_cross_entropy(hidden, model.head(), next.targets, next.weights, scale, gradients);
  const auto direction = (at::sin(at::arange(hidden.numel(), at::kDouble)) * scale)
                             .view(hidden.sizes())
                             .to(hidden.scalar_type());
  if (gradients) {
    backward(model, batch, saved, loss.d_hidden + direction);
  }
  return loss.sum * scale + (hidden.to(at::kDouble) * direction.to(at::kDouble)).sum().item<double>();
}

struct Case {
  const char* family;
  bool tied;
};

class OddSizes : public testing::TestWithParam<Case> {};

void expect_those_of_float64(Decoder fast, const std::vector<int64_t>& lengths, double tolerance) {
  const Batch batch = make_batch(documents(lengths));
  Decoder exact = in_float64(fast);
  const double got = step(fast, batch, true), want = step(exact, batch, true);
  EXPECT_NEAR(got, want, tolerance * std::abs(want) + tolerance) << lengths.size() << " of " << lengths[0];
  double error = 0, size = 0;
  for (size_t i = 0; i < fast.parameters().size(); ++i) {
    const auto a = fast.parameters()[i]->grad.to(at::kDouble), b = exact.parameters()[i]->grad;
    error += (a - b).square().sum().item<double>();
    size += b.square().sum().item<double>();
  }
  EXPECT_LT(std::sqrt(error / size), tolerance) << lengths.size() << " of " << lengths[0];
}

double tolerance(Dtype dtype) { return dtype == Dtype::kFp32 ? 1e-5 : 3e-2; }

TEST_P(OddSizes, FastGradientsAreThoseOfFloat64) {
  const auto [family, tied] = GetParam();
  for (const auto& lengths : std::vector<std::vector<int64_t>>{
           {1}, {2}, {1, 1, 1, 1}, {7, 1, 5, 1}, std::vector<int64_t>(300, 1), {255, 1, 1}})
    for (const auto dtype : {Dtype::kFp32, Dtype::kBf16})
      expect_those_of_float64(model_of(family, tied, dtype), lengths, tolerance(dtype));
}

// One head of one layer: the plain form holds its scores, 134 MB in float64.
TEST(LongRow, ALongDocumentOfOddLength) {
  for (const auto dtype : {Dtype::kFp32, Dtype::kBf16})
    expect_those_of_float64(
        model_of("llama", true, dtype,
                 R"({"num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1})"),
        {4097}, tolerance(dtype));
}

TEST_P(OddSizes, GradientsAreTheLossDifferencesInFloat64) {
  const auto [family, tied] = GetParam();
  for (const auto& lengths : std::vector<std::vector<int64_t>>{{1}, {1, 1, 1}, {9, 1, 4}}) {
    const Batch batch = make_batch(documents(lengths));
    Decoder model = in_float64(model_of(family, tied, Dtype::kFp32));
    step(model, batch, true);
    size_t seen = 0;
    for (auto* parameter : model.parameters()) {
      auto direction =
          at::cos(at::arange(parameter->value.numel(), at::kDouble) * 1.3).view(parameter->value.sizes());
      direction = direction / direction.norm();
      constexpr double kStep = 1e-6;
      parameter->value.add_(direction, kStep);
      const double above = step(model, batch, false);
      parameter->value.add_(direction, -2 * kStep);
      const double below = step(model, batch, false);
      parameter->value.add_(direction, kStep);
      EXPECT_NEAR((parameter->grad * direction).sum().item<double>(), (above - below) / (2 * kStep),
                  1e-6 * parameter->grad.norm().item<double>() + 2e-8)
          << family << " " << parameter->name;
      ++seen;
    }
    EXPECT_GE(seen, 20U);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, OddSizes,
                         testing::Values(Case{"llama", true}, Case{"llama", false}, Case{"qwen2", true},
                                         Case{"qwen3", false}, Case{"mistral", false}),
                         [](const auto& info) {
                           return std::string(info.param.family) + (info.param.tied ? "_tied" : "");
                         });

}  // namespace
}  // namespace decant
