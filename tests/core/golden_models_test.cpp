// The numbers of transformers on its small models (conformance/golden/README-models.md) and of llama2.c on
// stories260K.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "core/file.h"
#include "core/json.h"
#include "core/kernels/head_cross_entropy.h"
#include "core/model/generate.h"
#include "core/model/load_model.h"
#include "core/model/score.h"
#include "core/tensor_file.h"
#include "tests/support/expect_error.h"
#include "tests/support/shared.h"

namespace decant {
namespace {

using test::scratch_folder;
using test::shared_folder;

// Greatest of |a - b| - relative |b|.
double excess(const at::Tensor& a, const at::Tensor& b, double relative) {
  EXPECT_EQ(a.numel(), b.numel());
  return ((a.reshape(-1) - b.reshape(-1)).abs() - relative * b.reshape(-1).abs()).max().item<double>();
}

std::vector<int64_t> row(const at::Tensor& ids, int64_t n) {
  const auto one = ids[n].contiguous();
  return {one.data_ptr<int64_t>(), one.data_ptr<int64_t>() + one.numel()};
}

class GoldenModel : public ::testing::TestWithParam<const char*> {};

TEST_P(GoldenModel, AgreesWithTransformers) {
  const std::string name = GetParam();
  const auto folder = shared_folder() / "conformance/golden/models";
  DECANT_NEEDS_SHARED("conformance/golden/models/" + name);
  const std::string answers = name == "llama3_sharded" ? "llama3" : name;
  const TensorFile reference(folder / answers / "reference.safetensors");
  const auto model = load_model(folder / name, Dtype::kFp32);
  const auto ids = reference.load("input_ids");

  std::vector<at::Tensor> layers;
  const auto batch = make_batch({row(ids, 0), row(ids, 1)});
  const auto hidden =
      forward(model, batch, nullptr, [&](int64_t, const at::Tensor& x) { layers.push_back(x.clone()); });
  for (size_t i = 0; i < layers.size(); ++i)
    EXPECT_LE(excess(layers[i], reference.load(concat("hidden.layer", i)), 1e-5), 5e-5) << "layer " << i;
  EXPECT_EQ(layers.size(), name == "deepseek_v3" ? 3u : 2u);
  EXPECT_LE(excess(hidden, reference.load("hidden.final_norm"), 1e-5), 5e-5);
  EXPECT_LE(excess(head_logits(hidden, model.head().value, false, model.config.logit_cap),
                   reference.load("logits"), 1e-5),
            5e-5);

  const auto scores = score(model, {row(ids, 0), row(ids, 1)});
  const auto expected = reference.load("token_logprobs");
  for (int64_t n = 0; n < 2; ++n)
    for (int64_t t = 0; t < 23; ++t)
      EXPECT_NEAR(scores[static_cast<size_t>(n)][static_cast<size_t>(t)], expected[n][t].item<float>(), 2e-5);

  // The loss over labels, by weights.
  const auto labels = reference.load("labels");
  auto weighted = batch;
  weighted.loss_weight = labels.reshape(-1).ne(-100).to(at::kFloat);
  weighted.loss_weight[0] = 0;
  weighted.loss_weight[24] = 0;
  const auto loss = evaluate_loss(model, weighted);
  EXPECT_NEAR(loss.sum / loss.weight, reference.load("loss").item<float>(), 2e-5);

  const auto packed_ids = row(reference.load("packed.input_ids"), 0);
  const auto cut = packed_ids.begin() + 10;
  const auto packed = make_batch({{packed_ids.begin(), cut}, {cut, packed_ids.end()}});
  EXPECT_LE(excess(head_logits(forward(model, packed), model.head().value, false, model.config.logit_cap),
                   reference.load("packed.logits"), 1e-5),
            5e-5);
  const auto packed_loss = evaluate_loss(model, packed);
  EXPECT_NEAR(packed_loss.sum / packed_loss.weight, reference.load("packed.loss_masked").item<float>(), 2e-5);

  const auto prompts = reference.load("gen.prompt_ids"), sequences = reference.load("gen.sequences");
  SamplingConfig greedy;
  greedy.max_new_tokens = 16;
  const auto answers_now = generate(model, {{row(prompts, 0), 0}, {row(prompts, 1), 1}}, greedy, {});
  for (int64_t n = 0; n < 2; ++n) {
    auto whole = row(prompts, n);
    const auto& result = answers_now[static_cast<size_t>(n)];
    whole.insert(whole.end(), result.tokens.begin(), result.tokens.end());
    EXPECT_EQ(whole, row(sequences, n));
    EXPECT_EQ(result.reason, StopReason::kLength);
    // The cache gives what the flat row gives.
    const auto flat = score(model, {whole})[0];
    for (size_t i = 0; i < 16; ++i) EXPECT_NEAR(result.log_probabilities[i], flat[7 + i], 2e-5);
  }
}

TEST_P(GoldenModel, LegacyConfigSavedAndLoadedAgainGivesTheSameBits) {
  const std::string name = GetParam();
  if (name == "llama3_sharded") GTEST_SKIP() << "has no legacy config";
  DECANT_NEEDS_SHARED("conformance/golden/models/" + name);
  const auto folder = shared_folder() / "conformance/golden/models" / name;
  const auto scratch = scratch_folder();
  write_file(scratch / "config.json", read_file(folder / "config_v4.json"));
  write_file(scratch / "model.safetensors", read_file(folder / "model.safetensors"));
  const auto modern = load_model(folder, Dtype::kFp32), legacy = load_model(scratch, Dtype::kFp32);
  const auto batch = make_batch({row(TensorFile(folder / "reference.safetensors").load("input_ids"), 0)});
  const auto expected = forward(modern, batch);
  EXPECT_TRUE(at::equal(expected, forward(legacy, batch)));

  save_model(legacy, scratch / "once", Dtype::kFp32);
  const auto once = load_model(scratch / "once", Dtype::kFp32);
  EXPECT_TRUE(at::equal(expected, forward(once, batch)));
  save_model(once, scratch / "twice", Dtype::kFp32);
  for (const char* file : {"model.safetensors", "config.json"})
    EXPECT_EQ(read_file(scratch / "once" / file), read_file(scratch / "twice" / file)) << file;

  // In shards and back; the folder then holds one model only.
  save_model(once, scratch / "once", Dtype::kFp32, 100'000);
  EXPECT_FALSE(std::filesystem::exists(scratch / "once/model.safetensors"));
  EXPECT_TRUE(at::equal(expected, forward(load_model(scratch / "once", Dtype::kFp32), batch)));
}

INSTANTIATE_TEST_SUITE_P(Families, GoldenModel,
                         ::testing::Values("llama3", "llama3_sharded", "llama_tied", "qwen2", "qwen2_tied",
                                           "qwen3", "mistral", "deepseek_v3", "gemma2", "phi3"),
                         [](const auto& info) { return std::string(info.param); });

class GoldenGradients : public ::testing::TestWithParam<const char*> {};

TEST_P(GoldenGradients, AgreeWithTransformers) {
  const std::string name = GetParam();
  DECANT_NEEDS_SHARED("conformance/golden/train/" + name);
  const auto golden = shared_folder() / "conformance/golden";
  const TensorFile data(golden / "train" / name / "data.safetensors"),
      grads(golden / "train" / name / "grads.safetensors");
  auto model = load_model(golden / "models" / name, Dtype::kFp32);
  make_trainable(model);
  const auto ids = data.load("input_ids"), labels = data.load("labels").slice(0, 0, 2).ne(-100);
  auto batch = make_batch({row(ids, 0), row(ids, 1)});
  batch.loss_weight = labels.reshape(-1).to(at::kFloat);
  batch.loss_weight[0] = 0;
  batch.loss_weight[24] = 0;

  for (const bool checkpoint : {false, true}) {
    clear_gradients(model.parameters());
    Saved saved;
    saved.checkpoint = checkpoint;
    const auto hidden = forward(model, batch, &saved);
    const auto next = next_token_targets(batch);
    const auto loss =
        head_cross_entropy(hidden, model.head(), next.targets, next.weights, 1 / batch.total_weight(), true);
    EXPECT_NEAR(loss.sum / loss.weight, grads.load("loss").item<float>(), 2e-5);
    backward(model, batch, saved, loss.d_hidden);
    size_t seen = 0;
    for (const auto* parameter : model.parameters()) {
      const auto expected = grads.load("grad." + parameter->name);
      const double error = ((parameter->grad - expected).norm() / expected.norm()).item<double>();
      EXPECT_LE(error, 1e-4) << parameter->name;
      ++seen;
    }
    EXPECT_EQ(seen + 1, grads.names().size());
  }
}

INSTANTIATE_TEST_SUITE_P(Models, GoldenGradients, ::testing::Values("llama_tied", "qwen2"),
                         [](const auto& info) { return std::string(info.param); });

TEST(GoldenModels, Stories260KReproducesItsReference) {
  DECANT_NEEDS_SHARED("conformance/models-stories260K");
  const auto folder = shared_folder() / "conformance/models-stories260K";
  const auto model = load_model(folder / "hf", Dtype::kFp32);
  const auto reference = read_json(folder / "reference.json");
  size_t seen = 0;
  for (const auto& one : reference) {
    const auto prompt = one.at("tokens").get<std::vector<int64_t>>();
    const auto scores = score(model, {prompt})[0];
    double sum = 0;
    for (const float value : scores) sum -= value;
    EXPECT_NEAR(sum, one.at("sum_nll_nats").get<double>(), 1e-3);
    const auto logits = head_logits(forward(model, make_batch({prompt})), model.head().value, false,
                                    model.config.logit_cap)[-1]
                            .contiguous();
    const auto last = one.at("last_logits").get<std::vector<float>>();
    ASSERT_EQ(logits.numel(), static_cast<int64_t>(last.size()));
    for (size_t i = 0; i < last.size(); ++i) EXPECT_NEAR(logits.data_ptr<float>()[i], last[i], 1e-3);
    SamplingConfig greedy;
    const auto expected = one.at("greedy_next_48").get<std::vector<int64_t>>();
    greedy.max_new_tokens = static_cast<int64_t>(expected.size());
    EXPECT_EQ(generate(model, {{prompt, 0}}, greedy, {})[0].tokens, expected);
    ++seen;
  }
  EXPECT_EQ(seen, 5u);
}

}  // namespace
}  // namespace decant
