#include "data_pipeline/batch_source.h"

#include <ATen/ATen.h>

#include <map>
#include <set>

#include "core/hash.h"
#include "core/random.h"
#include "data_pipeline/shard.h"
#include "tests/support/expect_error.h"
#include "tests/support/shared.h"

namespace decant {
namespace {

const std::string kTokenizer = sha256_hex("tokenizer"), kTemplate = sha256_hex("template");

// Documents whose tokens all are the document's number, so that batches show what they hold.
std::filesystem::path shards(uint32_t count, bool targets = true) {
  ShardHeader header;
  header.tokenizer_sha256 = kTokenizer;
  header.template_sha256 = kTemplate;
  header.sequence_length = 32;
  std::vector<ShardDocument> documents;
  for (uint32_t i = 0; i < count; ++i) {
    const size_t length = 4 + philox(2, 2, i)[0] % 28;
    ShardDocument& d = documents.emplace_back();
    d.id = std::to_string(i);
    d.tokens.assign(length, i);
    d.loss_weight.assign(length, targets ? 255 : 0);
    d.loss_weight[0] = 0;
  }
  const auto folder = test::scratch_folder() / "shards";
  write_shards(folder, header, documents);
  return folder;
}

BatchConfig config_of(int64_t step, int64_t micro, int64_t seed = 7) {
  BatchConfig config;
  config.tokens_per_step = step;
  config.tokens_per_micro_batch = micro;
  config.seed = seed;
  return config;
}

std::vector<int64_t> tokens_of(const std::vector<Batch>& batches) {
  std::vector<int64_t> tokens;
  for (const Batch& batch : batches)
    for (int64_t t = 0; t < batch.size(); ++t) tokens.push_back(batch.tokens[t].item<int64_t>());
  return tokens;
}

TEST(BatchSource, AnEpochIsEveryDocumentOnceInAnotherOrder) {
  const auto folder = shards(60);
  const auto source = open_batches(folder, config_of(128, 64), kTokenizer, kTemplate);
  std::vector<std::vector<int64_t>> epochs;
  for (int64_t epoch = 0; epoch < 3; ++epoch) {
    std::map<int64_t, int64_t> seen;
    auto& all = epochs.emplace_back();
    for (int64_t s = 0; s < source.steps_per_epoch; ++s) {
      const auto batches = source.step(epoch * source.steps_per_epoch + s);
      ASSERT_FALSE(batches.empty());
      int64_t tokens = 0;
      for (const Batch& batch : batches) {
        EXPECT_LE(batch.size(), 64);
        tokens += batch.size();
        // Weight 1 everywhere but at document starts.
        EXPECT_EQ(batch.total_weight(),
                  static_cast<double>(batch.size() - (batch.document_starts.size(0) - 1)));
      }
      EXPECT_LE(tokens, 128);
      for (const int64_t t : tokens_of(batches)) {
        ++seen[t];
        all.push_back(t);
      }
    }
    EXPECT_EQ(seen.size(), 60u);
    EXPECT_EQ(static_cast<int64_t>(all.size()), source.tokens_per_epoch);
    for (uint32_t i = 0; i < 60; ++i) EXPECT_EQ(seen[i], 4 + philox(2, 2, i)[0] % 28) << i;
  }
  EXPECT_NE(epochs[0], epochs[1]);
  EXPECT_NE(epochs[1], epochs[2]);
}

TEST(BatchSource, IsAFunctionOfSeedAndStep) {
  const auto folder = shards(40);
  const auto a = open_batches(folder, config_of(96, 96), "", ""),
             b = open_batches(folder, config_of(96, 96), "", "");
  const auto other = open_batches(folder, config_of(96, 96, 8), "", "");
  const auto late = tokens_of(b.step(11));  // without the steps before
  for (int64_t s = 0; s < 11; ++s) a.step(s);
  EXPECT_EQ(tokens_of(a.step(11)), late);
  EXPECT_NE(tokens_of(other.step(0)), tokens_of(a.step(0)));
}

TEST(BatchSource, MicroBatchesHoldTheSameTokens) {
  const auto folder = shards(40);
  const auto whole = open_batches(folder, config_of(128, 128), "", "");
  const auto parts = open_batches(folder, config_of(128, 32), "", "");
  EXPECT_EQ(whole.steps_per_epoch, parts.steps_per_epoch);
  size_t more = 0;
  for (int64_t s = 0; s < whole.steps_per_epoch; ++s) {
    const auto one = whole.step(s), many = parts.step(s);
    EXPECT_EQ(one.size(), 1u);
    EXPECT_EQ(tokens_of(one), tokens_of(many));
    more += many.size() > 1;
  }
  EXPECT_GT(more, 0u);
}

TEST(BatchSource, AllRowsInOrder) {
  const auto folder = shards(40);
  const auto batches = read_all_batches(folder, 100);
  int64_t tokens = 0;
  std::set<int64_t> seen;
  for (const int64_t t : tokens_of(batches)) {
    ++tokens;
    seen.insert(t);
  }
  EXPECT_EQ(tokens, ShardReader(folder).tokens());
  EXPECT_EQ(seen.size(), 40u);
  EXPECT_ERROR(read_all_batches(folder, 10), "does not fit into batches of 10");
}

TEST(BatchSource, Errors) {
  const auto folder = shards(10);
  EXPECT_ERROR(open_batches(folder, config_of(64, 64), sha256_hex("x"), ""),
               "made with another tokenizer than the model's");
  EXPECT_ERROR(open_batches(folder, config_of(64, 64), "", sha256_hex("x")),
               "made with another chat template");
  EXPECT_ERROR(open_batches(folder, config_of(64, 16), "", ""),
               "does not fit into 'tokens_per_micro_batch' 16");
  EXPECT_ERROR(open_batches(folder, config_of(16, 64), "", ""), "does not fit into 'tokens_per_step' 16");
  EXPECT_ERROR(open_batches(shards(10, false), config_of(64, 64), "", ""), "no token has a loss weight");
  EXPECT_ERROR(open_batches(shards(0), config_of(64, 64), "", ""), "no rows to train on");
  const auto validated = [](const char* yaml) {
    read_config<BatchConfig>(parse_settings(yaml, "r.yaml"), "train");
  };
  EXPECT_ERROR(validated("tokens_per_step: 0"), "must be at least 1, found 0");
  EXPECT_ERROR(validated("tokens_per_micro_batch: 0"), "must be at least 1, found 0");
  EXPECT_ERROR(validated("seed: -1"), "must not be negative");
}

}  // namespace
}  // namespace decant
