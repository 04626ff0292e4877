// The adapters of a recipe: side by side or one after another they are the same files; overrides, candidates
// and a tenant whose data is bad.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "tests/support/run_decant.h"
#include "tests/support/shared.h"

namespace decant::test {
namespace {

namespace fs = std::filesystem;

// Model and corpus once, in `scratch`; the adapters of each case in a copy.
class Adapters : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    prepared_ = fs::temp_directory_path() / concat("decant-adapters-", ::getpid());
    fs::create_directories(prepared_);
    const Ran ran =
        run_decant({"prepare", recipe(), "--threads", "1", "distill=null", "lora.model=@model"}, {prepared_});
    ASSERT_EQ(ran.status, 0) << ran.err;
  }
  static void TearDownTestSuite() { fs::remove_all(prepared_); }
  static std::string recipe() { return fs::absolute("recipes/tiny/monthly.yaml").string(); }
  void SetUp() override { scratch_ = scratch_folder(); }
  fs::path copy(const std::string& name) const {
    const fs::path to = scratch_ / name;
    fs::create_directories(to);
    fs::copy(prepared_ / "runs", to / "runs", fs::copy_options::recursive);
    return to;
  }
  static Ran lora(const fs::path& in, std::vector<std::string> settings) {
    std::vector<std::string> words = {
        "lora", recipe(), "--threads", "1", "distill=null", "lora.model=@model", "lora.train.steps=6"};
    words.insert(words.end(), settings.begin(), settings.end());
    return run_decant(words, {in});
  }
  static fs::path step(const fs::path& in, const std::string& name) {
    return in / "runs/tiny/2026-10/lora" / name;
  }
  static void expect_same(const fs::path& a, const fs::path& b) {
    for (const char* file : {"adapter/adapter_model.safetensors", "adapter/adapter_config.json",
                             "metrics.jsonl", "manifest.json"})
      EXPECT_TRUE(slurp(a / file) == slurp(b / file)) << a / file;
  }
  static inline fs::path prepared_;
  fs::path scratch_;
};

TEST_F(Adapters, TogetherOrOneAfterAnotherGivesTheSameFiles) {
  const auto alone = copy("alone"), together = copy("together");
  const Ran first = lora(alone, {"lora.together.slots=1"});
  ASSERT_EQ(first.status, 0) << first.err;
  const Ran second = lora(together, {"lora.tenants=[\"*\"]", "lora.together.tokens_per_pass=4096"});
  ASSERT_EQ(second.status, 0) << second.err;
  for (const char* tenant : {"acme", "zen"}) expect_same(step(alone, tenant), step(together, tenant));
  // How they share the base is no reason to train again.
  const Ran again = lora(alone, {"lora.together.slots=2"});
  EXPECT_EQ(again.out.substr(0, 13), "nothing to do") << again.out;
}

