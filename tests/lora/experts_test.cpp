// LoRA on a tiny model of R1's shape: latent attention, routed and shared experts.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "core/kernels/head_cross_entropy.h"
#include "core/model/load_model.h"
#include "lora/attach.h"
#include "lora/merge.h"
#include "tests/support/family_configs.h"
#include "tests/support/panels.h"
#include "tests/support/shared.h"
#include "tests/train/tiny_training.h"

namespace decant {
namespace {

Decoder tiny(Dtype dtype = Dtype::kFp32) {
  return random_decoder(parse_model_config(test::tiny_family("deepseek_v3"), "tiny"), dtype, 3, 0.2);
}

LoraConfig on_everything() {
  LoraConfig config;
  config.rank = 4;
  config.targets = {"q_a_proj",
                    "q_b_proj",
                    "kv_a_proj_with_mqa",
                    "kv_b_proj",
                    "o_proj",
                    "experts.*.gate_proj",
                    "experts.*.up_proj",
                    "experts.*.down_proj",
                    "shared_experts.gate_proj",
                    "shared_experts.up_proj",
                    "shared_experts.down_proj"};
  return config;
}

at::Tensor logits(const Decoder& model) {
  return head_logits(forward(model, make_batch({{1, 5, 9, 33, 60, 2}, {7, 8, 9}})), model.head().value,
                     false);
}

TEST(ExpertAdapters, StarNamesEveryExpertAndNoOther) {
  EXPECT_TRUE(matches_target("model.layers.1.mlp.experts.12.up_proj", "experts.*.up_proj"));
  EXPECT_FALSE(matches_target("model.layers.1.mlp.shared_experts.up_proj", "experts.*.up_proj"));
  EXPECT_FALSE(matches_target("model.layers.0.mlp.up_proj", "experts.*.up_proj"));
  EXPECT_FALSE(matches_target("up_proj", "*.up_proj"));
  EXPECT_TRUE(matches_target("mlp.up_proj", "*.up_proj"));
  auto model = tiny();
  auto config = on_everything();
  attach_lora(model, config);
  int64_t elements = 0;
  for (const auto* one : model.adapter_parameters()) elements += one->value.numel();
  EXPECT_EQ(elements, lora_parameters(model.config, config));
  EXPECT_EQ(model.adapter_parameters().size(), 2u * (2 * 5 + 8 * 3 + 3));
  EXPECT_FALSE(model.layers[1].experts->router.trainable);
}

TEST(ExpertAdapters, TrainAreSavedAndMergeToTheSameLogits) {
  auto model = tiny();
  const auto config = on_everything();
  attach_lora(model, config);
  auto training = test::tiny_config();
  training.steps = 20;
  const auto folder = test::scratch_folder();
  const auto fixed = test::tiny_batches().step(0);
  auto batches = test::tiny_batches();
  batches.step = [&](int64_t) { return fixed; };
  const auto result =
      train(model, model.adapter_parameters(), batches, next_token_loss, training, folder / "run");
  EXPECT_LT(result.last_loss, 0.7 * result.first_loss);
  const auto adapter = collect_adapter(model, config, "base", "", result.masters);
  write_adapter(folder / "adapter", adapter);
  const auto again = read_adapter(folder / "adapter");
  EXPECT_EQ(again.modules.size(), adapter.modules.size());
  const std::vector<std::string> targets = {"down_proj",
                                            "gate_proj",
                                            "kv_a_proj_with_mqa",
                                            "kv_b_proj",
                                            "o_proj",
                                            "q_a_proj",
                                            "q_b_proj",
                                            "shared_experts.down_proj",
                                            "shared_experts.gate_proj",
                                            "shared_experts.up_proj",
                                            "up_proj"};
  EXPECT_EQ(again.config.target_modules, targets);
  auto fresh = tiny(), merged = tiny();
  apply_adapter(fresh, again);
  EXPECT_TRUE(at::equal(logits(fresh), logits(model)));
  merge_adapter(merged, again);
  EXPECT_LT((logits(merged) - logits(model)).abs().max().item<double>(), 1e-4);
  EXPECT_GT((logits(merged) - logits(tiny())).abs().max().item<double>(), 1e-2);
}

// Two tenants in one row, each with terms on its own segment: output and gradients of each are the bits that
// it has alone.
TEST(ExpertAdapters, GroupedIsSolo) {
  DECANT_NEEDS_PANELS();
  const std::vector<int64_t> first = {1, 5, 9, 33, 60, 2, 17, 21, 40}, second = {7, 8, 9, 33, 1, 2, 3};
  for (const auto dtype : {Dtype::kFp32, Dtype::kBf16}) {
    const auto prepared = [&](int64_t seed, std::pair<int64_t, int64_t> segment, Decoder* into) {
      auto model = tiny(dtype);
      auto config = on_everything();
      config.seed = seed;
      attach_lora(model, config);
      const auto from = model.linears(), to = into->linears();
      for (size_t i = 0; i < from.size(); ++i)
        for (auto& term : from[i]->terms) {
          term.lora_b.value.copy_(at::sin(at::arange(term.lora_b.value.numel(), at::kFloat) + double(seed))
                                      .mul_(0.3)
                                      .reshape(term.lora_b.value.sizes()));
          term.segment = segment;
          to[i]->terms.push_back(term);
        }
    };
    auto both = tiny(dtype), alone = tiny(dtype);
    const auto a = static_cast<int64_t>(first.size()), b = static_cast<int64_t>(second.size());
    prepared(1, {0, a}, &both);
    prepared(2, {a, a + b}, &both);
    prepared(2, {0, b}, &alone);
    const auto run = [](Decoder& model, const Batch& batch, int64_t skip) {
      Saved saved;
      const auto hidden = forward(model, batch, &saved);
      const auto own = hidden.slice(0, skip);
      auto d = at::zeros_like(hidden);
      d.slice(0, skip).copy_(at::sin(own.to(at::kFloat) * 3));
      if (skip > 0) d.slice(0, 0, skip).copy_(at::cos(hidden.slice(0, 0, skip).to(at::kFloat)));
      backward(model, batch, saved, d);
      return own.clone();
    };
    EXPECT_TRUE(at::equal(run(both, make_batch({first, second}), a), run(alone, make_batch({second}), 0)));
    size_t compared = 0;
    const auto grouped = both.linears(), solo = alone.linears();
    for (size_t i = 0; i < solo.size(); ++i) {
      if (solo[i]->terms.empty()) continue;
      EXPECT_TRUE(at::equal(grouped[i]->terms[1].lora_a.grad, solo[i]->terms[0].lora_a.grad))
          << solo[i]->name;
      EXPECT_TRUE(at::equal(grouped[i]->terms[1].lora_b.grad, solo[i]->terms[0].lora_b.grad))
          << solo[i]->name;
      compared += solo[i]->terms[0].lora_b.grad.abs().sum().item<double>() > 0;
    }
    EXPECT_GT(compared, 20u);
  }
}

}  // namespace
}  // namespace decant
