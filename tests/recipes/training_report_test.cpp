// What a training leaves for people: samples before and after, curves, held-out figures by tenant and source;
// all of it in the step's folder, and gone when a customer is erased.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "core/json.h"
#include "tests/support/run_decant.h"
#include "tests/support/shared.h"

namespace decant::test {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;

// The tiny recipe, its corpus as two named sources, of which one has a customer who writes markup.
class TrainingReport : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = fs::temp_directory_path() / concat("decant-training-report-", ::getpid());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    const fs::path tiny = fs::absolute("recipes/tiny");
    std::string shop;
    for (int i = 0; i < 40; ++i)
      shop += Json{{"id", concat("m", i)},
                   {"tenant", "acme"},
                   {"period", "2026-10"},
                   {"customer", concat("markup-", i)},
                   {"messages",
                    {{{"role", "user"}, {"content", concat("<script>alert(", i, ")</script> & \"saw\"?")}},
                     {{"role", "assistant"}, {"content", concat("Order ", i, " <b>is</b> on its way.")}}}}}
                  .dump() +
              "\n";
    spill(folder_ / "shop.jsonl", shop);
    spill(folder_ / "r.yaml", concat(R"(name: report
period: 2026-10
model:
  random: {tokenizer: )",
                                     (tiny / "tokenizer").string(), R"(, num_hidden_layers: 2, deviation: 0.1}
corpus:
  sources:
    - {name: shop, paths: [shop.jsonl]}
    - {name: desk, paths: [)",
                                     (tiny / "corpus/*.jsonl").string(), R"(]}
  sequence_length: 128
  held_out_fraction: 0.2
  filter: {presets: []}
  duplicates: {near: false}
train:
  steps: 6
  probe: {every: 3}
  samples: {questions: 3, tokens: 8, at_probes: true}
  batch: {tokens_per_step: 256, tokens_per_micro_batch: 256}
lora:
  tenants: [acme]
  rank: 4
  train:
    steps: 4
    samples: {questions: 30, tokens: 8}
    batch: {tokens_per_step: 256, tokens_per_micro_batch: 256}
)"));
    ran_ = run_decant({"run", "r.yaml", "--threads", "1"}, {folder_});
    ASSERT_EQ(ran_.status, 0) << ran_.err;
  }
  static void TearDownTestSuite() { fs::remove_all(folder_); }
  static fs::path step(const std::string& name) { return folder_ / "runs/report/2026-10" / name; }

  static inline fs::path folder_;
  static inline Ran ran_;
};

TEST_F(TrainingReport, HasSamplesCurvesAndNothingFromElsewhere) {
  const Json samples = read_json(step("train/model") / "samples.json");
  ASSERT_EQ(samples["questions"].size(), 3U);
  EXPECT_EQ(samples["questions"][0]["tenant"], "acme");
  EXPECT_EQ(samples["questions"][1]["tenant"], "zen") << "tenants take turns";
  std::vector<std::string> when;
  for (const auto& [name, answers] : samples["answers"].items()) {
    when.push_back(name);
    EXPECT_EQ(answers.size(), 3U);
  }
  EXPECT_EQ(when, (std::vector<std::string>{"before", "step 3", "step 6", "after"}));
  EXPECT_EQ(samples["answers"]["step 6"], samples["answers"]["after"]);
  EXPECT_NE(samples["answers"]["before"], samples["answers"]["after"]);

  const std::string page = slurp(step("train/model") / "report.html");
  for (const char* title : {"<h3>loss", "held-out loss by tenant", "held-out loss by source", "learning rate",
                            "gradient norm", "tokens a second", "MFU", "resident memory", "<h2>Samples"})
    EXPECT_THAT(page, HasSubstr(title));
  EXPECT_THAT(page, Not(HasSubstr("http")));
  EXPECT_THAT(page, Not(HasSubstr("<script")));
  EXPECT_THAT(page, Not(HasSubstr("src=")));
  EXPECT_THAT(ran_.err, HasSubstr("MFU is the share of that rate"));
  EXPECT_THAT(ran_.err, Not(HasSubstr("alert("))) << "customers' text stays out of the log";
  EXPECT_THAT(slurp(folder_ / "runs/report/2026-10/log.jsonl"), Not(HasSubstr("alert(")));
}

TEST_F(TrainingReport, ASecondRunDoesNothingAndAnotherNumberOfSamplesIsNoReasonToTrainAgain) {
  const Ran again = run_decant({"run", "r.yaml", "--threads", "1", "train.samples.questions=1"}, {folder_});
  EXPECT_EQ(again.status, 0) << again.err;
  EXPECT_EQ(again.out.substr(0, 13), "nothing to do") << again.out;
}

TEST_F(TrainingReport, HeldOutFiguresAreByTenantAndSource) {
  std::istringstream lines(slurp(step("train/model") / "metrics.jsonl"));
  int probes = 0;
  for (std::string text; std::getline(lines, text);) {
    const Json line = Json::parse(text);
    if (!line.contains("probe")) continue;
    ++probes;
    const Json& probe = line["probe"];
    for (const char* kind : {"tenants", "sources"}) ASSERT_EQ(probe[kind].size(), 2U) << text;
    const double all = probe["held_out_loss"], acme = probe["tenants"]["acme"]["held_out_loss"],
                 zen = probe["tenants"]["zen"]["held_out_loss"],
                 shop = probe["sources"]["shop"]["held_out_loss"],
                 desk = probe["sources"]["desk"]["held_out_loss"];
    // Both divisions are of the same tokens: the whole lies between the parts of either.
    EXPECT_GT(std::max(acme, zen), all);
    EXPECT_LT(std::min(acme, zen), all);
    EXPECT_GT(std::max(shop, desk), all);
    EXPECT_LT(std::min(shop, desk), all);
    EXPECT_NE(shop, acme);
    for (const char* key : {"bits_per_byte", "accuracy"}) EXPECT_TRUE(probe["sources"]["shop"].contains(key));
  }
  EXPECT_EQ(probes, 2);
}

// Last: it takes a customer away.
TEST_F(TrainingReport, ZErasingACustomerTakesTheSamplesAway) {
  const Json samples = read_json(step("lora/acme") / "samples.json");
  std::string id;
  for (const Json& question : samples["questions"])
    if (question["id"].get<std::string>().starts_with("m")) id = question["id"].get<std::string>().substr(1);
  ASSERT_FALSE(id.empty()) << "a held-out question of the shop's is among the samples";
  const Ran ran = run_decant({"erase", "r.yaml", "--threads", "1", "--customer", "markup-" + id}, {folder_});
  EXPECT_EQ(ran.status, 0) << ran.err;
  for (const char* name : {"lora/acme", "train/model"}) {
    EXPECT_FALSE(fs::exists(step(name) / "samples.json")) << name;
    EXPECT_FALSE(fs::exists(step(name) / "report.html")) << name;
    EXPECT_TRUE(fs::exists(step(name) / "manifest.json")) << name;
  }
}

}  // namespace
}  // namespace decant::test
