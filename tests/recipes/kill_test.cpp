// The tiny recipe, killed (SIGKILL) at twenty moments spread over all steps and run again to the end: the
// bytes of an undisturbed run.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>

#include "core/random.h"
#include "tests/support/run_decant.h"
#include "tests/support/shared.h"

namespace decant::test {
namespace {

namespace fs = std::filesystem;

const std::vector<std::string> kRun = {"run", fs::absolute("recipes/tiny/monthly.yaml").string(), "--threads",
                                       "1"};

// What a run may differ in: times, and the places that hold them.
bool holds_times(const fs::path& path) {
  const std::string name = path.filename().string();
  return name == "timing.jsonl" || name == "log.jsonl" || name == "report.html" || name == "speed.json" ||
         name == ".lock" || name.starts_with("events.out.tfevents");
}

std::map<std::string, std::string> bytes_below(const fs::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    if (entry.is_regular_file() && !holds_times(entry.path()))
      files[fs::relative(entry.path(), folder).string()] = slurp(entry.path());
  return files;
}

TEST(Kill, TwentyKillsLeaveTheBytesOfAnUndisturbedRun) {
  const fs::path scratch = scratch_folder();
  fs::create_directories(scratch / "calm");
  fs::create_directories(scratch / "killed");
  const auto begin = std::chrono::steady_clock::now();
  const Ran calm = run_decant(kRun, {scratch / "calm"});
  const auto whole =
      std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begin);
  ASSERT_EQ(calm.status, 0) << calm.err;
  const auto expected = bytes_below(scratch / "calm" / "runs");
  EXPECT_GT(expected.size(), 40U);

  // A kill at a random moment of what is still to do; work that was done before it counts, so that the kills
  // spread over all steps.
  int killed = 0;
  auto step = static_cast<double>(whole.count()) / 10;
  for (int i = 0; i < 20; ++i) {
    RunOptions options{scratch / "killed"};
    options.kill = std::chrono::milliseconds(
        200 +
        static_cast<int64_t>(step * uniform(7, purpose_stream(Purpose::kTest, 1), static_cast<uint64_t>(i))));
    const Ran ran = run_decant(kRun, options);
    ASSERT_TRUE(ran.status == 128 + SIGKILL || ran.status == 0) << ran.status << ran.err;
    killed += ran.status == 128 + SIGKILL ? 1 : 0;
    // Finished early: begin anew, so that every kill meets a run at work, and earlier, for the calm run may
    // have met a moment when the machine was slow.
    if (ran.status == 0) {
      fs::remove_all(scratch / "killed" / "runs");
      step *= 0.6;
    }
  }
  EXPECT_GE(killed, 15);
  const Ran last = run_decant(kRun, {scratch / "killed"});
  ASSERT_EQ(last.status, 0) << last.err;
  const auto found = bytes_below(scratch / "killed" / "runs");
  std::vector<std::string> names;
  for (const auto& [name, bytes] : expected) names.push_back(name);
  std::vector<std::string> found_names;
  for (const auto& [name, bytes] : found) found_names.push_back(name);
  EXPECT_EQ(found_names, names);
  for (const auto& [name, bytes] : expected) {
    if (found.count(name) == 0) continue;
    EXPECT_TRUE(found.at(name) == bytes) << name << " differs";
  }

  const Ran again = run_decant(kRun, {scratch / "killed"});
  EXPECT_EQ(again.status, 0);
  EXPECT_EQ(again.out.substr(0, 13), "nothing to do");
}

TEST(Steps, OneVerbAStepAndTheMissingOneIsNamed) {
  const fs::path scratch = scratch_folder();
  const std::string recipe = kRun[1];
  const Ran early = run_decant({"lora", recipe, "--threads", "1"}, {scratch});
  EXPECT_EQ(early.status, 1);
  EXPECT_NE(early.err.find("step 'corpus' is not done"), std::string::npos) << early.err;
  EXPECT_NE(early.err.find("decant prepare "), std::string::npos) << early.err;
  for (const char* verb : {"prepare", "distill", "lora", "evaluate", "export"}) {
    const Ran ran = run_decant({verb, recipe, "--threads", "1"}, {scratch});
    EXPECT_EQ(ran.status, 0) << verb << ": " << ran.err;
  }
  const Ran all = run_decant(kRun, {scratch});
  EXPECT_EQ(all.status, 0) << all.err;
  EXPECT_EQ(all.out.substr(0, 13), "nothing to do");
}

TEST(Plan, StartsNothing) {
  const fs::path scratch = scratch_folder();
  const Ran plan = run_decant({"plan", kRun[1]}, {scratch});
  EXPECT_EQ(plan.status, 0) << plan.err;
  for (const char* part :
       {"# resolved recipe", "rank: 8", "distill/student", "lora/zen", "trainable", "Nothing was started"})
    EXPECT_NE(plan.out.find(part), std::string::npos) << part;
  EXPECT_FALSE(fs::exists(scratch / "runs"));
}

TEST(Gate, SaysNoWithTheNumbers) {
  const fs::path scratch = scratch_folder();
  // No learning: the student cannot be better than before, to the last bit.
  const Ran ran = run_decant({"run", kRun[1], "--threads", "1", "distill.train.optimizer.learning_rate=1e-30",
                              "distill.train.steps=1", "lora=null"},
                             {scratch});
  EXPECT_EQ(ran.status, 3) << ran.err;
  EXPECT_NE(ran.err.find("held-out bits per byte"), std::string::npos) << ran.err;
  EXPECT_FALSE(fs::exists(scratch / "runs/tiny/2026-10/export"));
}

}  // namespace
}  // namespace decant::test
