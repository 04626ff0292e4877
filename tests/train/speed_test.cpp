// The work of a step, counted by hand, and what is written about speed.
#include "train/speed.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/file.h"
#include "tests/support/shared.h"
#include "tests/train/tiny_training.h"

namespace decant {
namespace {

// The tiny model: D 32, F 48, H 4, G 2, K 8, V 64, two layers, tied.
constexpr double kLinears = 32 * (32 + 16 + 16) + 32 * 32 + 32 * 96 + 48 * 32;  // weights of a layer
constexpr double kHead = 64 * 32;

TEST(TrainingFlops, CountsWhatAStepNeeds) {
  const Batch batch = make_batch({{1, 2, 3, 4, 5}, {6, 7, 8}});  // 6 tokens under loss
  const double pairs = 15 + 6, attention = 4 * pairs * 32;
  Decoder full = random_decoder(test::tiny_model_config(), Dtype::kFp32, 1);
  make_trainable(full);
  EXPECT_DOUBLE_EQ(training_flops(full, full.parameters(), batch),
                   2 * (8 * 6 * kLinears + 3 * attention) + 6 * 6 * kHead);
  // Only the upper layer trains: the lower one runs forward alone, and no weight of the head learns.
  Decoder upper = random_decoder(test::tiny_model_config(), Dtype::kFp32, 1);
  make_trainable(upper);
  freeze_matching(upper, {"model\\.layers\\.0\\..*", ".*embed_tokens.*"}, "here");
  EXPECT_DOUBLE_EQ(training_flops(upper, trainable_parameters(upper), batch),
                   8 * 2 * kLinears + attention + 8 * 6 * kLinears + 3 * attention + 4 * 6 * kHead);
}

TEST(ProductRate, IsMeasuredOnceAndKept) {
  const Decoder model = random_decoder(test::tiny_model_config(), Dtype::kFp32, 1);
  const double rate = product_rate(model);
  EXPECT_GT(rate, 1e6);
  EXPECT_EQ(rate, product_rate(model));
}

TEST(Speed, AddsUp) {
  Speed speed{100, 50, 2};
  speed.add({50, 30, 1});
  EXPECT_DOUBLE_EQ(speed.tokens_per_second(), 50);
  EXPECT_DOUBLE_EQ(speed.share_of(40), 80.0 / 3 / 40);
  EXPECT_EQ(Speed().tokens_per_second(), 0);
  EXPECT_EQ(Speed().share_of(1), 0);
  EXPECT_THAT(speed_text(speed, 40), ::testing::MatchesRegex("50 tokens/s, MFU 67%, [0-9.]+ GB resident"));
}

TEST(Timing, HoldsSpeedAndMemoryAndTheMetricsDoNot) {
  const auto folder = test::scratch_folder();
  Decoder model = random_decoder(test::tiny_model_config(), Dtype::kFp32, 1);
  make_trainable(model);
  const TrainResult result =
      train(model, model.parameters(), test::tiny_batches(), next_token_loss, test::tiny_config(), folder);
  EXPECT_GT(result.mfu, 0);
  EXPECT_GT(result.product_rate, 0);
  const std::string timing = read_file(folder / "timing.jsonl"),
                    metrics = read_file(folder / "metrics.jsonl");
  EXPECT_EQ(std::count(timing.begin(), timing.end(), '\n'), 12);
  const Json line = parse_json(timing.substr(0, timing.find('\n')), "timing.jsonl");
  for (const char* key : {"seconds", "tokens_per_second", "mfu", "resident_bytes"})
    EXPECT_GT(line.at(key).get<double>(), 0) << key;
  EXPECT_THAT(metrics, ::testing::Not(::testing::HasSubstr("mfu")));
  EXPECT_THAT(metrics, ::testing::Not(::testing::HasSubstr("second")));
}

}  // namespace
}  // namespace decant
