// decant erase RECIPE --customer KEY: takes a customer out of every month of a recipe's corpora, out of the
// index of duplicates and out of what was made from them, and proves it byte by byte.
//
// What has to be proved is written down first (erasing.json, beside the run directories), since it is gone
// from everywhere else once the work has begun: an erasure that was killed is ended by the next one, whose
// customer may be another. The file is removed when the proof holds.
#include <ATen/Parallel.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>
#include <memory>
#include <set>

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
#include "recipes/training_samples.h"
#include "recipes/verbs.h"

namespace decant {

namespace fs = std::filesystem;

namespace {

struct EraseArguments {
  std::string recipe, customer, tenant;
  std::vector<std::string> also, overrides;
};

// The recipe itself for its month; for another month what that month's run was resolved to. By rising period.
std::vector<LoadedRecipe> months(const LoadedRecipe& given) {
  std::vector<LoadedRecipe> found;
  std::vector<fs::path> folders;
  const fs::path runs = given.run_folder().parent_path();
  if (fs::is_directory(runs))
    for (const auto& entry : fs::directory_iterator(runs))
      if (fs::is_directory(entry.path() / "corpus/store")) folders.push_back(entry.path());
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

fs::path store_of(const LoadedRecipe& month) { return month.run_folder() / "corpus/store"; }

// What an erasure is about, from its beginning to its proof.
struct Pending {
  CustomerTrace trace;
  std::set<std::string> trained_on;                          // folders of steps
  std::set<std::pair<std::string, std::string>> readmitted;  // period, id
  std::map<std::string, int64_t> documents;                  // of each period

  Json json() const {
    return {{"trace", trace_json(trace)},
            {"trained_on", trained_on},
            {"readmitted", readmitted},
            {"documents", documents}};
  }
  static Pending read(const fs::path& path) {
    Pending pending;
    if (!fs::exists(path)) return pending;
    const Json json = read_json(path);
    try {
      pending.trace = read_trace(json.at("trace"));
      pending.trained_on = json.at("trained_on").get<decltype(trained_on)>();
      pending.readmitted = json.at("readmitted").get<decltype(readmitted)>();
      pending.documents = json.at("documents").get<decltype(documents)>();
    } catch (const Json::exception&) {
      fail(path.string(),
           ": not what an erasure that was stopped leaves; restore it, or remove it and erase ",
           "the customer again");
    }
    return pending;
  }
};

void mend(const LoadedRecipe& month) {
  RunDirectory run(month.run_folder());
  open_log_file(run.path() / "log.jsonl");
  Chain chain(month, run, "corpus");
  model_step(chain);
  corpus_step(chain, true);
  close_log_file();
}

// Of a month whose store still has documents of the customer: what they are and who learned from them.
void note_month(const LoadedRecipe& month, const EraseArguments& a, Pending& pending) {
  const fs::path store = store_of(month), corpus = month.run_folder() / "corpus";
  if (!fs::exists(store / "store.json")) mend(month);  // something was killed here
  const CustomerTrace trace = find_customer(store, corpus_secret(*month.recipe.corpus), a.tenant, a.customer);
  pending.trace.add(trace);
  if (trace.documents.empty()) return;
  pending.documents[month.recipe.period] = static_cast<int64_t>(trace.documents.size());
  std::set<std::string> digests;
  if (fs::exists(corpus / "manifest.json")) digests.insert(sha256_file(corpus / "manifest.json"));
  for (const std::string& tenant : trace.tenants)
    for (const char* side : {"train", "held_out"})
      if (fs::exists(corpus / "shards" / side / tenant))
        digests.insert(digest_path(corpus / "shards" / side / tenant));
  std::vector<fs::path> folders = {month.run_folder()};
  for (const std::string& other : a.also) folders.emplace_back(other);
  for (const fs::path& step : steps_that_used(folders, digests)) pending.trained_on.insert(step.string());
}

// A folder or file of the recipe's, by the path that it really has; months may share one.
fs::path index_folder(const LoadedRecipe& month) {
  const std::string& index = month.recipe.corpus->duplicates.index;
  return index.empty() ? fs::path() : fs::weakly_canonical(month.folder / index);
}

void erase_from_indexes(const std::vector<LoadedRecipe>& all, Pending& pending, const fs::path& file) {
  std::set<fs::path> done;
  for (const LoadedRecipe& month : all) {
    const fs::path folder = index_folder(month);
    if (folder.empty() || !done.insert(folder).second) continue;
    for (const std::string& tenant : pending.trace.tenants) {
      if (!fs::exists(folder / tenant / "index.json")) continue;
      DuplicateIndex index(folder, tenant, month.recipe.corpus->duplicates.compare);
      const std::vector<std::string> ids = pending.trace.ids_of(tenant);
      for (const auto& back : index.erase(ids).readmitted) pending.readmitted.insert({back.period, back.id});
      write_json(file, pending.json());  // before purge() forgets whose copies they were
      erase_from_index(index, ids);
    }
  }
}

// The sides of the customer and of its documents; months may share a ledger.
void erase_from_split_ledgers(const std::vector<LoadedRecipe>& all, const Pending& pending) {
  for (const LoadedRecipe& month : all) {
    SplitLedgers ledgers(*month.recipe.corpus, month.folder);
    if (!ledgers.are_kept()) continue;
    const std::vector<std::string> customers(pending.trace.customers.begin(), pending.trace.customers.end());
    for (const std::string& tenant : pending.trace.tenants)
      ledgers.erase(tenant, customers, pending.trace.ids_of(tenant));
    ledgers.save();
  }
}

bool holds_weights(const fs::path& folder) {
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    if (entry.path().extension() == ".safetensors" || entry.path().extension() == ".gguf") return true;
  return false;
}

// Steps that only hold copies of the data (packed rows, answers to it, measurements on it) go; the next run
// makes them again. Models and adapters stay: they are listed.
std::vector<std::string> remove_copies(const LoadedRecipe& month, const Pending& pending) {
  std::vector<std::string> removed;
  const fs::path run = fs::weakly_canonical(month.run_folder());
  for (const std::string& step : pending.trained_on) {
    const fs::path inside = fs::path(step).lexically_relative(run);
    if (inside.empty() || *inside.begin() == ".." || *inside.begin() == "corpus" || !fs::is_directory(step) ||
        holds_weights(step))
      continue;
    fs::remove_all(step);
    removed.push_back(step);
  }
  return removed;
}

// Samples that a training shows of the customer's tenants; the report beside them shows the same.
void remove_samples(const LoadedRecipe& month, const Pending& pending) {
  std::vector<fs::path> gone;
  for (const auto& entry : fs::recursive_directory_iterator(month.run_folder())) {
    if (entry.path().filename() != kSamplesFile) continue;
    const Json samples = read_json(entry.path());
    for (const Json& question : samples.at("questions"))
      if (pending.trace.tenants.contains(question.at("tenant").get<std::string>())) {
        gone.push_back(entry.path());
        break;
      }
  }
  for (const fs::path& samples : gone) {
    fs::remove(samples);
    fs::remove(samples.parent_path() / "report.html");
  }
}

// Everything of a month but weights, which hold no text.
std::vector<fs::path> files_of(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    const fs::path extension = entry.path().extension();
    if (entry.is_regular_file() && !entry.is_symlink() && extension != ".safetensors" &&
        extension != ".gguf" && entry.path().filename() != "lock")
      files.push_back(entry.path());
  }
  return files;
}

// A month from the first one on that is touched: later ones may have left documents out, or have some,
// because of it.
Json erase_month(const LoadedRecipe& month, const Pending& pending) {
  mend(month);
  Json report;
  report["period"] = month.recipe.period;
  const auto documents = pending.documents.find(month.recipe.period);
  report["documents"] = documents == pending.documents.end() ? 0 : documents->second;
  report["readmitted"] = std::count_if(pending.readmitted.begin(), pending.readmitted.end(),
                                       [&](const auto& back) { return back.first == month.recipe.period; });
  report["removed_steps"] = remove_copies(month, pending);
  remove_samples(month, pending);
  return report;
}

Json prove(const std::vector<LoadedRecipe>& all, const Pending& pending) {
  std::vector<fs::path> stores, paths;
  for (const LoadedRecipe& month : all) {
    stores.push_back(store_of(month));
    for (const fs::path& file : files_of(month.run_folder())) paths.push_back(file);
    const fs::path index = index_folder(month);
    if (fs::exists(index)) paths.push_back(index);
  }
  if (fs::exists(all.front().erasure_file())) paths.push_back(all.front().erasure_file());
  const ErasureProof proof = prove_erased(pending.trace, stores, paths);
  Json json = {{"files", proof.report.files},
               {"bytes", proof.report.bytes},
               {"traces", proof.traces},
               {"found", Json::array()},
               {"kept_documents_that_name_the_customer", proof.naming},
               {"documents_whose_text_others_have_too", proof.without_piece}};
  if (proof.still_stored > 0)
    json["found"].push_back(concat(proof.still_stored, " documents of the customer in the stores"));
  for (const Leftover& left : proof.report.leftovers)
    json["found"].push_back(concat(left.file, ", byte ", left.offset, ": ", trace_kind_name(left.kind)));
  for (const std::string& file : proof.report.unsearchable)
    json["found"].push_back(file + ": cannot be searched");
  if (!proof.clean() && json["found"].empty()) json["found"].push_back("nothing was searched");
  return json;
}

bool was_erased(const std::vector<LoadedRecipe>& all, const EraseArguments& a, const Erasure& erased) {
  const std::string name = normalize_text(a.customer);
  for (const LoadedRecipe& month : all) {
    const std::string secret = corpus_secret(*month.recipe.corpus);
    const StoreReader store(store_of(month));
    for (const std::string& tenant : store.names())
      if ((a.tenant.empty() || a.tenant == tenant) && erased.has_customer(customer_tag(secret, tenant, name)))
        return true;
  }
  return false;
}

// The first month that the erasure changes; "" for none.
std::string first_touched(const Pending& pending) {
  std::string first;
  const auto touch = [&](const std::string& period) {
    if (first.empty() || period < first) first = period;
  };
  for (const auto& [period, documents] : pending.documents) touch(period);
  for (const auto& [period, id] : pending.readmitted) touch(period);
  return first;
}

Exit run_erase(const EraseArguments& a) {
  const LoadedRecipe loaded = load_recipe(a.recipe, a.overrides);
  check(loaded.recipe.corpus.has_value(), a.recipe, ": the recipe has no section 'corpus'");
  set_run_threads(at::get_num_threads());
  const auto all = months(loaded);
  check(!all.empty(), loaded.run_folder().parent_path().string(),
        ": no month has a corpus; decant prepare makes one");
  const fs::path file = loaded.erasure_file().parent_path() / "erasing.json", list = loaded.erasure_file();
  const bool stopped = fs::exists(file);
  Pending pending = Pending::read(file);
  if (stopped) log_info("erase: goes on with what was stopped before");
  for (const LoadedRecipe& month : all) note_month(month, a, pending);
  Erasure erased = fs::exists(list) ? read_erasure(list) : Erasure();
  const bool before = was_erased(all, a, erased);
  check(!pending.trace.documents.empty() || before, "erase: no corpus has a document of this customer",
        a.tenant.empty() ? "" : " of tenant '" + a.tenant + "'");
  if (!pending.trace.documents.empty()) {
    write_json(file, pending.json());
    // The list next: whatever happens from here on, the next run leaves the customer out.
    erased.add(pending.trace.erasure);
    write_json(list, erasure_json(erased));
    erase_from_indexes(all, pending, file);
    erase_from_split_ledgers(all, pending);
  }
  int64_t documents = 0;
  std::set<std::string> known;
  const std::string first = first_touched(pending);
  for (const LoadedRecipe& month : all) {
    known.insert(month.recipe.period);
    if (first.empty() || month.recipe.period < first) continue;
    const Json report = erase_month(month, pending);
    documents += report["documents"].get<int64_t>();
    print(report.dump() + "\n");
  }
  Json summary = {{"documents", documents},
                  {"tenants", pending.trace.tenants},
                  {"trained_on", pending.trained_on},
                  {"readmitted_elsewhere", Json::array()},
                  {"proof", prove(all, pending)}};
  for (const auto& [period, id] : pending.readmitted)
    if (!known.contains(period)) summary["readmitted_elsewhere"].push_back(Json::array({period, id}));
  print(summary.dump() + "\n");
  std::string left;
  for (const Json& found : summary["proof"]["found"]) left += "\n  " + found.get<std::string>();
  check(left.empty(), "erase: something of the customer is left (", file.string(),
        " keeps what is searched for until nothing is):", left);
  fs::remove(file);
  if (documents == 0) log_info("erase: the customer was erased before; nothing is left");
  log_info(
      "erase: ", documents, " documents are gone; there is no table of surrogates, they are computed from a ",
      "key; models and adapters under 'trained_on' learned from the documents: run the recipe again to make ",
      "them anew");
  if (!summary["readmitted_elsewhere"].empty())
    log_warning(
        "erase: documents under 'readmitted_elsewhere' were dropped as copies of an erased one, in months "
        "that are not below ",
        loaded.run_folder().parent_path().string(), ": prepare these months again to get them back");
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
