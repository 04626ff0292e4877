// decant run RECIPE, and one step of it.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <memory>

#include "recipes/chain.h"
#include "recipes/verbs.h"

namespace decant {

namespace {

// Every step survives a kill at any moment, so stopping is leaving: with the status that says "run me again".
// Training replaces this handler by its own, which saves a checkpoint first.
extern "C" void stop_at_signal(int) {
  constexpr char kText[] =
      "\nerror: stopped by a signal; what was done is kept: run the same command again to continue\n";
  (void)!::write(STDERR_FILENO, kText, sizeof kText - 1);
  ::_exit(static_cast<int>(Exit::kTryAgain));
}

Exit run_recipe(const std::string& file, const std::vector<std::string>& overrides, const std::string& only) {
  const LoadedRecipe loaded = load_recipe(file, overrides);
  std::signal(SIGINT, stop_at_signal);
  std::signal(SIGTERM, stop_at_signal);
  run_chain(loaded, only);
  return Exit::kFinished;
}

}  // namespace

void add_run(CLI::App& app, Action& action) {
  const auto add = [&](const char* name, const char* section, const char* help) {
    auto* verb = app.add_subcommand(name, help);
    auto file = std::make_shared<std::string>();
    auto overrides = std::make_shared<std::vector<std::string>>();
    verb->add_option("RECIPE", *file, "YAML file")->required();
    verb->add_option("KEY=VALUE", *overrides, "settings that go before the recipe's, such as lora.rank=8");
    verb->callback([=, &action, only = std::string(section)] {
      action = [=] { return run_recipe(*file, *overrides, only); };
    });
  };
  add("run", "", "every step of a recipe; steps that are done are skipped");
  add("prepare", "corpus", "the corpus step of a recipe: conversations to packed rows");
  add("distill", "distill", "the distillation of a recipe: a smaller student of the model");
  add("train", "train", "the full fine-tune of a recipe");
  add("lora", "lora", "the adapters of a recipe, one for each tenant");
  add("evaluate", "evaluate", "the held-out measurements of a recipe, and its gate");
  add("export", "export", "the release directory of a recipe");
}

}  // namespace decant
