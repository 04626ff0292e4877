#include "core/model/generate.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <tuple>

#include "core/model/load_model.h"
#include "core/model/sampling.h"
#include "core/model/score.h"
#include "core/random.h"
#include "tests/support/expect_error.h"
#include "tests/support/panels.h"

namespace decant {
namespace {

ModelConfig tiny() {
  return parse_model_config(
      Json::parse(R"({"model_type": "qwen2", "vocab_size": 96, "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256,
        "tie_word_embeddings": true})"),
      "tiny");
}

std::vector<GenerationRequest> requests(size_t count) {
  std::vector<GenerationRequest> all(count);
  for (size_t n = 0; n < count; ++n) {
    all[n].key = 100 + n;
    for (size_t i = 0; i < 3 + (n * 11) % 70; ++i)
      all[n].prompt.push_back(static_cast<int64_t>(philox(7, n, i)[0] % 96));
  }
  return all;
}

class Batches : public ::testing::TestWithParam<std::tuple<Dtype, bool>> {};

TEST_P(Batches, OneAndSixteenGiveTheSameTokensAndBits) {
  DECANT_NEEDS_PANELS();
  const auto [dtype, greedy] = GetParam();
  const auto model = random_decoder(tiny(), dtype, 1, 0.3);
  SamplingConfig sampling;
  sampling.greedy = greedy;
  sampling.max_new_tokens = 12;
  sampling.temperature = 0.8;
  sampling.top_k = 40;
  sampling.top_p = 0.95;
  sampling.min_p = 0.01;
  sampling.repetition_penalty = 1.1;
  const auto all = requests(20);
  const auto alone = generate(model, all, sampling, {5}, 1),
             together = generate(model, all, sampling, {5}, 16);
  std::set<std::vector<int64_t>> answers;
  for (size_t n = 0; n < all.size(); ++n) {
    EXPECT_EQ(alone[n].tokens, together[n].tokens) << n;
    EXPECT_EQ(alone[n].log_probabilities, together[n].log_probabilities) << n;
    EXPECT_EQ(alone[n].reason, together[n].reason);
    answers.insert(alone[n].tokens);
  }
  EXPECT_GT(answers.size(), 10u);
}

INSTANTIATE_TEST_SUITE_P(All, Batches,
                         ::testing::Combine(::testing::Values(Dtype::kFp32, Dtype::kBf16),
                                            ::testing::Bool()));

TEST(Generate, StopsAtIdsCallbacksAndLengthAndReportsRawLogProbabilities) {
  const auto model = random_decoder(tiny(), Dtype::kFp32, 1, 0.3);
  SamplingConfig sampling;
  sampling.max_new_tokens = 8;
  const auto all = requests(1);
  const auto whole = generate(model, all, sampling, {})[0];
  EXPECT_EQ(whole.reason, StopReason::kLength);
  ASSERT_EQ(whole.tokens.size(), 8u);
  auto document = all[0].prompt;
  document.insert(document.end(), whole.tokens.begin(), whole.tokens.end());
  const auto scores = score(model, {document})[0];
  for (size_t i = 0; i < 8; ++i) EXPECT_NEAR(scores[scores.size() - 8 + i], whole.log_probabilities[i], 1e-4);
  const auto stopped = generate(model, all, sampling, {whole.tokens[0]})[0];
  EXPECT_EQ(stopped.reason, StopReason::kStopToken);
  EXPECT_EQ(stopped.tokens.size(), 1u);
  const auto called = generate(model, all, sampling, {}, 16,
                               [](size_t, const auto& tokens) { return tokens.size() == 3; })[0];
  EXPECT_EQ(called.reason, StopReason::kStopString);
  EXPECT_EQ(called.tokens.size(), 3u);
}

TEST(Generate, WrongRequestsAreErrors) {
  const auto model = random_decoder(tiny(), Dtype::kFp32, 1);
  SamplingConfig sampling;
  sampling.max_new_tokens = 8;
  EXPECT_ERROR(generate(model, {{{}, 0}}, sampling, {}), "prompt 0 is empty");
  EXPECT_ERROR(generate(model, {{{96}, 0}}, sampling, {}), "outside the model's vocabulary of 96");
  EXPECT_ERROR(generate(model, {{{-1}, 0}}, sampling, {}), "outside the model's vocabulary of 96");
  EXPECT_ERROR(generate(model, {{std::vector<int64_t>(249, 1), 0}}, sampling, {}), "do not fit");
  sampling.temperature = 0;
  EXPECT_ERROR(generate(model, {{{1}, 0}}, sampling, {}), "'temperature': must be above 0");
}

// Edges of transformers' warpers, worked by hand on probabilities 1/2, 1/4, 1/8, 1/8.
TEST(Sampling, KeepsWhatTransformersKeeps) {
  const std::vector<float> scores = {std::log(0.125f), std::log(0.5f), std::log(0.125f), std::log(0.25f)};
  const auto kept = [&](int64_t k, double p, double m) {
    SamplingConfig c;
    c.top_k = k, c.top_p = p, c.min_p = m;
    std::vector<int64_t> ids;
    for (const auto& one : kept_candidates(scores, c)) ids.push_back(one.token);
    return ids;
  };
  using Ids = std::vector<int64_t>;
  EXPECT_EQ(kept(0, 1, 0), Ids({0, 1, 2, 3}));
  EXPECT_EQ(kept(1, 1, 0), Ids({1}));
  EXPECT_EQ(kept(3, 1, 0), Ids({0, 1, 2, 3}));  // ties with the k-th stay
  EXPECT_EQ(kept(9, 1, 0), Ids({0, 1, 2, 3}));
  EXPECT_EQ(kept(0, 0.6, 0), Ids({1, 3}));
  EXPECT_EQ(kept(0, 0, 0), Ids({1}));
  EXPECT_EQ(kept(0, 1, 0.4), Ids({1, 3}));
  EXPECT_EQ(kept(0, 1, 1), Ids({1}));
}

TEST(Sampling, DrawFollowsTheDistribution) {
  const std::vector<Candidate> candidates = {{3, std::log(0.5f)}, {7, std::log(0.25f)}, {9, std::log(0.25f)}};
  EXPECT_EQ(draw(candidates, 0.0), 3);
  EXPECT_EQ(draw(candidates, 0.49), 3);
  EXPECT_EQ(draw(candidates, 0.51), 7);
  EXPECT_EQ(draw(candidates, 0.999999), 9);
}

TEST(Sampling, PenaltyCountsATokenOnce) {
  std::vector<float> scores = {2, -2, 2};
  const std::vector<int64_t> seen = {0, 1, 0, 1};
  apply_repetition_penalty(scores, seen, 2);
  EXPECT_EQ(scores, std::vector<float>({1, -4, 2}));
}

}  // namespace
}  // namespace decant
