// decant erase RECIPE --customer KEY: takes a customer out of every month of a recipe's corpora and proves
// it.
#include <ATen/Parallel.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>

#include "core/file.h"
#include "core/hash.h"
#include "core/log.h"
#include "data_pipeline/corpus_store.h"
#include "data_pipeline/decide_split.h"
#include "data_pipeline/erase_customer.h"
#include "data_pipeline/normalize.h"
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

// What earlier months had of the customer, as far as a month that replays them may have it: an id that one of
// the month's own documents has says nothing.
CustomerTrace with_earlier(CustomerTrace own, const CustomerTrace& earlier, const fs::path& store_folder) {
  const StoreReader store(store_folder);
  std::set<std::array<uint64_t, 2>> ids;
  store.each_row([&](uint64_t, const StoreRow& row) { ids.insert(row.id_key); });
  own.tenants.insert(earlier.tenants.begin(), earlier.tenants.end());
  own.customers.insert(earlier.customers.begin(), earlier.customers.end());
  for (const auto& [tenant, id] : earlier.ids)
    if (!ids.contains(store_key_of(tenant, id))) own.ids.insert({tenant, id});
  return own;
}

bool replays(const fs::path& corpus) {
  return fs::exists(corpus / "lineage.json") && read_json(corpus / "lineage.json").contains("replayed_from");
}

void forget_sides(const LoadedRecipe& loaded, const CustomerTrace& trace, const std::string& customer) {
  SplitLedgers ledgers(*loaded.recipe.corpus, loaded.folder);
  if (!ledgers.are_kept()) return;
  for (const std::string& tenant : trace.tenants) {
    std::vector<std::string> ids;
    for (const auto& [of, id] : trace.ids)
      if (of == tenant) ids.push_back(id);
    ledgers.erase(tenant, {normalize_text(customer)}, ids);
  }
  ledgers.save();
}

// `earlier`: what the months before this one had; grows by what this one has.
Json erase_month(const LoadedRecipe& loaded, const EraseArguments& a, CustomerTrace& earlier) {
  RunDirectory run(loaded.run_folder());
  open_log_file(run.path() / "log.jsonl");
  Chain chain(loaded, run, "corpus");
  model_step(chain);
  const fs::path corpus = run.step_path("corpus"), store = corpus / "store";
  const std::string secret = corpus_secret(*loaded.recipe.corpus);
  CustomerTrace trace = find_customer(store, secret, a.tenant, a.customer);
  const bool again = earlier.documents > 0 && replays(corpus);
  Json report;
  report["period"] = loaded.recipe.period;
  report["documents"] = trace.documents;
  report["tenants"] = trace.tenants;
  report["trained_on"] = Json::array();
  if (trace.documents == 0 && !again) return report;
  forget_sides(loaded, trace, a.customer);
  const CustomerTrace own = trace;
  if (again) trace = with_earlier(std::move(trace), earlier, store);
  earlier.documents += own.documents;
  earlier.tenants.insert(own.tenants.begin(), own.tenants.end());
  earlier.ids.insert(own.ids.begin(), own.ids.end());
  earlier.customers.insert(own.customers.begin(), own.customers.end());

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
  all.add(own.erasure);
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
  CustomerTrace earlier;
  for (const LoadedRecipe& month : all) {
    const Json report = erase_month(month, a, earlier);
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
