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

TEST(AttachLora, EveryStartLeavesTheModelAsItIs) {
  for (const LoraInit init : {LoraInit::kUniform, LoraInit::kGaussian, LoraInit::kOrthogonal})
    for (const bool dora : {false, true}) {
      Decoder model = tiny();
      const at::Tensor before = logits(model);
      LoraConfig config;
      config.init = init;
      config.dora = dora;
      attach_lora(model, config);
      EXPECT_EQ(model.adapter_parameters().size(), (dora ? 3U : 2U) * 7 * 2);
      EXPECT_LE((logits(model) - before).abs().max().item<double>(), 1e-5);
      const LowRankTerm& term = model.linears()[0]->terms[0];
      if (init == LoraInit::kGaussian) {
        EXPECT_NEAR(term.lora_a.value.std().item<double>(), 1.0 / 16, 0.01);
      }
      if (init == LoraInit::kOrthogonal) {
        EXPECT_GT(term.lora_b.value.abs().max().item<double>(), 0.01);
        EXPECT_LE(at::mm(term.lora_b.value, term.lora_a.value).abs().max().item<double>(), 1e-6);
      }
    }
}

TEST(AttachLora, TargetsByRegularExpressionLayersAndPatterns) {
  LoraConfig config;
  config.targets = {"regex:model\\.layers\\.\\d+\\.(self_attn\\.[qv]|mlp\\.up)_proj"};
  config.layers = {1};
  config.rank = 4;
  config.rank_pattern = {{"q_proj", 2}, {"layers\\.1\\..*up_proj", 8}};
  config.alpha_pattern = {{"v_proj", 3}};
  Decoder model = tiny();
  attach_lora(model, config);
  std::map<std::string, int64_t> ranks;
  for (const Linear* linear : model.linears())
    for (const auto& term : linear->terms) ranks[linear->name] = term.lora_a.value.size(0);
  EXPECT_EQ(ranks, (std::map<std::string, int64_t>{{"model.layers.1.self_attn.q_proj", 2},
                                                   {"model.layers.1.self_attn.v_proj", 4},
                                                   {"model.layers.1.mlp.up_proj", 8}}));
  EXPECT_DOUBLE_EQ(model.layers[1].qkv.linears[2].terms[0].scale, 1.5);  // 3 / sqrt(4)
  fill_b(model);
  const at::Tensor adapted = logits(model);
  const auto folder = test::scratch_folder();
  write_adapter(folder, collect_adapter(model, config, "base", "", {}));
  remove_adapter(model);
  apply_adapter(model, read_adapter(folder));
  EXPECT_TRUE(at::equal(adapted, logits(model)));

  Decoder fresh = tiny();
  config.layers = {2};
  EXPECT_ERROR(attach_lora(fresh, config), "names the layer 2, which has no target");
  config.layers = {};
  config.rank_pattern = {{"o_proj", 2}};
  EXPECT_ERROR(attach_lora(fresh, config), "'rank_pattern' has 'o_proj', which matches no module");
  config.rank_pattern = {};
  config.targets = {"regex:q_proj"};  // the whole name must match
  EXPECT_ERROR(attach_lora(fresh, config), "matches no linear of the model");
}

TEST(AttachLora, GoesOnFromAnAdapterAndGrows) {
  for (const bool dora : {false, true}) {
    LoraConfig config;
    config.rank = 4;
    config.dora = dora;
    Decoder model = tiny();
    attach_lora(model, config);
    fill_b(model);
    const at::Tensor before = logits(model);
    const Adapter adapter = collect_adapter(model, config, "base", "", {});
    for (const int64_t rank : {4, 10}) {
      Decoder grown = tiny();
      config.rank = rank;
      config.alpha = 5;
      attach_lora(grown, config, &adapter);
      EXPECT_LE((logits(grown) - before).abs().max().item<double>(), 2e-4);
      const auto& term = grown.layers[0].qkv.linears[0].terms[0];
      EXPECT_GT(term.lora_a.value[rank - 1].abs().max().item<double>(), 0) << "new rows of A can learn";
    }
    Decoder other = tiny();
    config.rank = 2;
    EXPECT_ERROR(attach_lora(other, config, &adapter), "has rank 4, more than the 2 asked for");
    config.rank = 4;
    config.targets = {"q_proj"};
    EXPECT_ERROR(attach_lora(other, config, &adapter), "which is not among lora.targets");
  }
}

TEST(Dora, TrainsAndComesBackBitForBit) {
  Decoder model = tiny(Dtype::kBf16);
  LoraConfig config;
  config.dora = true;
  attach_lora(model, config);
  const at::Tensor before = model.layers[0].down.linears[0].terms[0].magnitude.value.clone();
  const auto result = train(model, model.adapter_parameters(), test::tiny_batches(), next_token_loss,
                            test::tiny_config(), test::scratch_folder() / "run");
  EXPECT_LT(result.last_loss, result.first_loss);
  EXPECT_FALSE(at::equal(before, model.layers[0].down.linears[0].terms[0].magnitude.value));
  const auto folder = test::scratch_folder() / "adapter";
  write_adapter(folder, collect_adapter(model, config, "base", "", result.masters));
  const at::Tensor trained = logits(model);
  remove_adapter(model);
  apply_adapter(model, read_adapter(folder));
  EXPECT_TRUE(at::equal(trained, logits(model)));
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
  config.targets = {"q_proj", "regex:.*"};
  EXPECT_ERROR(config.validate(place), "'regex:.*' must be the only entry");
  config.targets = {"regex:(q"};
  EXPECT_ERROR(config.validate(place), "is not a regular expression");
  config = {};
  config.rank_pattern = {{"q_proj", 0}};
  EXPECT_ERROR(config.validate(place), "must lie in 1 .. 4096, found 0");
  config = {};
  config.init = LoraInit::kOrthogonal;
  config.rank = 3;
  EXPECT_ERROR(config.validate(place), "must be even");
  config = {};
  config.b_rate_ratio = 0;
  EXPECT_ERROR(config.validate(place), "must be above 0, found 0");
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
