// decant erase RECIPE --customer KEY: takes a customer out of every month of a recipe's corpora and proves
// it.
#include <ATen/Parallel.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>

#include "core/file.h"
#include "core/hash.h"
#include "core/log.h"
#include "data_pipeline/erase_customer.h"
#include "data_pipeline/prepare.h"
#include "recipes/chain.h"
#include "recipes/trained_on.h"
#include "recipes/verbs.h"

namespace decant {

namespace fs = std::filesystem;

namespace {

struct EraseArguments {
  std::string recipe, customer, tenant;
  std::vector<std::string> also, overrides;
};

// The recipe itself for its month; for another month what that month's run was resolved to.
std::vector<LoadedRecipe> months(const LoadedRecipe& given) {
  std::vector<LoadedRecipe> found;
  std::vector<fs::path> folders;
  const fs::path runs = given.run_folder().parent_path();
  if (fs::is_directory(runs))
    for (const auto& entry : fs::directory_iterator(runs))
      if (fs::exists(entry.path() / "corpus/store/store.json")) folders.push_back(entry.path());
  std::sort(folders.begin(), folders.end());
  for (const fs::path& folder : folders) {
    if (folder.filename() == given.recipe.period) {
      found.push_back(given);
      continue;
    }
    found.push_back(load_recipe(folder / "recipe.resolved.yaml", {}));
    found.back().recipe.output = given.recipe.output;
  }
  return found;
}

Json erase_month(const LoadedRecipe& loaded, const EraseArguments& a) {
  RunDirectory run(loaded.run_folder());
  open_log_file(run.path() / "log.jsonl");
  Chain chain(loaded, run, "corpus");
  model_step(chain);
  const fs::path corpus = run.step_path("corpus"), store = corpus / "store";
  const std::string secret = corpus_secret(*loaded.recipe.corpus);
  const CustomerTrace trace = find_customer(store, secret, a.tenant, a.customer);
  Json report;
  report["period"] = loaded.recipe.period;
  report["documents"] = trace.documents;
  report["tenants"] = trace.tenants;
  report["trained_on"] = Json::array();
  if (trace.documents == 0) return report;

  std::set<std::string> digests;
  if (fs::exists(corpus / "manifest.json")) digests.insert(chain.digest_of_step("corpus"));
  for (const std::string& tenant : trace.tenants)
    if (fs::exists(chain.shards("train", tenant))) digests.insert(digest_path(chain.shards("train", tenant)));
  std::vector<fs::path> folders = {run.path()};
  for (const std::string& other : a.also) folders.emplace_back(other);
  for (const fs::path& step : steps_that_used(folders, digests))
    report["trained_on"].push_back(step.string());

  // The list first: whatever happens from here on, the next run leaves the customer out.
  const fs::path list = loaded.erasure_file();
  Erasure all = fs::exists(list) ? read_erasure(list) : Erasure();
  all.add(trace.erasure);
  write_json(list, erasure_json(all));
  corpus_step(chain, true);

  const ErasureProof proof = prove_erased(corpus, store, secret, a.tenant, a.customer, trace);
  report["scanned_files"] = proof.files;
  report["scanned_bytes"] = proof.bytes;
  report["found"] = proof.found;
  close_log_file();
  return report;
}

Exit run_erase(const EraseArguments& a) {
  const LoadedRecipe loaded = load_recipe(a.recipe, a.overrides);
  check(loaded.recipe.corpus.has_value(), a.recipe, ": the recipe has no section 'corpus'");
  set_run_threads(at::get_num_threads());
  const auto all = months(loaded);
  check(!all.empty(), loaded.run_folder().parent_path().string(),
        ": no month has a corpus; decant prepare makes one");
  int64_t documents = 0;
  std::string left;
  for (const LoadedRecipe& month : all) {
    const Json report = erase_month(month, a);
    documents += report["documents"].get<int64_t>();
    if (report.contains("found"))
      for (const Json& found : report["found"]) left += "\n  " + found.get<std::string>();
    print(report.dump() + "\n");
  }
  check(left.empty(), "erase: something of the customer is left:", left);
  check(documents > 0, "erase: no corpus has a document of this customer",
        a.tenant.empty() ? "" : " of tenant '" + a.tenant + "'");
  log_info(
      "erase: ", documents,
      " documents are gone; there is no table of surrogates, they are computed from a "
      "key; steps under 'trained_on' learned from the documents: run the recipe again to make them anew");
  return Exit::kFinished;
}

}  // namespace

void add_erase(CLI::App& app, Action& action) {
  auto* verb = app.add_subcommand("erase",
                                  "takes a customer out of a recipe's corpora, proves that nothing is left, "
                                  "lists what learned from them");
  auto a = std::make_shared<EraseArguments>();
  verb->add_option("RECIPE", a->recipe, "YAML file")->required();
  verb->add_option("KEY=VALUE", a->overrides, "settings that go before the recipe's");
  verb->add_option("--customer", a->customer, "the customer's key as the inputs have it")->required();
  verb->add_option("--tenant", a->tenant, "only this tenant's customer");
  verb->add_option("--also", a->also, "further run directories to look for checkpoints and adapters in");
  verb->callback([&action, a] { action = [a] { return run_erase(*a); }; });
}

}  // namespace decant
