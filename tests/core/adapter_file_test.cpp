// PEFT adapter folders: what peft wrote comes back byte for byte; what would load wrongly is refused.
#include "core/adapter_file.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "core/tensor_file.h"
#include "tests/support/expect_error.h"
#include "tests/support/shared.h"

namespace decant {
namespace {

namespace fs = std::filesystem;
using test::scratch_folder;
using test::shared_folder;

Adapter small() {
  Adapter adapter;
  adapter.config.rank = 2;
  adapter.config.alpha = 4;
  adapter.config.target_modules = {"v_proj", "q_proj"};
  for (const char* name : {"model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.v_proj"})
    adapter.modules.push_back({name, at::arange(6, at::kFloat).view({2, 3}), at::ones({4, 2}) / 3});
  return adapter;
}

TEST(AdapterFile, RoundTrip) {
  const fs::path folder = scratch_folder();
  write_adapter(folder / "a", small());
  const Adapter back = read_adapter(folder / "a");
  EXPECT_EQ(back.config.rank, 2);
  EXPECT_EQ(back.config.alpha, 4);
  EXPECT_EQ(back.config.target_modules, (std::vector<std::string>{"q_proj", "v_proj"}));
  ASSERT_EQ(back.modules.size(), 2U);
  EXPECT_TRUE(at::equal(back.modules[1].lora_b, small().modules[1].lora_b));
  write_adapter(folder / "b", back);
  for (const char* file : {"adapter_config.json", "adapter_model.safetensors"})
    EXPECT_EQ(read_file(folder / "a" / file), read_file(folder / "b" / file));
}

TEST(AdapterFile, UnknownKeysAndTheBaseDigestAreCarriedOver) {
  const fs::path folder = scratch_folder();
  Adapter adapter = small();
  adapter.config.source = {{"some_new_key", {1, 2}}};
  adapter.config.base_sha256 = std::string(64, 'a');
  write_adapter(folder, adapter);
  const Adapter back = read_adapter(folder);
  EXPECT_EQ(back.config.source["some_new_key"], Json({1, 2}));
  EXPECT_EQ(back.config.base_sha256, std::string(64, 'a'));
  EXPECT_FALSE(read_json(folder / "adapter_config.json").contains("base_sha256"));
}

TEST(AdapterFile, PatternsMatchAsInPeft) {
  AdapterConfig config;
  config.rank = 8;
  config.alpha = 16;
  config.rank_pattern = {{"layers.1.self_attn.q_proj", 4}, {"q_proj", 2}, {"layers.\\d.mlp.*", 32}};
  config.alpha_pattern = {{"q_proj", 1}};
  EXPECT_EQ(config.rank_of("model.layers.1.self_attn.q_proj"), 4);  // the first that matches
  EXPECT_EQ(config.rank_of("model.layers.0.self_attn.q_proj"), 2);
  EXPECT_EQ(config.rank_of("q_proj"), 2);
  EXPECT_EQ(config.rank_of("model.layers.0.self_attn.xq_proj"), 8);  // only whole parts
  EXPECT_EQ(config.rank_of("model.layers.0.q_proj.more"), 8);
  EXPECT_EQ(config.rank_of("model.layers.3.mlp.up_proj"), 32);
  EXPECT_DOUBLE_EQ(config.scale_of("model.layers.0.self_attn.q_proj"), 0.5);
  EXPECT_DOUBLE_EQ(config.scale_of("model.layers.0.self_attn.k_proj"), 2);
  config.use_rslora = true;
  EXPECT_DOUBLE_EQ(config.scale_of("model.layers.1.self_attn.q_proj"), 0.5);
  EXPECT_DOUBLE_EQ(config.scale_of("model.layers.0.self_attn.k_proj"), 16 / std::sqrt(8.0));
  config.rank_pattern = {{"(", 2}};
  EXPECT_ERROR(config.rank_of("q_proj"), "is not a regular expression");
  config.rank_pattern = {{"(a|a)*(a|a)*(a|a)*[bc]", 2}};
  EXPECT_ERROR(config.rank_of(std::string(200, 'a')), "takes too much work");
}

TEST(AdapterFile, FoldedScaleGivesTheSameUpdate) {
  Adapter adapter = small();
  adapter.config.use_rslora = true;
  adapter.config.rank_pattern = {{"v_proj", 3}};
  adapter.modules[1] = {adapter.modules[1].module, at::rand({3, 3}), at::rand({4, 3})};
  const Adapter folded = fold_scale(adapter);
  EXPECT_EQ(folded.config.rank, 3);
  EXPECT_EQ(folded.config.alpha, 3);
  EXPECT_FALSE(folded.config.use_rslora);
  EXPECT_TRUE(folded.config.rank_pattern.empty());
  const at::Tensor weight = at::zeros({4, 3});
  for (size_t i = 0; i < 2; ++i) {
    const auto& m = adapter.modules[i];
    const auto& f = folded.modules[i];
    EXPECT_EQ(f.lora_a.size(0), 3);
    EXPECT_EQ(folded.config.scale_of(f.module), 1);
    EXPECT_TRUE(at::allclose(merge_weight(weight, m.lora_a, m.lora_b, adapter.config.scale_of(m.module)),
                             merge_weight(weight, f.lora_a, f.lora_b, 1), 1e-6, 1e-6));
  }
}

class BrokenAdapter : public ::testing::Test {
 protected:
  void SetUp() override {
    folder = scratch_folder();
    write_adapter(folder, small());
    config = read_json(folder / "adapter_config.json");
  }
  void refuses_config(const char* key, const Json& value, const std::string& part) const {
    Json changed = config;
    changed[key] = value;
    write_json(folder / "adapter_config.json", changed);
    EXPECT_ERROR(read_adapter(folder), part);
    write_json(folder / "adapter_config.json", config);
  }
  void refuses_tensors(const NamedTensors& tensors, const std::string& part) const {
    write_tensors(folder / "adapter_model.safetensors", tensors);
    EXPECT_ERROR(read_adapter(folder), part);
  }
  fs::path folder;
  Json config;
};

TEST_F(BrokenAdapter, ConfigsThatWouldLoadWrongly) {
  refuses_config("peft_type", "IA3", "'peft_type' must be LORA");
  refuses_config("use_dora", true, "has no lora_magnitude_vector, but 'use_dora' is true");
  refuses_config("use_dora", 1, "'use_dora' must be true or false");
  refuses_config("lora_bias", true, "'lora_bias' is not supported");
  refuses_config("modules_to_save", {"lm_head"}, "'modules_to_save' is not supported");
  refuses_config("fan_in_fan_out", true, "'fan_in_fan_out' is not supported");
  refuses_config("bias", "all", "'bias' must be none");
  refuses_config("init_lora_weights", "pissa_niter_4", "changes the base's weights");
  refuses_config("r", 0, "'r' must be from 1");
  refuses_config("r", -1, "'r' must be from 1");
  refuses_config("r", 2.5, "'r' must be a whole number");
  refuses_config("r", 3, "lora_A must be [3, inputs]");
  refuses_config("lora_alpha", "16", "'lora_alpha' must be a number");
  refuses_config("use_rslora", 1, "'use_rslora' must be true or false");
  refuses_config("rank_pattern", {{"v_proj", 4}}, "lora_A must be [4, inputs]");
  refuses_config("rank_pattern", {1}, "'rank_pattern' must be an object");
  refuses_config("target_modules", {"q_proj"}, "is not among the target_modules");
  refuses_config("target_modules", {1}, "'target_modules' must hold strings");
  EXPECT_EQ(read_adapter(folder).modules.size(), 2U);
}

TEST_F(BrokenAdapter, TensorsThatWouldLoadWrongly) {
  const std::string q = "base_model.model.model.layers.0.self_attn.q_proj";
  const at::Tensor a = at::ones({2, 3}), b = at::ones({4, 2});
  refuses_tensors({{q + ".lora_A.weight", a}}, "has lora_A but no lora_B");
  refuses_tensors({{q + ".lora_B.weight", b}}, "has lora_B but no lora_A");
  refuses_tensors({{q + ".lora_A.weight", a}, {q + ".lora_B.weight", b.t()}},
                  "lora_B must be [outputs, 2], found [2, 4]");
  refuses_tensors({{q + ".lora_A.weight", a}, {q + ".lora_B.weight", b / 0}}, "not finite");
  refuses_tensors({{q + ".lora_A.weight", a}, {q + ".lora_B.weight", b.to(at::kInt)}},
                  "must be floating-point");
  refuses_tensors({{q + ".lora_A.default.weight", a}}, "is not a name of an adapter");
  refuses_tensors({{"model.layers.0.self_attn.q_proj.lora_A.weight", a}}, "is not a name of an adapter");
  refuses_tensors({{q + ".lora_embedding_A", a}}, "adapters of embeddings are not read");
  refuses_tensors(
      {{q + ".lora_magnitude_vector", b[0]}, {q + ".lora_A.weight", a}, {q + ".lora_B.weight", b}},
      "has a lora_magnitude_vector, but 'use_dora' is false");
  refuses_tensors({}, "holds no adapter weights");
  EXPECT_ERROR(read_adapter(folder / "none"), "expected the folder of an adapter");
}

TEST(AdapterFileGolden, PeftsFilesComeBackByteForByte) {
  DECANT_NEEDS_SHARED("conformance/golden/train");
  int seen = 0;
  for (const char* model : {"llama_tied", "qwen2"})
    for (const char* kind : {"lora", "rslora", "dora"}) {
      const fs::path from =
          shared_folder() / "conformance/golden/train" / model / (std::string("adapter_") + kind);
      const Adapter adapter = read_adapter(from);
      EXPECT_EQ(adapter.modules.size(), 14U);
      EXPECT_EQ(adapter.config.rank, 8);
      EXPECT_DOUBLE_EQ(adapter.config.scale_of(adapter.modules[0].module),
                       kind == std::string("rslora") ? 16 / std::sqrt(8.0) : 2);
      const fs::path copy = scratch_folder();
      write_adapter(copy, adapter);
      EXPECT_EQ(read_file(copy / "adapter_model.safetensors"), read_file(from / "adapter_model.safetensors"));
      Json before = read_json(from / "adapter_config.json"), after = read_json(copy / "adapter_config.json");
      std::sort(before["target_modules"].begin(), before["target_modules"].end());
      for (const auto& [key, value] : before.items()) EXPECT_EQ(after[key], value) << key;
      ++seen;
    }
  EXPECT_EQ(seen, 6);
}

}  // namespace
}  // namespace decant