TEST_F(Adapters, OverridesAreATenantsOwn) {
  const auto plain = copy("plain"), changed = copy("changed"), files = copy("files");
  ASSERT_EQ(lora(plain, {}).status, 0);
  const Ran ran = lora(changed, {"lora.overrides={zen: {rank: 4, train: {steps: 5}}}"});
  ASSERT_EQ(ran.status, 0) << ran.err;
  expect_same(step(plain, "acme"), step(changed, "acme"));
  const Json config = read_json(step(changed, "zen") / "adapter/adapter_config.json");
  EXPECT_EQ(config["r"], 4);
  const std::string metrics = slurp(step(changed, "zen") / "metrics.jsonl");
  EXPECT_EQ(std::count(metrics.begin(), metrics.end(), '\n'), 5);

  // The same from a folder of tenants.
  fs::create_directories(files / "tenants");
  write_file(files / "tenants/acme.yaml", "");
  write_file(files / "tenants/zen.yaml", "rank: 4\ntrain:\n  steps: 5\n");
  const Ran from_files = lora(files, {"lora.tenants=[]", "lora.tenant_files=tenants"});
  ASSERT_EQ(from_files.status, 0) << from_files.err;
  for (const char* tenant : {"acme", "zen"}) expect_same(step(changed, tenant), step(files, tenant));

  const Ran wrong = lora(files, {"lora.overrides={zen: {rnak: 4}}"});
  EXPECT_EQ(wrong.status, 1);
  EXPECT_NE(wrong.err.find("unknown key 'lora.overrides.zen.rnak' (did you mean 'lora.overrides.zen.rank'?)"),
            std::string::npos)
      << wrong.err;
  const Ran nobody = lora(files, {"lora.overrides={zem: {rank: 4}}"});
  EXPECT_NE(nobody.err.find("'lora.overrides.zem' is for no tenant of 'lora.tenants' (did you mean 'zen'?)"),
            std::string::npos)
      << nobody.err;
  // What the model or the corpus refuses is told before anything is trained, also where only a tenant says
  // it.
  for (const auto& [setting, text] : std::vector<std::pair<std::string, std::string>>{
           {"{zen: {targets: [q_porj]}}",
            "'lora.overrides.zen.targets': no linear of the model is called 'q_porj'"},
           {"{zen: {layers: [9]}}",
            "'lora.overrides.zen.layers': the model has no layer 9; its layers are 0 to 3"},
           {"{zen: {start: nowhere}}", "'lora.overrides.zen.start': there is no adapter in "},
           {"{zen: {train: {batch: {tokens_per_step: 8}}}}",
            "'lora.overrides.zen.train.batch.tokens_per_step' is 8"}})
    for (const char* tenants : {"[acme, zen]", "[\"*\"]"}) {
      const Ran early = lora(files, {concat("lora.tenants=", tenants), "lora.overrides=" + setting});
      EXPECT_EQ(early.status, 1) << setting;
      EXPECT_NE(early.err.find(text), std::string::npos) << early.err;
      EXPECT_EQ(early.err.find("starting"), std::string::npos) << early.err;
    }
  const Ran unknown = lora(files, {"lora.tenants=[acme, zenn]"});
  EXPECT_NE(unknown.err.find("the corpus has no tenant 'zenn' (did you mean 'zen'?); it has acme, zen"),
            std::string::npos)
      << unknown.err;
}

TEST_F(Adapters, TheBestCandidateIsKept) {
  const auto at = copy("candidates");
  const Ran ran =
      lora(at, {"lora.candidates={slow: {train: {optimizer: {learning_rate: 1e-7}}}, fast: {rank: 4}}"});
  ASSERT_EQ(ran.status, 0) << ran.err;
  for (const std::string tenant : {"acme", "zen"}) {
    const Json figures = read_json(step(at, tenant) / "manifest.json")["figures"];
    EXPECT_EQ(figures["candidate"], "fast");
    EXPECT_LT(figures["held_out_losses"]["fast"].get<double>(),
              figures["held_out_losses"]["slow"].get<double>());
    EXPECT_TRUE(slurp(step(at, tenant) / "adapter/adapter_model.safetensors") ==
                slurp(step(at, tenant) / "candidates/fast/adapter/adapter_model.safetensors"));
  }
  const Ran again =
      lora(at, {"lora.candidates={slow: {train: {optimizer: {learning_rate: 1e-7}}}, fast: {rank: 4}}"});
  EXPECT_EQ(again.out.substr(0, 13), "nothing to do") << again.out;
}

TEST_F(Adapters, ATenantThatFailsDoesNotTakeTheOthersAlong) {
  const auto good = copy("good"), bad = copy("bad");
  ASSERT_EQ(lora(good, {}).status, 0);
  const Ran ran =
      lora(bad, {"lora.overrides={acme: {train: {optimizer: {learning_rate: 1e30, max_gradient_norm: 0}}}}"});
  EXPECT_EQ(ran.status, 1);
  EXPECT_NE(ran.err.find("1 of 2 adapters could not be trained, the others are done and kept"),
            std::string::npos)
      << ran.err;
  EXPECT_NE(ran.err.find("lora/acme: step "), std::string::npos) << ran.err;
  EXPECT_FALSE(fs::exists(step(bad, "acme") / "manifest.json"));
  expect_same(step(good, "zen"), step(bad, "zen"));
  // With the setting put right only the tenant that failed is trained.
  const Ran mended = lora(bad, {});
  ASSERT_EQ(mended.status, 0) << mended.err;
  EXPECT_NE(mended.err.find("lora/zen: nothing to do"), std::string::npos) << mended.err;
  expect_same(step(good, "acme"), step(bad, "acme"));
}

}  // namespace
}  // namespace decant::test
