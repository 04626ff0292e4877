// Recipes: every one in the tree reads and validates, help covers every key, and what is written reads back.
#include "recipes/recipe_config.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "core/file.h"
#include "recipes/built_in.h"
#include "recipes/possible_adapters.h"
#include "tests/support/expect_error.h"

namespace decant {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSmall =
    "name: a\nperiod: 2026-10\nmodel:\n  path: m\ncorpus:\n  inputs: [c.jsonl]\nlora:\n  tenants: [x]\n";

LoadedRecipe parse(const std::string& yaml, const std::vector<std::string>& overrides = {}) {
  return parse_recipe(parse_settings(yaml, "r.yaml"), "folder/r.yaml", overrides);
}

TEST(Recipes, EveryRecipeInTheTreeReadsAndValidates) {
  int seen = 0;
  for (const auto& entry : fs::recursive_directory_iterator("recipes")) {
    if (entry.path().extension() != ".yaml") continue;
    ++seen;
    EXPECT_NO_THROW(load_recipe(entry.path(), {})) << entry.path();
  }
  EXPECT_EQ(seen, 2);
  EXPECT_EQ(built_in_recipes().size(), 2U);
  for (const auto& recipe : built_in_recipes()) {
    EXPECT_EQ(recipe.text, read_file("recipes/" + recipe.name + ".yaml"));
    EXPECT_EQ(recipe.text.substr(0, 2), "# ") << recipe.name << ": the first line says what it is for";
  }
}

TEST(Recipes, TheBasesQuantizationIsOneOfFour) {
  EXPECT_EQ(parse(kSmall).recipe.lora->quantize, Quantization::kNone);
  EXPECT_EQ(parse(kSmall, {"lora.quantize=nf4_dq"}).recipe.lora->quantize, Quantization::kNf4Dq);
  EXPECT_ERROR(parse(kSmall, {"lora.quantize=fp4"}), "none, int8, nf4");
}

// Every key of every section, by dotted name, as the resolved recipe writes it.
void keys_of(const Setting& section, const std::string& path, std::set<std::string>& keys) {
  for (const auto& [key, value] : section.members) {
    keys.insert(dotted(path, key));
    keys_of(value, dotted(path, key), keys);
  }
}

TEST(Recipes, HelpCoversEveryKeyAndOnlyThose) {
  const std::string help = help_text("");
  std::set<std::string> keys;
  for (const char* file : {"recipes/quickstart/monthly.yaml", "recipes/tiny/monthly.yaml"}) {
    const auto loaded = load_recipe(file, {"train={steps: 1}"});
    keys_of(parse_settings(resolved_recipe(loaded), "resolved"), "", keys);
  }
  EXPECT_GT(keys.size(), 120U);
  std::set<std::string> helped;
  for (size_t begin = 0; begin < help.size(); begin = help.find('\n', begin) + 1) {
    const std::string key = help.substr(begin, help.find(' ', begin) - begin);
    // Of lists and maps that both recipes leave empty there is nothing to compare with.
    if (key.find("[]") == std::string::npos && key.find("<name>") == std::string::npos) helped.insert(key);
  }
  EXPECT_EQ(keys, helped);
}

TEST(Recipes, TheResolvedRecipeReadsBackToItself) {
  for (const char* file : {"recipes/quickstart/monthly.yaml", "recipes/tiny/monthly.yaml"}) {
    const auto loaded = load_recipe(file, {"lora.alpha=0.1", "distill.generate.sampling.temperature=0.7"});
    const std::string text = resolved_recipe(loaded);
    const auto again = parse_recipe(parse_settings(text, "again"), "elsewhere/again.yaml", {});
    EXPECT_EQ(resolved_recipe(again), text);
    EXPECT_EQ(again.recipe.lora->lora.alpha, 0.1);
  }
}

TEST(Recipes, CommandLineGoesBeforeTheFileAndItsPathsAreOfTheCurrentFolder) {
  const auto loaded = parse(kSmall, {"lora.rank=4", "model.path=here"});
  EXPECT_EQ(loaded.recipe.lora->lora.rank, 4);
  EXPECT_EQ(loaded.recipe.model.path, fs::absolute("here").string());
  EXPECT_EQ(loaded.resolve(loaded.recipe.corpus->inputs[0]), fs::path("folder/c.jsonl"));
  EXPECT_FALSE(parse(kSmall, {"lora=null"}).recipe.lora);
}

TEST(Recipes, MistakesAreNamedWithTheirPlace) {
  const std::string small = kSmall;
  EXPECT_ERROR(parse(small + "  rnak: 4\n"),
               "r.yaml:9:3: unknown key 'lora.rnak' (did you mean 'lora.rank'?)");
  EXPECT_ERROR(parse(small + "  rank: no\n"), "r.yaml:9:9: 'lora.rank' must be a whole number, found 'no'");
  EXPECT_ERROR(parse("name: a\nmodel:\n  path: m\n"), "'period' is missing");
  EXPECT_ERROR(parse("name: a\nperiod: 2026-13\nmodel:\n  path: m\n"), "must be YYYY-MM");
  EXPECT_ERROR(parse("name: a\nperiod: 2026-10\n"), "'model' is missing");
  EXPECT_ERROR(parse("name: ../a\nperiod: 2026-10\nmodel:\n  path: m\n"), "usable as a folder's name");
  EXPECT_ERROR(parse(small + "  model: \"@distil\"\n"), "found '@distil' (did you mean 'distill'?)");
  EXPECT_ERROR(parse(small + "  model: \"@distill\"\n"), "the recipe has no section 'distill'");
  EXPECT_ERROR(parse(small + "evaluate:\n"), "section 'evaluate' is empty: write 'evaluate: {}'");
  EXPECT_ERROR(parse("name: a\nperiod: 2026-10\nmodel:\n  path: m\nlora:\n  tenants: [x]\n"),
               "no section 'corpus'");
  EXPECT_ERROR(parse(small + "export:\n  model: \"@model\"\n", {"lora.model=other"}),
               "expected the same model");
}

// Overrides and candidates are checked as the section itself is, before anything is read, and named by their
// own line.
TEST(Recipes, ChecksWalkEveryAdapterThatARecipeCanHave) {
  const std::string every =
      "name: a\nperiod: 2026-10\nmodel:\n  path: m\ncorpus:\n  inputs: [c.jsonl]\nlora:\n  tenants: "
      "[\"*\"]\n";
  for (const std::string& recipe : {std::string(kSmall), every}) {
    EXPECT_ERROR(parse(recipe + "  overrides:\n    x:\n      train:\n        objective: dpo\n"),
                 "r.yaml:12:9: 'lora.overrides.x.train.objective' compares answers");
    EXPECT_ERROR(parse(recipe + "  candidates:\n    c:\n      train: {objective: kto}\n"),
                 "r.yaml:11:15: 'lora.candidates.c.train.objective' compares answers");
    EXPECT_ERROR(parse(recipe + "  overrides: {x: {dora: true}}\nexport: {}\n"),
                 "'lora.overrides.x.dora' is true, but vLLM and llama.cpp refuse DoRA adapters");
    // Without a release they may be of different kinds.
    EXPECT_NO_THROW(parse(recipe + "  overrides: {x: {dora: true}}\n"));
  }
  const std::vector<std::string> pairs = {"corpus.preference=pairs"};
  EXPECT_ERROR(
      parse(every + "  train: {objective: dpo}\n  overrides: {x: {train: {objective: orpo}}}\n", pairs),
      "'lora.train.objective' differs from r.yaml:10:27: 'lora.overrides.x.train.objective'");
  EXPECT_ERROR(
      parse(every + "  train: {objective: dpo}\n  overrides: {x: {train: {preference: {beta: 0.7}}}}\n",
            pairs),
      "adapters that train together have one objective");
  EXPECT_ERROR(
      parse(every + "  train: {objective: dpo}\n  overrides: {x: {train: {objective: sft}}}\n", pairs),
      "'lora.overrides.x.train.objective' is sft, which learns every answer");
  // What every tenant overrides is nobody's.
  EXPECT_NO_THROW(parse(std::string(kSmall) + "  dora: true\n  overrides: {x: {dora: false}}\nexport: {}\n"));

  const auto jobs = possible_adapters(*parse(every + "  overrides: {x: {rank: 4}}\n").recipe.lora);
  ASSERT_EQ(jobs.size(), 2U);
  EXPECT_EQ(jobs[0].tenant, "x");
  EXPECT_EQ(jobs[0].settings.lora.rank, 4);
  EXPECT_EQ(jobs[1].tenant, kEveryTenant);
}

TEST(Recipes, StartsAreOfTheRecipesFolderAndStaySoWhenResolved) {
  const std::string recipe =
      std::string(kSmall) + "  start: may/{tenant}\n  overrides: {x: {start: other}}\n";
  const auto loaded = parse(recipe);
  const auto again =
      parse_recipe(parse_settings(resolved_recipe(loaded), "resolved"), "elsewhere/r.yaml", {});
  EXPECT_EQ(again.recipe.lora->lora.start, fs::absolute("folder/may/{tenant}"));
  EXPECT_EQ(possible_adapters(*again.recipe.lora).front().settings.lora.start, fs::absolute("folder/other"));
  EXPECT_EQ(parse(kSmall, {"lora.start=here"}).recipe.lora->lora.start, fs::absolute("here"));
  EXPECT_ERROR(start_adapter(loaded, possible_adapters(*loaded.recipe.lora).front()),
               "r.yaml:10:19: 'lora.overrides.x.start': there is no adapter in folder/other");
}

}  // namespace
}  // namespace decant
