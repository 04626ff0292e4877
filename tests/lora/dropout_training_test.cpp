// lora.dropout through training: its bits are those of the seed, whatever the split, whoever the neighbours
// (grouped_training_test.cpp), with and without checkpointed activations, and none in evaluation.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "core/file.h"
#include "core/kernels/head_cross_entropy.h"
#include "core/tensor_file.h"
#include "lora/attach.h"
#include "tests/support/expect_error.h"
#include "tests/support/shared.h"
#include "tests/train/tiny_training.h"

namespace decant {
namespace {

namespace fs = std::filesystem;

LoraConfig with_dropout(double p, int64_t seed = 3) {
  LoraConfig config;
  config.rank = 4;
  config.dropout = p;
  config.seed = seed;
  return config;
}

// The adapter's bytes after a short training; `stop_at`: killed there once, then resumed.
std::string trained(Dtype dtype, const LoraConfig& lora, TrainConfig config, int64_t stop_at = -1) {
  const fs::path folder = test::scratch_folder() / concat("run", stop_at);
  fs::remove_all(folder);
  for (const int64_t stop : {stop_at, int64_t{-1}}) {
    Decoder model = random_decoder(test::tiny_model_config(), dtype, 1);
    attach_lora(model, lora);
    StepBatches batches = test::tiny_batches();
    batches.step = [inner = batches.step, stop](int64_t step) {
      if (step == stop) fail_try_again("killed by the test");
      return inner(step);
    };
    try {
      const auto result = train(model, model.adapter_parameters(), batches, next_token_loss, config, folder);
      write_adapter(folder / "adapter", collect_adapter(model, lora, "base", "", result.masters));
      return read_file(folder / "adapter/adapter_model.safetensors") + read_file(folder / "metrics.jsonl");
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), Exit::kTryAgain) << e.what();
    }
  }
  return {};
}

class DropoutTraining : public testing::TestWithParam<Dtype> {};

TEST_P(DropoutTraining, ResumedOrCheckpointedItHasTheSameBits) {
  const TrainConfig config = test::tiny_config();
  const std::string whole = trained(GetParam(), with_dropout(0.2), config);
  ASSERT_FALSE(whole.empty());
  EXPECT_EQ(whole, trained(GetParam(), with_dropout(0.2), config));
  EXPECT_EQ(whole, trained(GetParam(), with_dropout(0.2), config, 7)) << "resumed";
  TrainConfig again = config;
  again.checkpoint_activations = Recompute::kYes;
  EXPECT_EQ(whole, trained(GetParam(), with_dropout(0.2), again)) << "layers run again";
  // It does something, and another draw does something else.
  LoraConfig none = with_dropout(0);
  EXPECT_NE(whole, trained(GetParam(), none, config));
  EXPECT_NE(whole, trained(GetParam(), with_dropout(0.3), config));
}

TEST_P(DropoutTraining, ASplitOfTheStepChangesNoBitOfTheForward) {
  Decoder model = random_decoder(test::tiny_model_config(), GetParam(), 1);
  attach_lora(model, with_dropout(0.4));
  for (Linear* linear : model.linears())
    linear->terms[0].lora_b.value.copy_(
        at::sin(at::arange(0, linear->terms[0].lora_b.value.numel(), at::kFloat))
            .mul_(0.3)
            .reshape(linear->terms[0].lora_b.value.sizes()));
  const std::vector<int64_t> a = {1, 2, 3, 4, 5, 9}, b = {6, 7, 8, 9};
  Batch whole = make_batch({a, b}), first = make_batch({a}), second = make_batch({b});
  whole.training = {{0, 10, 2, 30}};
  first.training = {{0, 6, 2, 30}};
  second.training = {{0, 4, 2, 36}};
  const at::Tensor together = forward(model, whole);
  EXPECT_TRUE(at::equal(together.slice(0, 0, 6), forward(model, first)));
  EXPECT_TRUE(at::equal(together.slice(0, 6), forward(model, second)));
  // Evaluation sees the adapter whole.
  whole.training.clear();
  const at::Tensor evaluated = forward(model, whole);
  EXPECT_FALSE(at::equal(evaluated, together));
  for (Linear* linear : model.linears()) linear->terms[0].dropout = {};
  EXPECT_TRUE(at::equal(evaluated, forward(model, whole)));
  whole.training = {{0, 10, 2, 30}};
  EXPECT_TRUE(at::equal(evaluated, forward(model, whole)));
}

INSTANTIATE_TEST_SUITE_P(Dtypes, DropoutTraining, testing::Values(Dtype::kFp32, Dtype::kBf16),
                         [](const auto& info) {
                           return std::string(info.param == Dtype::kFp32 ? "fp32" : "bf16");
                         });

TEST(LoraDropout, IsWrittenAsPeftDoesAndRefusedWhereItIsNotDone) {
  Decoder model = random_decoder(test::tiny_model_config(), Dtype::kFp32, 1);
  const LoraConfig config = with_dropout(0.05);
  attach_lora(model, config);
  const auto folder = test::scratch_folder();
  write_adapter(folder, collect_adapter(model, config, "base", "", {}));
  EXPECT_EQ(read_json(folder / "adapter_config.json")["lora_dropout"], 0.05);
  EXPECT_EQ(read_adapter(folder).config.dropout, 0.05);

  const Setting section;
  const Place place(&section, "lora");
  LoraConfig bad = with_dropout(1);
  EXPECT_ERROR(bad.validate(place), "'lora.dropout': must lie in 0 .. 0.95, found 1");
  bad = with_dropout(-0.1);
  EXPECT_ERROR(bad.validate(place), "must lie in 0 .. 0.95");
  bad = with_dropout(0.1);
  bad.dora = true;
  EXPECT_ERROR(bad.validate(place), "'lora.dropout': is not done beside 'dora'");
}

}  // namespace
}  // namespace decant
