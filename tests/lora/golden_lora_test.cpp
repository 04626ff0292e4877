// LoRA, rsLoRA and DoRA against PEFT (conformance/golden/train): logits, loss, gradients, ten steps and
// merged weights.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "core/file.h"
#include "lora/attach.h"
#include "lora/merge.h"
#include "tests/train/training_golden.h"

namespace decant {
namespace {

class GoldenLora : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    DECANT_NEEDS_SHARED("conformance/golden/train");
    name_ = GetParam();
    golden_ = test::golden_folder() / "train" / name_;
    model_ = load_model(test::golden_folder() / "models" / name_, Dtype::kFp32);
  }
  // Trainable terms with the values of PEFT's saved adapter.
  void attach(const std::string& kind) {
    const Adapter adapter = read_adapter(golden_ / ("adapter_" + kind));
    config_.rank = 8;
    config_.rslora = kind == "rslora";
    config_.dora = kind == "dora";
    attach_lora(model_, config_, &adapter);
    std::map<std::string, const AdapterModule*> by_name;
    for (const auto& module : adapter.modules) by_name[module.module] = &module;
    for (Linear* linear : model_.linears()) {
      EXPECT_TRUE(at::equal(linear->terms.at(0).lora_a.value, by_name.at(linear->name)->lora_a));
      EXPECT_TRUE(at::equal(linear->terms.at(0).lora_b.value, by_name.at(linear->name)->lora_b));
      EXPECT_EQ(linear->terms[0].scale, adapter.config.scale_of(linear->name));
    }
  }
  at::Tensor logits() const {
    const at::Tensor ids =
        TensorFile(test::golden_folder() / "models" / name_ / "reference.safetensors").load("input_ids");
    std::vector<std::vector<int64_t>> documents;
    for (int64_t row = 0; row < ids.size(0); ++row) {
      const at::Tensor line = ids[row].contiguous();
      documents.emplace_back(line.const_data_ptr<int64_t>(), line.const_data_ptr<int64_t>() + line.numel());
    }
    return head_logits(forward(model_, make_batch(documents)), model_.head().value, false)
        .reshape({2, 24, 320});
  }
  std::string name_;
  std::filesystem::path golden_;
  Decoder model_;
  LoraConfig config_;
};

TEST_P(GoldenLora, LogitsLossAndGradientsEqualPeft) {
  if (IsSkipped()) return;
  for (const std::string kind : {"lora", "rslora", "dora"}) {
    model_ = load_model(test::golden_folder() / "models" / name_, Dtype::kFp32);
    attach(kind);
    const TensorFile golden(golden_ / (kind + ".safetensors"));
    EXPECT_LE((logits() - golden.load("logits")).abs().max().item<double>(), 1e-4) << kind;
    const TensorFile data(golden_ / "data.safetensors");
    const Batch batch = test::golden_batch(data.load("input_ids"), data.load("labels"), 0, 2);
    Saved saved;
    const at::Tensor hidden = forward(model_, batch, &saved);
    const auto result = next_token_loss(model_, batch, hidden, 1 / batch.total_weight(), true);
    EXPECT_NEAR(result.loss.sum / result.loss.weight, golden.load("train_loss").item<double>(), 2e-5) << kind;
    backward(model_, batch, saved, result.loss.d_hidden);
    int seen = 0;
    for (const Parameter* p : model_.adapter_parameters()) {
      if (!golden.contains("grad." + p->name)) continue;
      const at::Tensor expected = golden.load("grad." + p->name);
      EXPECT_LE((p->grad - expected).norm().item<double>(), 1e-4 * expected.norm().item<double>()) << p->name;
      ++seen;
    }
    EXPECT_EQ(seen, kind == "lora" ? 28 : kind == "dora" ? 42 : 2);
  }
}

TEST_P(GoldenLora, TenStepsEqualPeft) {
  if (IsSkipped()) return;
  attach("lora");
  const auto folder = test::scratch_folder();
  train(model_, model_.adapter_parameters(), test::golden_steps(name_), next_token_loss,
        test::golden_config(), folder);
  test::expect_golden_metrics(test::read_metrics(folder), read_json(golden_ / "lora10.json"));
  const TensorFile golden(golden_ / "lora.safetensors");
  for (const Parameter* p : model_.adapter_parameters())
    EXPECT_LE((p->value - golden.load("final." + p->name)).abs().max().item<double>(), 2e-5) << p->name;
}

TEST_P(GoldenLora, MergedWeightsAndLogitsEqualPeft) {
  if (IsSkipped()) return;
  for (const std::string kind : {"lora", "rslora", "dora"}) {
    model_ = load_model(test::golden_folder() / "models" / name_, Dtype::kFp32);
    const MergeReport report = merge_adapter(model_, read_adapter(golden_ / ("adapter_" + kind)));
    EXPECT_EQ(report.modules.size(), 14U);
    const TensorFile golden(golden_ / (kind + ".safetensors"));
    EXPECT_LE((logits() - golden.load("logits_merged")).abs().max().item<double>(), 1e-4) << kind;
    if (kind == "rslora") continue;
    const TensorFile merged(golden_ / ("merged_" + kind + "_layer1.safetensors"));
    size_t seen = 0;
    for (const Parameter* p : model_.parameters()) {
      if (!merged.contains(p->name)) continue;
      EXPECT_LE((p->value - merged.load(p->name)).abs().max().item<double>(), 1e-6) << p->name;
      ++seen;
    }
    EXPECT_EQ(seen, 2U);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, GoldenLora, ::testing::Values("llama_tied", "qwen2"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace decant
