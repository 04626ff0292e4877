// An adapter on a model gives peft's logits (conformance/golden/README-models.md); taken off, the base's
// again.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "core/adapter_file.h"
#include "core/kernels/head_cross_entropy.h"
#include "core/model/load_model.h"
#include "core/tensor_file.h"
#include "tests/support/expect_error.h"
#include "tests/support/shared.h"

namespace decant {
namespace {

using test::shared_folder;

std::vector<std::vector<int64_t>> rows(const at::Tensor& ids) {
  std::vector<std::vector<int64_t>> out;
  for (int64_t n = 0; n < ids.size(0); ++n) {
    const auto one = ids[n].contiguous();
    out.emplace_back(one.data_ptr<int64_t>(), one.data_ptr<int64_t>() + one.numel());
  }
  return out;
}

at::Tensor logits_of(const Decoder& model, const at::Tensor& ids) {
  const auto hidden = forward(model, make_batch(rows(ids)));
  return head_logits(hidden, model.head().value, false).reshape({ids.size(0), ids.size(1), -1});
}

double difference(const at::Tensor& a, const at::Tensor& b) { return (a - b).abs().max().item<double>(); }

class AdapterApply : public ::testing::TestWithParam<std::tuple<const char*, const char*>> {};

TEST_P(AdapterApply, GivesPeftsLogitsAndLeavesNoTrace) {
  const auto [name, kind] = GetParam();
  const auto golden = shared_folder() / "conformance/golden";
  DECANT_NEEDS_SHARED(concat("conformance/golden/train/", name));
  auto model = load_model(golden / "models" / name, Dtype::kFp32);
  const auto ids = TensorFile(golden / "models" / name / "reference.safetensors").load("input_ids");
  const TensorFile reference(golden / "train" / name / concat(kind, ".safetensors"));
  const auto adapter = read_adapter(golden / "train" / name / concat("adapter_", kind));
  EXPECT_EQ(adapter.config.use_rslora, std::string(kind) == "rslora");

  const auto before = logits_of(model, ids);
  EXPECT_LE(difference(before, reference.load("logits_disabled")), 1e-4);
  apply_adapter(model, adapter);
  EXPECT_LE(difference(logits_of(model, ids), reference.load("logits")), 1e-4);
  EXPECT_GT(difference(reference.load("logits"), before), 0.1);  // else the line above says nothing
  remove_adapter(model);
  EXPECT_TRUE(at::equal(logits_of(model, ids), before));

  // The folded adapter is the same function.
  apply_adapter(model, fold_scale(adapter));
  EXPECT_LE(difference(logits_of(model, ids), reference.load("logits")), 1e-4);
}

INSTANTIATE_TEST_SUITE_P(Golden, AdapterApply,
                         ::testing::Combine(::testing::Values("llama_tied", "qwen2"),
                                            ::testing::Values("lora", "rslora", "dora")));

TEST(AdapterApplyErrors, NameWhatDoesNotFitAndChangeNothing) {
  const auto golden = shared_folder() / "conformance/golden";
  DECANT_NEEDS_SHARED("conformance/golden/train/llama_tied");
  auto model = load_model(golden / "models/llama_tied", Dtype::kFp32);
  const auto good = read_adapter(golden / "train/llama_tied/adapter_lora");

  auto strange = good;
  strange.modules.back().module = "model.layers.9.self_attn.q_proj";
  EXPECT_ERROR(apply_adapter(model, strange),
               "adapter: the model has no linear layer 'model.layers.9.self_attn.q_proj'");
  auto wide = good;
  auto& a = wide.modules.back();
  a.lora_a = at::zeros({8, 7});
  EXPECT_ERROR(apply_adapter(model, wide), concat("adapter: '", a.module, "' is for a weight [",
                                                  a.lora_b.size(0), ", 7], the model's is ["));
  EXPECT_ERROR(apply_adapter(model, read_adapter(golden / "train/qwen2/adapter_lora")),
               "it was trained on another base model");
  for (const Linear* linear : model.linears()) EXPECT_TRUE(linear->terms.empty()) << linear->name;
}

}  // namespace
}  // namespace decant
