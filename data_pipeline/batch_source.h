// Shards to the batches of an optimizer step: a pure function of (seed, step), so resuming needs no state.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "core/config.h"
#include "core/model/batch.h"

namespace decant {

struct BatchConfig {
  int64_t tokens_per_step = 2048;
  int64_t tokens_per_micro_batch = 2048;
  int64_t seed = 0;

  static void visit(auto& c, auto&& field) {
    field("tokens_per_step", c.tokens_per_step,
          "tokens of one optimizer step, at most; whole packed rows are taken");
    field("tokens_per_micro_batch", c.tokens_per_micro_batch,
          "tokens of one forward and backward; does not change the loss, only its rounding");
    field("seed", c.seed, "of the order of rows");
  }
  void validate(const Place& place) const;
};

struct StepBatches {
  int64_t steps_per_epoch = 0;
  int64_t tokens_per_epoch = 0;
  std::function<std::vector<Batch>(int64_t step)> step;  // step from 0, any number of epochs
};

// Every step but the last of an epoch takes the same number of whole rows, as many as fit into
// tokens_per_step whichever they are (rows are nearly full); rows are in the order of permutation(seed,
// epoch); an epoch has every row once. Error when the shards' tokenizer or template digest differs from the
// expected one (empty: not compared), when a row exceeds tokens_per_step or tokens_per_micro_batch, when no
// token has a loss weight, or when there is a rejected document and `answers` is kLearned. A pair is always
// in one batch. kPairs, kJudged: for losses that compare (train/preference.h); Error when there is nothing to
// compare.
enum class Answers { kLearned, kPairs, kJudged };
StepBatches open_batches(const std::filesystem::path& shards, const BatchConfig& config,
                         const std::string& tokenizer_sha256, const std::string& template_sha256,
                         Answers answers = Answers::kLearned);
// Rows in order, without rejected documents, in batches of at most max_tokens (evaluation), until they hold
// `most_tokens`. `ids`, when given, becomes the documents' ids of each batch.
std::vector<Batch> read_all_batches(const std::filesystem::path& shards, int64_t max_tokens,
                                    int64_t most_tokens = std::numeric_limits<int64_t>::max(),
                                    std::vector<std::vector<std::string>>* ids = nullptr);

}  // namespace decant
