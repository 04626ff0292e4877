// The tokens and scores that transformers' own processors leave (tests/golden/make_sampling.py).
#include <gtest/gtest.h>

#include "core/json.h"
#include "core/model/sampling.h"

namespace decant {
namespace {

TEST(SamplingGolden, KeepsTheTokensAndScoresThatTransformersKeeps) {
  const Json golden = read_json("tests/golden/sampling.json");
  size_t alone = 0, some = 0;
  for (const Json& one : golden.at("cases")) {
    SamplingConfig sampling;
    sampling.temperature = one.at("temperature");
    sampling.top_k = one.at("top_k");
    sampling.top_p = one.at("top_p");
    sampling.min_p = one.at("min_p");
    auto scores = one.at("scores").get<std::vector<float>>();
    apply_repetition_penalty(scores, one.at("seen").get<std::vector<int64_t>>(),
                             one.at("repetition_penalty").get<double>());
    const auto kept = kept_candidates(scores, sampling);
    std::vector<int64_t> ids;
    for (const Candidate& candidate : kept) ids.push_back(candidate.token);
    ASSERT_EQ(ids, one.at("kept").get<std::vector<int64_t>>()) << one.dump();
    for (size_t i = 0; i < kept.size(); ++i)
      EXPECT_NEAR(kept[i].score, one.at("kept_scores")[i].get<double>(), 2e-6) << one.dump();
    ++(ids.size() == 1 ? alone : some);
  }
  EXPECT_EQ(alone + some, 60U);
  EXPECT_GE(some, 30U);  // cases that say little are few
}

}  // namespace
}  // namespace decant
