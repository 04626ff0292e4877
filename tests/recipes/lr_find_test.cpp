// decant lr-find: reads a prepared run and leaves it as it was.
#include <gtest/gtest.h>

#include <map>
#include <sstream>

#include "core/file.h"
#include "core/json.h"
#include "tests/support/run_decant.h"
#include "tests/support/shared.h"

namespace decant::test {
namespace {

namespace fs = std::filesystem;

std::map<std::string, std::string> files_of(const fs::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    if (entry.is_regular_file()) files[fs::relative(entry.path(), folder)] = slurp(entry.path());
  return files;
}

std::vector<Json> lines_of(const std::string& text) {
  std::vector<Json> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(parse_json(line, "line"));
  return lines;
}

TEST(LrFind, SuggestsARateAndChangesNothing) {
  const fs::path scratch = scratch_folder();
  const std::string recipe = fs::absolute("recipes/tiny/monthly.yaml").string();
  const auto decant = [&](std::vector<std::string> words) {
    words.insert(words.begin() + 1, {recipe, "--threads", "1", "distill=null", "lora.model=@model"});
    return run_decant(words, {scratch});
  };
  const Ran early = decant({"lr-find"});
  EXPECT_EQ(early.status, 1);
  EXPECT_NE(early.err.find("its corpus is not prepared; run: decant prepare"), std::string::npos)
      << early.err;
  EXPECT_FALSE(fs::exists(scratch / "runs"));
  ASSERT_EQ(decant({"prepare"}).status, 0);
  const auto before = files_of(scratch / "runs");

  const Ran ran = decant({"lr-find", "--steps", "20", "--lowest", "1e-4", "--tenant", "zen"});
  ASSERT_EQ(ran.status, 0) << ran.err;
  const auto lines = lines_of(ran.out);
  ASSERT_GE(lines.size(), 12U);
  EXPECT_NEAR(lines[0]["learning_rate"].get<double>(), 1e-4, 1e-12);
  EXPECT_EQ(lines[0]["step"], 1);
  EXPECT_GT(lines[1]["learning_rate"], lines[0]["learning_rate"]);
  EXPECT_EQ(lines.back()["of"], "lora/zen");
  EXPECT_TRUE(lines.back().contains("suggestion"));
  EXPECT_NE(ran.err.find("lr-find: lora/zen"), std::string::npos) << ran.err;
  EXPECT_EQ(decant({"lr-find", "--steps", "20", "--lowest", "1e-4", "--tenant", "zen"}).out, ran.out);

  // Rows for tokens train, too.
  const Ran rows = decant({"lr-find", "--steps", "15", "--tenant", "zen", "export=null",
                           "lora.trainable_tokens=[<|endoftext|>]"});
  ASSERT_EQ(rows.status, 0) << rows.err;
  EXPECT_EQ(lines_of(rows.out).back()["of"], "lora/zen");

  const Ran full =
      run_decant({"lr-find", recipe, "--threads", "1", "distill=null", "lora=null", "evaluate=null",
                  "export=null", "train.batch.tokens_per_step=512", "--section", "train", "--steps", "15"},
                 {scratch});
  ASSERT_EQ(full.status, 0) << full.err;
  EXPECT_EQ(lines_of(full.out).back()["of"], "train");
  EXPECT_EQ(files_of(scratch / "runs"), before);

  const Ran unknown = decant({"lr-find", "--tenant", "zenn"});
  EXPECT_EQ(unknown.status, 1);
  EXPECT_NE(unknown.err.find("'zenn' is not one of lora.tenants (did you mean 'zen'?)"), std::string::npos)
      << unknown.err;
  EXPECT_EQ(decant({"lr-find", "--section", "train"}).status, 1);
  EXPECT_NE(decant({"lr-find", "--steps", "3"}).err.find("--steps: must lie in 15"), std::string::npos);
}

}  // namespace
}  // namespace decant::test
