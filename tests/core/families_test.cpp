// Laws of the families whose blocks are not llama's: configs, checkpoints (fp8 too), and bits that do not
// depend on the company.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <functional>

#include "core/file.h"
#include "core/model/generate.h"
#include "core/model/load_model.h"
#include "core/model/score.h"
#include "core/tensor_file.h"
#include "tests/support/expect_error.h"
#include "tests/support/family_configs.h"
#include "tests/support/panels.h"
#include "tests/support/shared.h"

namespace decant {
namespace {

using test::scratch_folder;

Decoder random_of(const Json& config, Dtype dtype) {
  return random_decoder(parse_model_config(config, "tiny"), dtype, 5, 0.3);
}

class Family : public ::testing::TestWithParam<test::NamedConfig> {};

TEST_P(Family, PackedDocumentsEqualSeparateOnesBitForBit) {
  DECANT_NEEDS_PANELS();
  const std::vector<std::vector<int64_t>> documents = {
      {1, 2, 3, 4, 5, 6, 7, 8, 3, 2, 1, 9}, {9, 8, 7, 6, 5}, {11}, {12, 13}};
  for (const auto dtype : {Dtype::kFp32, Dtype::kBf16}) {
    const auto model = random_of(GetParam().config, dtype);
    EXPECT_EQ(score(model, documents), score(model, documents, 1));
  }
}

TEST_P(Family, CheckpointingGivesTheSameBits) {
  const auto batch = make_batch({{1, 2, 3, 4, 5, 6, 7}, {9, 8, 7, 6, 5}});
  for (const auto dtype : {Dtype::kFp32, Dtype::kBf16}) {
    auto model = random_of(GetParam().config, dtype);
    make_trainable(model);
    std::vector<std::vector<at::Tensor>> grads;
    for (const bool checkpoint : {false, true}) {
      clear_gradients(model.parameters());
      Saved saved;
      saved.checkpoint = checkpoint;
      const auto hidden = forward(model, batch, &saved);
      backward(model, batch, saved, at::sin(hidden.to(at::kFloat) * 3).to(hidden.scalar_type()));
      grads.emplace_back();
      for (const auto* one : trainable_parameters(model)) grads.back().push_back(one->grad.clone());
    }
    for (size_t i = 0; i < grads[0].size(); ++i)
      EXPECT_TRUE(at::equal(grads[0][i], grads[1][i])) << trainable_parameters(model)[i]->name;
  }
}

TEST_P(Family, AnAnswerDoesNotDependOnItsBatchAndIsWhatTheFlatRowGives) {
  DECANT_NEEDS_PANELS();
  const auto model = random_of(GetParam().config, Dtype::kFp32);
  SamplingConfig greedy;
  greedy.max_new_tokens = 8;
  const std::vector<GenerationRequest> requests = {
      {{1, 2, 3}, 0}, {{9, 8, 7, 6, 5, 4, 3, 2, 1}, 1}, {{33}, 2}};
  const auto alone = generate(model, requests, greedy, {}, 1),
             together = generate(model, requests, greedy, {}, 3);
  for (size_t n = 0; n < requests.size(); ++n) {
    EXPECT_EQ(alone[n].tokens, together[n].tokens);
    EXPECT_EQ(alone[n].log_probabilities, together[n].log_probabilities);
    auto whole = requests[n].prompt;
    whole.insert(whole.end(), alone[n].tokens.begin(), alone[n].tokens.end());
    const auto flat = score(model, {whole})[0];
    for (size_t i = 0; i < alone[n].tokens.size(); ++i)
      EXPECT_NEAR(alone[n].log_probabilities[i], flat[requests[n].prompt.size() - 1 + i], 5e-5);
  }
}

TEST_P(Family, ConfigAndWeightsComeBackFromDisk) {
  const auto model = random_of(GetParam().config, Dtype::kFp32);
  int64_t elements = 0;
  for (const auto* one : model.parameters()) elements += one->value.numel();
  EXPECT_EQ(elements, model.config.parameters());
  const auto folder = scratch_folder();
  save_model(model, folder, Dtype::kFp32);
  const auto again = load_model(folder, Dtype::kFp32);
  EXPECT_EQ(again.config.latent, model.config.latent);
  EXPECT_EQ(again.config.experts, model.config.experts);
  EXPECT_EQ(again.config.rope, model.config.rope);
  EXPECT_EQ(again.config.sliding_window, model.config.sliding_window);
  EXPECT_EQ(again.config.attention_cap, model.config.attention_cap);
  EXPECT_EQ(again.config.logit_cap, model.config.logit_cap);
  EXPECT_EQ(again.config.query_scalar, model.config.query_scalar);
  for (size_t i = 0; i < model.parameters().size(); ++i)
    EXPECT_TRUE(at::equal(model.parameters()[i]->value, again.parameters()[i]->value));
  const auto student = keep_layers(model, {1});
  save_model(student, folder, Dtype::kFp32);
  const auto kept = load_model(folder, Dtype::kFp32);
  EXPECT_EQ(kept.layers.size(), 1u);
  EXPECT_EQ(kept.layers[0].experts.has_value(), model.layers[1].experts.has_value());
}

INSTANTIATE_TEST_SUITE_P(Configs, Family, ::testing::ValuesIn(test::family_configs()),
                         [](const auto& info) { return info.param.name; });

TEST(FamilyConfigs, EachWrongKeyIsNamed) {
  const struct {
    const char *family, *changes, *says;
  } cases[] = {
      {"deepseek_v3", R"({"kv_lora_rank": null})", "'kv_lora_rank' is missing"},
      {"deepseek_v3", R"({"q_lora_rank": 0})", "'q_lora_rank' must be from 1"},
      {"deepseek_v3", R"({"qk_rope_head_dim": 3})", "'qk_rope_head_dim' must be even"},
      {"deepseek_v3", R"({"qk_head_dim": 3})",
       "'qk_head_dim' (3) must be qk_nope_head_dim + qk_rope_head_dim"},
      {"deepseek_v3", R"({"num_key_value_heads": 2})",
       "'num_key_value_heads' (2) must be 'num_attention_heads' (4)"},
      {"deepseek_v3", R"({"n_group": 3})", "'n_routed_experts' (8) must be a multiple of 'n_group' (3)"},
      {"deepseek_v3", R"({"n_group": 8})", "a group is chosen by its best two"},
      {"deepseek_v3", R"({"topk_group": 5})", "'topk_group' (5) must not be above 'n_group' (4)"},
      {"deepseek_v3", R"({"num_experts_per_tok": 5})",
       "'num_experts_per_tok' (5) is more than the 4 experts of 2"},
      {"deepseek_v3", R"({"scoring_func": "softmax"})", "'scoring_func' is 'softmax'; only sigmoid"},
      {"deepseek_v3", R"({"topk_method": "greedy"})", "'topk_method' is 'greedy'; only noaux_tc"},
      {"deepseek_v3", R"({"moe_layer_freq": 2})", "'moe_layer_freq' is 2; only 1"},
      {"deepseek_v3", R"({"first_k_dense_replace": -1})",
       "'first_k_dense_replace' must be a whole number from 0"},
      {"deepseek_v3", R"({"routed_scaling_factor": 0})", "'routed_scaling_factor' must be a positive number"},
      {"deepseek_v3", R"({"attention_bias": true, "q_lora_rank": null})",
       "'attention_bias': true is not supported"},
      {"deepseek_v3", R"({"quantization_config": {"quant_method": "gptq"}})",
       "'quantization_config': quantized weights ('gptq')"},
      {"deepseek_v3", R"({"quantization_config": {"quant_method": "fp8", "fmt": "e5m2"}})",
       "'quantization_config.fmt' is 'e5m2'"},
      {"deepseek_v3", R"({"quantization_config": {"quant_method": "fp8", "activation_scheme": "static"}})",
       "'quantization_config.activation_scheme' is 'static'"},
      {"deepseek_v3", R"({"quantization_config": {"quant_method": "fp8", "weight_block_size": [128]}})",
       "'quantization_config.weight_block_size' must be two whole numbers"},
      {"gemma2", R"({"hidden_activation": "silu"})", "'hidden_activation' is 'silu'"},
      {"gemma2", R"({"attention_bias": true})", "'attention_bias': true is not supported for gemma2"},
      {"gemma2", R"({"final_logit_softcapping": -1})", "'final_logit_softcapping' must be a positive number"},
      {"gemma2", R"({"use_bidirectional_attention": true})", "'use_bidirectional_attention': true"},
      {"phi3", R"({"partial_rotary_factor": 0.4})",
       "'partial_rotary_factor' (0.4) must leave an even number"},
      {"phi3", R"({"rope_scaling": {"type": "yarn", "factor": 4.0}})",
       "supported for phi3 are default and longrope"},
      {"phi3", R"({"rope_scaling": {"type": "longrope", "long_factor": [1, 1, 1, 1]}})",
       "'rope_scaling.short_factor' is missing"},
      {"phi3", R"({"rope_scaling": {"type": "su", "short_factor": [1, 1], "long_factor": [1, 1, 1, 1]}})",
       "'rope_scaling.short_factor' must be a list of 4 numbers"},
      {"phi3",
       R"({"rope_scaling": {"type": "su", "short_factor": [1, 1, 1, 0], "long_factor": [1, 1, 1, 1]}})",
       "'rope_scaling.short_factor' must hold numbers above 0"},
  };
  for (const auto& one : cases)
    EXPECT_ERROR(parse_model_config(test::changed(test::tiny_family(one.family), one.changes), "x.json"),
                 one.says);
}

TEST(DeepseekCheckpoint, LayersThatPredictFurtherTokensAreLetPassAndCorrectionsStayFp32) {
  const auto folder = scratch_folder();
  auto model = random_of(test::tiny_family("deepseek_v3"), Dtype::kBf16);
  auto& correction = model.layers[1].experts->correction;
  ASSERT_EQ(correction.value.scalar_type(), at::kFloat);
  correction.value.copy_(at::arange(8, at::kFloat) * 0.123456789 + 7);  // bf16 would not hold it
  save_model(model, folder, Dtype::kBf16);
  EXPECT_TRUE(
      at::equal(load_model(folder, Dtype::kBf16).layers[1].experts->correction.value, correction.value));

  NamedTensors tensors;
  for (const auto* one : model.parameters()) tensors.emplace_back(one->name, one->value.clone());
  tensors.emplace_back("model.layers.2.eh_proj.weight", at::zeros({32, 64}));
  write_tensors(folder / "model.safetensors", tensors);
  EXPECT_ERROR(load_model(folder, Dtype::kBf16), "unexpected 1: model.layers.2.eh_proj.weight");
  auto config = read_json(folder / "config.json");
  config["num_nextn_predict_layers"] = 1;
  write_json(folder / "config.json", config);
  load_model(folder, Dtype::kBf16);
  tensors.back().first = "model.layers.3.eh_proj.weight";
  write_tensors(folder / "model.safetensors", tensors);
  EXPECT_ERROR(load_model(folder, Dtype::kBf16), "unexpected 1: model.layers.3.eh_proj.weight");
}

// An fp8 checkpoint of blocks of 8 x 16, and the values that its elements stand for, computed one by one.
TEST(Fp8Checkpoint, EachElementIsTimesTheScaleOfItsBlock) {
  const auto folder = scratch_folder();
  auto json = test::tiny_family("deepseek_v3");
  const auto model = random_of(json, Dtype::kFp32);
  NamedTensors tensors;
  std::map<std::string, at::Tensor> wanted;
  for (const auto* one : model.parameters()) {
    const bool linear = one->name.find("proj") != std::string::npos;
    if (!linear) {
      tensors.emplace_back(one->name, one->value.clone());
      continue;
    }
    const auto fp8 = (one->value * 100).to(at::kFloat8_e4m3fn);
    const auto rows = one->value.size(0), columns = one->value.size(1);
    const auto scale = at::rand({(rows + 7) / 8, (columns + 15) / 16}) + 0.01;
    auto value = fp8.to(at::kFloat).clone();
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < columns; ++c) value[r][c] *= scale[r / 8][c / 16];
    wanted[one->name] = value;
    tensors.emplace_back(one->name, fp8);
    tensors.emplace_back(one->name + "_scale_inv", scale);
  }
  json["quantization_config"] = Json::parse(
      R"({"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [8, 16]})");
  const auto write = [&](const NamedTensors& t) {
    write_tensors(folder / "model.safetensors", t);
    write_json(folder / "config.json", json);
    return load_model(folder, Dtype::kFp32);
  };
  const auto loaded = write(tensors);
  size_t seen = 0;
  for (const auto* one : loaded.parameters()) {
    if (wanted.count(one->name) == 0) continue;
    EXPECT_TRUE(at::equal(one->value, wanted.at(one->name))) << one->name;
    ++seen;
  }
  EXPECT_EQ(seen, wanted.size());
  EXPECT_GT(seen, 30u);
  // What is saved is no longer fp8.
  save_model(loaded, folder / "plain", Dtype::kFp32);
  EXPECT_FALSE(read_json(folder / "plain/config.json").contains("quantization_config"));
  EXPECT_TRUE(
      at::equal(load_model(folder / "plain", Dtype::kFp32).layers[0].o.weight, loaded.layers[0].o.weight));

  const auto with = [&](const std::function<void(NamedTensors&)>& change) {
    auto changed = tensors;
    change(changed);
    return write(changed);
  };
  const auto at_of = [](NamedTensors& t, const std::string& name) {
    return std::find_if(t.begin(), t.end(), [&](const auto& one) { return one.first == name; });
  };
  const std::string name = "model.layers.0.self_attn.o_proj.weight";
  EXPECT_ERROR(with([&](NamedTensors& t) { t.erase(at_of(t, name + "_scale_inv")); }),
               "'" + name + "_scale_inv' is missing");
  EXPECT_ERROR(with([&](NamedTensors& t) {
                 at_of(t, name + "_scale_inv")->second = at::ones({1, 1});
               }),
               name + "_scale_inv: expected shape [4, 2] for blocks of 8 x 16, found [1, 1]");
  EXPECT_ERROR(with([&](NamedTensors& t) { at_of(t, name + "_scale_inv")->second.fill_(-1); }),
               "must be finite and above 0");
  json.erase("quantization_config");
  EXPECT_ERROR(write(tensors), "the weight is fp8, but config.json has no 'quantization_config'");
}

}  // namespace
}  // namespace decant
