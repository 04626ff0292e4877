// Laws of attaching, saving and merging adapters on a tiny random model.
#include "lora/attach.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "lora/merge.h"
#include "tests/support/expect_error.h"
#include "tests/support/shared.h"
#include "tests/train/tiny_training.h"

namespace decant {
namespace {

Decoder tiny(Dtype dtype = Dtype::kFp32) { return random_decoder(test::tiny_model_config(), dtype, 3, 0.2); }

at::Tensor logits(const Decoder& model) {
  return head_logits(forward(model, make_batch({{1, 5, 9, 33, 60, 2}, {7, 8, 9}})), model.head().value,
                     false);
}

// B away from 0, so that the adapter does something.
void fill_b(Decoder& model) {
  for (Linear* linear : model.linears())
    for (auto& term : linear->terms)
      term.lora_b.value.copy_(at::sin(at::arange(0, term.lora_b.value.numel(), at::kFloat))
                                  .mul_(0.3)
                                  .reshape(term.lora_b.value.sizes()));
}

TEST(AttachLora, AtTheStartChangesNoBit) {
  for (const Dtype dtype : {Dtype::kFp32, Dtype::kBf16}) {
    Decoder model = tiny(dtype);
    const at::Tensor before = logits(model);
    attach_lora(model, {});
    EXPECT_EQ(model.adapter_parameters().size(), 2U * 7 * 2);
    EXPECT_TRUE(at::equal(before, logits(model)));
    for (const Parameter* p : model.parameters()) EXPECT_FALSE(p->trainable) << p->name;
    for (const Parameter* p : model.adapter_parameters()) EXPECT_TRUE(p->trainable) << p->name;
  }
}

TEST(AttachLora, StartsAsPeftDoesAndFromTheSeedAlone) {
  LoraConfig config;
  Decoder model = tiny(), same = tiny(), few = tiny(), other = tiny();
  attach_lora(model, config);
  attach_lora(same, config);
  config.targets = {"model.layers.1.self_attn.v_proj"};
  attach_lora(few, config);
  config = {};
  config.seed = 1;
  attach_lora(other, config);
  for (const Linear* linear : model.linears()) {
    const at::Tensor& a = linear->terms[0].lora_a.value;
    const double bound = 1 / std::sqrt(static_cast<double>(a.size(1)));
    EXPECT_LE(a.abs().max().item<double>(), bound);
    EXPECT_GT(a.abs().max().item<double>(), 0.95 * bound);
    EXPECT_NEAR(a.mean().item<double>(), 0, 0.1 * bound);
    EXPECT_EQ(linear->terms[0].scale, 4.0);  // 16 / sqrt(16)
  }
  for (size_t i = 0; i < model.adapter_parameters().size(); ++i)
    EXPECT_TRUE(at::equal(model.adapter_parameters()[i]->value, same.adapter_parameters()[i]->value));
  ASSERT_EQ(few.adapter_parameters().size(), 2U);
  // A module's start depends on its own name, not on what else has an adapter.
  for (const Parameter* p : model.adapter_parameters())
    if (p->name == few.adapter_parameters()[0]->name) {
      EXPECT_TRUE(at::equal(p->value, few.adapter_parameters()[0]->value));
    }
  EXPECT_FALSE(at::equal(model.adapter_parameters()[0]->value, other.adapter_parameters()[0]->value));
  EXPECT_FALSE(at::equal(model.adapter_parameters()[0]->value, model.adapter_parameters()[2]->value));
}

TEST(AttachLora, RefusesUnknownTargets) {
  Decoder model = tiny();
  LoraConfig config;
  config.targets = {"q_proj", "v_porj"};
  EXPECT_ERROR(attach_lora(model, config),
               "the target 'v_porj' matches no linear of the model (did you mean 'v_proj'?)");
  config.targets = {"roj"};  // a suffix of the name, but not after a dot
  EXPECT_ERROR(attach_lora(model, config),
               "there are q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj");
  EXPECT_TRUE(model.adapter_parameters().empty());
  attach_lora(model, {});
  EXPECT_ERROR(attach_lora(model, {}), "has an adapter already");
}

TEST(LoraConfig, IsChecked) {
  const Setting section;
  const Place place(&section, "lora");
  LoraConfig config;
  config.rank = 0;
  EXPECT_ERROR(config.validate(place), "must lie in 1 .. 4096, found 0");
  config = {};
  config.alpha = -1;
  EXPECT_ERROR(config.validate(place), "must be above 0, found -1");
  config = {};
  config.targets = {};
  EXPECT_ERROR(config.validate(place), "must name at least one linear");
  config.targets = {"q_proj", "q_proj"};
  EXPECT_ERROR(config.validate(place), "holds 'q_proj' twice");
}

TEST(LoraMerge, GivesTheSameLogits) {
  for (const bool rslora : {false, true}) {
    Decoder model = tiny();
    LoraConfig config;
    config.rslora = rslora;
    attach_lora(model, config);
    fill_b(model);
    const Adapter adapter = collect_adapter(model, config, "base", "", {});
    const at::Tensor adapted = logits(model);
    const MergeReport report = merge_adapter(model, adapter);
    EXPECT_TRUE(model.adapter_parameters().empty());
    EXPECT_GT((adapted - logits(tiny())).abs().max().item<double>(), 0.01);
    EXPECT_LE((adapted - logits(model)).abs().max().item<double>(),
              1e-4 * adapted.abs().max().item<double>());
    ASSERT_EQ(report.modules.size(), 14U);
    for (const auto& m : report.modules) {
      EXPECT_GT(m.delta_norm_ratio, 0) << m.name;
      EXPECT_LT(m.relative_error, 1e-6) << m.name;
      EXPECT_GE(m.max_delta, m.mean_delta);
    }
  }
}

TEST(LoraMerge, SaysWhatBf16Lost) {
  Decoder model = tiny(Dtype::kBf16);
  const Decoder base = tiny(Dtype::kBf16);
  attach_lora(model, {});
  fill_b(model);
  Adapter adapter = collect_adapter(model, {}, "base", "", {});
  for (auto& m : adapter.modules) m.lora_b.mul_(1e-4);  // far below the weights' spacing
  const MergeReport report = merge_adapter(model, adapter);
  for (const auto& m : report.modules) {
    EXPECT_GT(m.unchanged_fraction, 0.5) << m.name;
    EXPECT_GT(m.relative_error, 0.1) << m.name;
  }
  const std::string text = merge_report_text(report);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 15);
  EXPECT_THAT(text, ::testing::HasSubstr("model.layers.1.mlp.down_proj"));
}

TEST(LoraMerge, RefusesWhatDoesNotFitAndChangesNothing) {
  Decoder model = tiny();
  attach_lora(model, {});
  fill_b(model);
  Adapter adapter = collect_adapter(model, {}, "base", "", {});
  adapter.modules.back().module = "model.layers.9.mlp.down_proj";
  Decoder fresh = tiny();
  EXPECT_ERROR(merge_adapter(fresh, adapter), "model.layers.9.mlp.down_proj");
  EXPECT_TRUE(at::equal(logits(fresh), logits(tiny())));
}

TEST(CollectAdapter, SavesMastersAndComesBackBitForBit) {
  Decoder model = tiny(Dtype::kBf16);
  LoraConfig config;
  config.rank = 4;
  config.alpha = 10;
  attach_lora(model, config);
  TrainConfig train_config = test::tiny_config();
  const auto result = train(model, model.adapter_parameters(), test::tiny_batches(), next_token_loss,
                            train_config, test::scratch_folder() / "run");
  const Adapter adapter = collect_adapter(model, config, "base", "", result.masters);
  const auto folder = test::scratch_folder() / "adapter";
  write_adapter(folder, adapter);
  const Adapter back = read_adapter(folder);
  EXPECT_EQ(back.config.rank, 4);
  EXPECT_EQ(back.config.alpha, 10);
  EXPECT_TRUE(back.config.use_rslora);
  ASSERT_EQ(back.modules.size(), adapter.modules.size());
  int finer = 0;
  for (size_t i = 0; i < back.modules.size(); ++i) {
    EXPECT_EQ(back.modules[i].module, adapter.modules[i].module);
    EXPECT_TRUE(at::equal(back.modules[i].lora_a, adapter.modules[i].lora_a));
    EXPECT_TRUE(at::equal(back.modules[i].lora_b, adapter.modules[i].lora_b));
    if (!at::equal(back.modules[i].lora_b, back.modules[i].lora_b.to(at::kBFloat16).to(at::kFloat))) ++finer;
  }
  EXPECT_GT(finer, 0) << "the fp32 masters, not their bf16 copies";
  const at::Tensor trained = logits(model);
  remove_adapter(model);
  apply_adapter(model, back);
  EXPECT_TRUE(at::equal(trained, logits(model)));
}

}  // namespace
}  // namespace decant
