#include "core/model/decoder.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "core/file.h"
#include "core/model/load_model.h"
#include "core/model/score.h"
#include "core/tensor_file.h"
#include "tests/support/expect_error.h"
#include "tests/support/panels.h"
#include "tests/support/shared.h"

namespace decant {
namespace {

ModelConfig tiny(const char* family, bool tied) {
  auto json = Json::parse(R"({"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48,
    "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
    "max_position_embeddings": 64})");
  json["model_type"] = family;
  json["tie_word_embeddings"] = tied;
  return parse_model_config(json, "tiny");
}

Batch two_documents() { return make_batch({{1, 2, 3, 4, 5, 6, 7}, {9, 8, 7, 6, 5}}); }

at::Tensor some_gradient(const at::Tensor& hidden) {
  return at::sin(at::arange(hidden.numel(), at::kFloat)).reshape(hidden.sizes()).to(hidden.scalar_type());
}

TEST(Decoder, CheckpointingGivesTheSameBits) {
  for (const char* family : {"llama", "qwen2", "qwen3", "mistral"}) {
    for (const auto dtype : {Dtype::kFp32, Dtype::kBf16}) {
      auto model = random_decoder(tiny(family, true), dtype, 3, 0.2);
      make_trainable(model);
      std::vector<std::vector<at::Tensor>> grads;
      for (const bool checkpoint : {false, true}) {
        clear_gradients(model.parameters());
        Saved saved;
        saved.checkpoint = checkpoint;
        const auto hidden = forward(model, two_documents(), &saved);
        backward(model, two_documents(), saved, some_gradient(hidden));
        grads.emplace_back();
        for (const auto* parameter : model.parameters()) grads.back().push_back(parameter->grad.clone());
      }
      for (size_t i = 0; i < grads[0].size(); ++i)
        EXPECT_TRUE(at::equal(grads[0][i], grads[1][i])) << family << " " << model.parameters()[i]->name;
    }
  }
}

TEST(Decoder, GradientStopsBelowTheLowestThatTrains) {
  auto model = random_decoder(tiny("llama", false), Dtype::kFp32, 3, 0.2);
  auto& weight = model.layers[1].gate_up.linears[0].weight;
  weight.trainable = true;
  weight.grad = at::zeros(weight.value.sizes());
  Saved saved;
  const auto hidden = forward(model, two_documents(), &saved);
  EXPECT_FALSE(saved.layers[0].input.defined());  // nothing is kept of what is never gone back through
  backward(model, two_documents(), saved, some_gradient(hidden));
  auto whole = random_decoder(tiny("llama", false), Dtype::kFp32, 3, 0.2);
  make_trainable(whole);
  Saved all;
  forward(whole, two_documents(), &all);
  backward(whole, two_documents(), all, some_gradient(hidden));
  EXPECT_TRUE(at::equal(weight.grad, whole.layers[1].gate_up.linears[0].weight.grad));
  freeze(whole);
  for (const auto* parameter : whole.parameters())
    EXPECT_FALSE(parameter->trainable || parameter->grad.defined());
}

TEST(Decoder, WrongRowsAreErrors) {
  const auto model = random_decoder(tiny("llama", false), Dtype::kFp32, 3);
  EXPECT_ERROR(forward(model, make_batch({{1, 64}})), "token id 64 is outside the model's vocabulary of 64");
  EXPECT_ERROR(forward(model, make_batch({{-3, 1}})), "token id -3 is outside");
  EXPECT_ERROR(forward(model, make_batch({std::vector<int64_t>(65, 1)})), "'max_position_embeddings' (64)");
  EXPECT_ERROR(make_batch({{1}, {}}), "document 1 is empty");
  EXPECT_ERROR(score(model, {{1, 64}}), "outside the model's vocabulary");
}

TEST(Decoder, PackedDocumentsEqualSeparateOnesBitForBit) {
  DECANT_NEEDS_PANELS();
  const std::vector<std::vector<int64_t>> documents = {
      {1, 2, 3, 4, 5, 6, 7}, {9, 8, 7, 6, 5}, {11}, {12, 13}};
  for (const auto dtype : {Dtype::kFp32, Dtype::kBf16}) {
    const auto model = random_decoder(tiny("qwen3", true), dtype, 3, 0.2);
    const auto packed = score(model, documents), alone = score(model, documents, 1);
    EXPECT_EQ(packed, alone);
    EXPECT_EQ(packed[2].size(), 0u);
  }
}

TEST(LoadModel, WrongTensorsAreErrors) {
  const auto folder = test::scratch_folder();
  const auto model = random_decoder(tiny("llama", true), Dtype::kFp32, 3);
  save_model(model, folder, Dtype::kFp32);
  NamedTensors tensors;
  for (const auto* one : model.parameters()) tensors.emplace_back(one->name, one->value.clone());
  const auto load_with = [&](const std::function<void(NamedTensors&)>& change) {
    auto changed = tensors;
    change(changed);
    write_tensors(folder / "model.safetensors", changed);
    return load_model(folder, Dtype::kFp32);
  };
  EXPECT_ERROR(
      load_with([](NamedTensors& t) { t[1].first = "model.layers.7.extra.weight"; }),
      "missing 1: model.layers.0.self_attn.q_proj.weight; unexpected 1: model.layers.7.extra.weight");
  EXPECT_ERROR(load_with([](NamedTensors& t) {
                 t[3].second = t[3].second.clone();
                 t[3].second.view(-1)[5] = std::nan("");
               }),
               "model.layers.0.self_attn.v_proj.weight: holds values that are not finite");
  EXPECT_ERROR(load_with([](NamedTensors& t) {
                 t[0].second = at::zeros({63, 32});
               }),
               "expected shape [64, 32] by the config, found [63, 32] ('vocab_size'");
  EXPECT_ERROR(load_with([](NamedTensors& t) {
                 t.emplace_back("lm_head.weight", at::zeros({64, 32}));
               }),
               "lm_head.weight: config.json says that it is tied");
  load_with([](NamedTensors& t) {
    t.emplace_back("lm_head.weight", t[0].second.clone());
    t.emplace_back("model.layers.0.self_attn.rotary_emb.inv_freq", at::zeros({8}));
  });
}

TEST(KeepLayers, TakesTheGivenOnesAndRenumbers) {
  const auto teacher = random_decoder(tiny("qwen2", true), Dtype::kFp32, 3);
  const auto student = keep_layers(teacher, {0, 2});
  ASSERT_EQ(student.layers.size(), 2u);
  EXPECT_EQ(student.layers[1].o.linears[0].weight.name, "model.layers.1.self_attn.o_proj.weight");
  EXPECT_TRUE(at::equal(student.layers[1].o.weight, teacher.layers[2].o.weight));
  EXPECT_FALSE(student.layers[1].o.weight.is_same(teacher.layers[2].o.weight));
  EXPECT_ERROR(keep_layers(teacher, {0, 3}), "layer 3 is not one of the model's 0..2");
  EXPECT_ERROR(keep_layers(teacher, {1, 0}), "layers must rise");
  const auto folder = test::scratch_folder();
  save_model(student, folder, Dtype::kFp32);
  EXPECT_EQ(load_model(folder, Dtype::kFp32).layers.size(), 2u);
}

}  // namespace
}  // namespace decant
