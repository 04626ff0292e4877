// decant lr-find RECIPE: what learning rate a training of the recipe bears (train/rate_search.h). Reads what
// the earlier steps of the run made, and changes nothing of it.
#include <ATen/Parallel.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "core/error.h"
#include "core/log.h"
#include "core/progress.h"
#include "lora/attach.h"
#include "recipes/chain.h"
#include "recipes/memory.h"
#include "recipes/open_model.h"
#include "recipes/training.h"
#include "recipes/verbs.h"
#include "train/rate_search.h"

namespace decant {

namespace fs = std::filesystem;

namespace {

struct SearchArguments {
  std::string recipe, section, tenant;
  std::vector<std::string> overrides;
  RateSearchConfig search;
};

// A folder that goes away with it.
class ScratchFolder {
 public:
  ScratchFolder() {
    std::string name = (fs::temp_directory_path() / "decant-lr-find-XXXXXX").string();
    check(::mkdtemp(name.data()) != nullptr, name, ": cannot be made; set TMPDIR to a folder with space");
    path_ = name;
  }
  ~ScratchFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

// What is searched for: "train", or "lora/<tenant>" as the run's folders are called.
struct Subject {
  std::string name, setting;
  Decoder model;
  std::vector<Parameter*> parameters;
  StepBatches batches;
  TrainConfig config;
};

StepBatches rows_of(const Chain& chain, const fs::path& folder, const TrainConfig& config) {
  return open_batches(folder, config.batch, chain.tokenizer_sha256(), chain.template_sha256(),
                      answers_of(config));
}

void prepare_training(Subject& subject, const Chain& chain, const fs::path& scratch) {
  const TrainSection& section = *chain.recipe.train;
  subject.name = "train";
  subject.setting = "train.optimizer.learning_rate";
  const fs::path start = chain.model_of(section.model);
  const StepPlan plan = plan_full(chain.loaded, chain.dtype, known_model(start));
  accept_plan(plan);
  subject.config = plan.config;
  write_rows(chain, {}, true, scratch / "rows");
  subject.model = load_model(start, chain.dtype);
  make_trainable(subject.model);
  freeze_matching(subject.model, section.freeze, chain.loaded.place("train.freeze"));
  subject.parameters = trainable_parameters(subject.model);
  subject.batches = rows_of(chain, scratch / "rows", subject.config);
  const bool compares = subject.config.objective == ObjectiveKind::kDpo;
  subject.batches = with_references(
      subject.batches, subject.config,
      compares ? stored_reference(subject.model, subject.batches, scratch / "reference.safetensors")
               : Reference(),
      {});
}

void prepare_adapter(Subject& subject, const Chain& chain, const std::string& wanted) {
  const LoraSection& section = *chain.recipe.lora;
  const auto tenants = chain.adapter_tenants();
  check(!tenants.empty(), chain.loaded.place("lora.tenants"), ": names no tenant");
  const std::string tenant = wanted.empty() ? tenants.front() : wanted;
  check(std::find(tenants.begin(), tenants.end(), tenant) != tenants.end(), "--tenant: '", tenant,
        "' is not one of lora.tenants", did_you_mean("", tenant, tenants));
  const fs::path base = chain.model_of(section.model);
  const GroupPlan plan =
      plan_adapters(chain.loaded, chain.dtype, known_model(base), {adapters_of(chain, {tenant}).front()});
  accept_plan(plan.step);
  const AdapterJob& job = plan.jobs.front();
  subject.name = job.step();
  subject.setting = "lora.train.optimizer.learning_rate";
  subject.config = training_of(job);
  subject.model = load_model(base, chain.dtype, adapter_base(section, base));
  const auto start = read_start(job, chain, job.settings.lora.start.empty() ? "" : weights_sha256(base));
  attach_lora(subject.model, job.settings.lora, start ? &*start : nullptr);
  subject.parameters = subject.model.adapter_parameters();
  subject.batches =
      with_references(rows_of(chain, chain.shards("train", tenant), subject.config), subject.config,
                      base_as_reference(subject.model), model_as_policy(subject.model));
}

// The section to search for: the one that is asked for, or the only one there is.
std::string chosen_section(const LoadedRecipe& loaded, const std::string& asked) {
  const bool train = loaded.recipe.train.has_value(), lora = loaded.recipe.lora.has_value();
  check(train || lora, loaded.file.string(), ": has neither a section 'train' nor a section 'lora'");
  if (asked.empty()) {
    check(train != lora, loaded.file.string(), ": has a section 'train' and a section 'lora'; ",
          "say which with --section");
    return train ? "train" : "lora";
  }
  check(asked == "train" ? train : lora, loaded.file.string(), ": the recipe has no section '", asked, "'");
  return asked;
}

// The model that the run starts from, which must be there.
fs::path base_folder(const LoadedRecipe& loaded, const RunDirectory& run) {
  const ModelSection& section = loaded.recipe.model;
  if (!section.random && !is_gguf(loaded.resolve(section.path))) return loaded.resolve(section.path);
  return run.step_path("model") / "model";
}

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g", value);
  return text;
}

Exit find_rate(const SearchArguments& a) {
  a.search.validate();
  const LoadedRecipe loaded = load_recipe(a.recipe, a.overrides);
  const std::string section = chosen_section(loaded, a.section);
  check(loaded.recipe.corpus.has_value(), loaded.file.string(), ": has no section 'corpus' to train on");
  check_recipe(loaded);
  check(fs::exists(loaded.run_folder() / "corpus" / "manifest.json"), loaded.run_folder().string(),
        ": its corpus is not prepared; run: decant prepare ", loaded.file.string());
  set_run_threads(at::get_num_threads());
  RunDirectory run(loaded.run_folder());
  Chain chain(loaded, run, section);
  chain.model_folder = base_folder(loaded, run);
  corpus_step(chain);  // done with these settings, or an Error that says what to run
  const ScratchFolder scratch;
  Subject subject;
  if (section == "train")
    prepare_training(subject, chain, scratch.path());
  else
    prepare_adapter(subject, chain, a.tenant);

  Progress progress("lr-find", a.search.steps, "steps");
  const RateSearch found =
      search_rate(subject.model, subject.parameters, subject.batches, make_objective(subject.config),
                  subject.config, a.search, [&](const RatePoint& point) {
                    print(Json{{"step", point.step},
                               {"learning_rate", point.rate},
                               {"loss", point.loss},
                               {"smoothed_loss", point.smoothed}}
                              .dump() +
                          "\n");
                    progress.update(point.step, concat("rate ", number(point.rate), ", loss ", point.loss));
                  });
  Json last{{"of", subject.name}, {"lowest_loss_at", found.lowest}, {"diverged", found.diverged}};
  last["suggestion"] = found.steepest ? Json(*found.steepest) : Json(nullptr);
  print(last.dump() + "\n");
  if (found.steepest)
    log_info("lr-find: ", subject.name, ": the loss falls most steeply at ", number(*found.steepest),
             " and is lowest at ", number(found.lowest), found.diverged ? "" : " (it did not diverge)",
             "; try ", subject.setting, "=", number(*found.steepest));
  else
    log_warning("lr-find: ", subject.name, ": the loss fell nowhere; try other --lowest and --highest");
  return Exit::kFinished;
}

}  // namespace

void add_lr_find(CLI::App& app, Action& action) {
  auto* verb = app.add_subcommand(
      "lr-find", "trains a copy at rising learning rates; JSON lines out, the last one with a suggestion");
  auto a = std::make_shared<SearchArguments>();
  verb->add_option("RECIPE", a->recipe, "YAML file whose corpus is prepared")->required();
  verb->add_option("KEY=VALUE", a->overrides, "settings that go before the recipe's");
  verb->add_option("--section", a->section, "train or lora; may be left out when the recipe has one of them")
      ->check(CLI::IsMember({"train", "lora"}));
  verb->add_option("--tenant", a->tenant, "whose adapter; the first one by default");
  verb->add_option("--lowest", a->search.lowest, "rate of the first step (1e-7)");
  verb->add_option("--highest", a->search.highest, "rate of the last step (1)");
  verb->add_option("--steps", a->search.steps, "optimizer steps (100)");
  verb->callback([&action, a] { action = [a] { return find_rate(*a); }; });
}

}  // namespace decant
