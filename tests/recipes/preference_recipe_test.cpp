// Objectives that compare answers, through the program: pairs in, adapters and a fine-tuned model out.
#include <gtest/gtest.h>

#include <algorithm>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "tests/support/run_decant.h"
#include "tests/support/shared.h"

namespace decant::test {
namespace {

namespace fs = std::filesystem;

class PreferenceRecipe : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* products[] = {"kettle", "lamp", "chair", "phone", "bottle", "jacket", "radio", "ladder"};
    std::string lines;
    for (int i = 0; i < 96; ++i) {
      const std::string thing = concat(products[i % 8], " number ", i);
      lines += Json{{"id", concat("p", i)},
                    {"tenant", "acme"},
                    {"customer", concat("c", i)},
                    {"prompt", concat("My ", thing, " is broken. What now?")},
                    {"chosen", concat("I am sorry about the ", thing, ". Send it back, please.")},
                    {"rejected", concat("No idea, ask somebody else about ", thing, ".")}}
                   .dump() +
               "\n";
    }
    at_ = scratch_folder();
    write_file(at_ / "pairs.jsonl", lines);
  }
  Ran run(const std::string& section, std::vector<std::string> settings) const {
    std::vector<std::string> words = {section,
                                      fs::absolute("recipes/tiny/monthly.yaml").string(),
                                      "--threads",
                                      "1",
                                      "distill=null",
                                      "corpus.inputs=[pairs.jsonl]",
                                      "corpus.sequence_length=256",
                                      "corpus.preference=pairs"};
    if (std::find(settings.begin(), settings.end(), "lora=null") == settings.end())
      words.insert(words.end(), {"lora.model=@model", "lora.tenants=[acme]", "lora.train.steps=5"});
    words.insert(words.end(), settings.begin(), settings.end());
    return run_decant(words, {at_});
  }
  fs::path step(const std::string& name) const { return at_ / "runs/tiny/2026-10" / name; }
  static double last(const std::string& metrics, const char* key) {
    const size_t begin = metrics.rfind('\n', metrics.size() - 2);
    return parse_json(metrics.substr(begin == std::string::npos ? 0 : begin + 1), "metrics")[key]
        .get<double>();
  }
  fs::path at_;
};

TEST_F(PreferenceRecipe, TrainsAdaptersWithEveryObjective) {
  ASSERT_EQ(run("prepare", {"lora.train.objective=dpo"}).status, 0);
  for (const std::string kind : {"dpo", "orpo", "kto"}) {
    const Ran ran = run("lora", {"lora.train.objective=" + kind, "lora.dora=true", "export=null",
                                 "lora.b_rate_ratio=4", "lora.train.noise_alpha=2"});
    ASSERT_EQ(ran.status, 0) << ran.err;
    const std::string metrics = slurp(step("lora/acme/metrics.jsonl"));
    EXPECT_GT(last(metrics, "reward_margin"), 0) << metrics;
    EXPECT_EQ(read_json(step("lora/acme/adapter/adapter_config.json"))["use_dora"], true);
  }
}

TEST_F(PreferenceRecipe, FineTunesWithAStoredReference) {
  const Ran ran =
      run("run", {"lora=null", "evaluate=null", "export=null",
                  "train={model: \"@model\", objective: dpo, steps: 4, freeze: ['.*embed_tokens.*'], "
                  "batch: {tokens_per_step: 512, tokens_per_micro_batch: 512}, optimizer: "
                  "{learning_rate: 1e-3}}"});
  ASSERT_EQ(ran.status, 0) << ran.err;
  EXPECT_TRUE(fs::exists(step("train/model/reference.safetensors")));
  EXPECT_GT(last(slurp(step("train/model/metrics.jsonl")), "reward_margin"), 0);
}

TEST_F(PreferenceRecipe, ObjectiveAndCorpusMustAgree) {
  Ran ran = run("prepare", {});
  EXPECT_EQ(ran.status, 1);
  EXPECT_NE(ran.err.find("is sft, which learns every answer"), std::string::npos) << ran.err;
  ran = run("prepare", {"corpus.preference=chosen", "lora.train.objective=dpo"});
  EXPECT_NE(ran.err.find("set 'corpus.preference: pairs'"), std::string::npos) << ran.err;
  ran = run("prepare", {"lora.train.objective=dpo", "lora.dora=true"});
  EXPECT_NE(ran.err.find("refuse DoRA adapters"), std::string::npos) << ran.err;
}

}  // namespace
}  // namespace decant::test
