#include "recipes/chain.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "core/error.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/log.h"
#include "core/tensor_memory.h"
#include "data_pipeline/chat_template.h"
#include "data_pipeline/tokenizer.h"
#include "recipes/memory.h"
#include "recipes/open_model.h"
#include "recipes/training_samples.h"
#include "recipes/verbs.h"
#include "train/trainer.h"

namespace decant {

namespace fs = std::filesystem;

namespace {

const std::vector<std::string> kOrder = {"model", "corpus", "distill", "train", "lora", "evaluate", "export"};

size_t order_of(const std::string& section) {
  return static_cast<size_t>(std::find(kOrder.begin(), kOrder.end(), section) - kOrder.begin());
}

// Whether a step, or one below it, was finished in this folder before.
bool began(const fs::path& folder) {
  if (!fs::is_directory(folder)) return false;
  const fs::recursive_directory_iterator files(folder);
  return std::any_of(begin(files), end(files),
                     [](const auto& entry) { return entry.path().filename() == "manifest.json"; });
}

std::string verb_of(const std::string& section) { return section == "corpus" ? "prepare" : section; }

}  // namespace

const std::vector<std::string>& volatile_files(const std::string& step) {
  static const std::vector<std::string> files = {"timing.jsonl", "events.out.tfevents.decant", "speed.json",
                                                 "checkpoint"};
  static const std::vector<std::string> of_training = [] {
    std::vector<std::string> more = files;
    more.insert(more.end(), {"report.html", kSamplesFile});
    return more;
  }();
  const bool trains = step.starts_with("train/") || step.starts_with("lora/") || step.starts_with("distill/");
  return trains ? of_training : files;
}

Chain::Chain(const LoadedRecipe& l, RunDirectory& r, std::string only)
    : loaded(l), recipe(l.recipe), run(r), only_(std::move(only)) {
  dtype = compute_dtype(recipe);
}

bool Chain::visits(const std::string& section) const {
  return only_.empty() || order_of(section) <= order_of(only_);
}

void Chain::step(const std::string& section, const StepKey& key, uint64_t bytes,
                 const std::function<Json(const fs::path&)>& work) {
  if (begin(section, key, bytes)) finish(key, work(run.step_path(key.step)));
}

bool Chain::begin(const std::string& section, const StepKey& key, uint64_t bytes) {
  const bool may_work = only_.empty() || section == only_ || section == "model";
  if (!may_work && !run.done(key, volatile_files(key.step)))
    fail(run.step_path(key.step).string(), ": step '", section,
         "' is not done, or was done with other settings or inputs; run: decant ", verb_of(section), " ",
         loaded.file.string());
  if (const auto before = run.begin_step(key, volatile_files(key.step))) {
    close(key, *before, false);
    return false;
  }
  check_free_disk(run.step_path(key.step), bytes);
  log_info(key.step, ": starting");
  return true;
}

void Chain::finish(const StepKey& key, Json figures) {
  close(key, run.finish_step(key, std::move(figures), volatile_files(key.step)), true);
}

void Chain::close(const StepKey& key, const Json& manifest, bool ran) {
  worked = worked || ran;
  release_tensor_memory();  // the next step's tensors have other sizes
  log_info(key.step, ran ? ": done" : ": nothing to do");
  figures[key.step] = manifest["figures"];
  remove_checkpoints(run.step_path(key.step));
}

fs::path Chain::model_of(const std::string& model) const {
  const std::string name = reference(model);
  if (name == "model") return model_folder;
  if (name == "distill") return run.step_path("distill/student") / "model";
  if (name == "train") return run.step_path("train/model") / "model";
  return loaded.resolve(model);
}

std::string Chain::digest_of(const std::string& model) const { return digest_path(model_of(model)); }

std::string Chain::digest_of_step(const std::string& step) const {
  return sha256_file(run.step_path(step) / "manifest.json");
}

fs::path Chain::shards(const std::string& split, const std::string& tenant) const {
  return run.step_path("corpus") / "shards" / split / tenant;
}

std::vector<std::string> Chain::tenants() const {
  std::vector<std::string> names;
  const fs::path folder = run.step_path("corpus") / "shards" / "train";
  if (fs::is_directory(folder))
    for (const auto& entry : fs::directory_iterator(folder))
      names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<std::string> Chain::adapter_tenants() const {
  if (!recipe.lora) return {};
  const auto& named = recipe.lora->tenants;
  return named == std::vector<std::string>{kEveryTenant} ? tenants() : named;
}

std::string Chain::tokenizer_sha256() const { return load_tokenizer(model_folder)->sha256(); }

std::string Chain::template_sha256() const { return recipe_chat_template(recipe, model_folder)->sha256(); }

fs::path Chain::conversations(const std::string& split, const std::string& tenant) const {
  return run.step_path("corpus") / "conversations" / split / (tenant + ".jsonl");
}

std::string Chain::precision() const { return dtype == Dtype::kBf16 ? "dtype: bf16\n" : "dtype: fp32\n"; }

std::unique_ptr<ChatTemplate> recipe_chat_template(const Recipe& recipe, const fs::path& model) {
  return recipe.corpus->template_name == "plain" ? plain_template() : open_chat_template(model);
}

void run_chain(const LoadedRecipe& loaded, const std::string& only) {
  const Recipe& recipe = loaded.recipe;
  if (!only.empty()) {
    const bool present = (only == "corpus" && recipe.corpus) || (only == "distill" && recipe.distill) ||
                         (only == "train" && recipe.train) || (only == "lora" && recipe.lora) ||
                         (only == "evaluate" && recipe.evaluate) || (only == "export" && recipe.export_);
    check(present, loaded.file.string(), ": the recipe has no section '", only, "'");
  }
  const ModelConfig config = check_recipe(loaded);
  set_run_threads(at::get_num_threads());
  RunDirectory run(loaded.run_folder());
  open_log_file(run.path() / "log.jsonl");
  write_file(run.path() / "recipe.resolved.yaml", resolved_recipe(loaded));
  log_info("run directory: ", run.path().string());

  Chain chain(loaded, run, only);
  // Before any work: a step later on that cannot fit. (What is done already needs nothing.)
  for (const StepPlan& plan : plan_training(loaded, config, chain.dtype))
    if (chain.visits(plan.section.substr(0, plan.section.find('.'))) && !began(run.step_path(plan.step)))
      check_plan(plan);
  model_step(chain);
  if (recipe.corpus && chain.visits("corpus")) corpus_step(chain);
  if (recipe.distill && chain.visits("distill")) distill_steps(chain);
  if (recipe.train && chain.visits("train")) train_steps(chain);
  if (recipe.lora && chain.visits("lora")) lora_steps(chain);
  if (recipe.evaluate && chain.visits("evaluate")) {
    evaluate_step(chain);
    check_gate(chain);
  }
  if (recipe.export_ && chain.visits("export")) export_step(chain);

  const auto report = make_report(chain);
  write_file(run.path() / "report.html", report_html(recipe.name + " " + recipe.period, report));
  if (!chain.worked) print("nothing to do: every step is done and unchanged\n");
  print(report_text(report));
  close_log_file();
}

}  // namespace decant
