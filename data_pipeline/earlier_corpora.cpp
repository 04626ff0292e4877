#include "data_pipeline/earlier_corpora.h"

#include <algorithm>
#include <set>

#include "core/error.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/run_directory.h"
#include "data_pipeline/chat_template.h"
#include "data_pipeline/inputs.h"
#include "data_pipeline/tokenizer.h"

namespace decant {
namespace fs = std::filesystem;

namespace {

std::string fact(const StoreReader& store, const char* name) {
  return store.facts().contains(name) && store.facts()[name].is_string()
             ? store.facts()[name].get<std::string>()
             : std::string();
}

void check_contract_holds(const fs::path& folder) {
  const Json contract = read_json(folder / "contract.json");
  check(contract.is_object() && contract.contains("checks") && contract["checks"].is_array(),
        (folder / "contract.json").string(), ": has no list 'checks'");
  for (const Json& bound : contract["checks"])
    check(bound.is_object() && bound.value("ok", false), "corpus.mix.replay_from: the contract of ",
          folder.string(), " is broken ('", bound.value("name", std::string("?")),
          "'); prepare that month again, or leave it out");
}

void check_same(const fs::path& folder, const char* what, const std::string& expected,
                const std::string& found) {
  check(expected == found, "corpus.mix.replay_from: ", folder.string(), " was made with another ", what,
        " (expected ", expected.substr(0, 12), ", found ",
        found.empty() ? "none on record" : found.substr(0, 12),
        "); prepare that month again with this recipe's model, or leave it out");
}

EarlierCorpus open_corpus(const CorpusConfig& config, const CorpusJob& job, const fs::path& folder) {
  const std::string where = folder.string();
  for (const char* file : {"lineage.json", "contract.json", "corpus.key", "decisions.bin"})
    check(fs::is_regular_file(folder / file), "corpus.mix.replay_from: ", where,
          " is no finished corpus: it has no ", file, "; prepare that month first, or leave it out");
  check_contract_holds(folder);
  EarlierCorpus corpus;
  corpus.store = std::make_unique<StoreReader>(folder / "store");
  corpus.period = fact(*corpus.store, "period");
  check_same(folder, "tokenizer", job.tokenizer->sha256(), fact(*corpus.store, "tokenizer_sha256"));
  check_same(folder, "chat template", job.chat_template->sha256(), fact(*corpus.store, "template_sha256"));
  check_same(folder, "key of the surrogates", surrogates_sha256(config),
             fact(*corpus.store, "surrogates_sha256"));
  std::string key = read_file(folder / "corpus.key");
  if (key.ends_with('\n')) key.pop_back();
  check(Decisions::load(folder / "decisions.bin", key, corpus.decisions) &&
            corpus.decisions.size() == corpus.store->documents(),
        "corpus.mix.replay_from: ", where,
        ": its decisions are not those of its store; prepare that month again");
  const Json lineage = read_json(folder / "lineage.json");
  const auto says = [&](const char* part, const char* name) {
    const Json& of = *part != '\0' && lineage.contains(part) ? lineage[part] : lineage;
    return of.is_object() && of.contains(name) && of[name].is_string() ? of[name].get<std::string>()
                                                                       : std::string();
  };
  // A month that is being made again has parts of both.
  check(says("store", "blocks_sha256") == sha256_hex(corpus.store->facts().at("blocks").dump()) &&
            says("outputs", "decisions.bin") == digest_path(folder / "decisions.bin"),
        "corpus.mix.replay_from: ", where,
        " is not whole: lineage.json names another store or other decisions; prepare that month again");
  corpus.digest = says("", "sha256");
  return corpus;
}

// The month of the store there; a folder without a store is not one's to judge.
std::string period_of(const fs::path& folder) {
  const fs::path facts = folder / "store" / "store.json";
  if (!fs::is_regular_file(facts)) return {};
  const Json json = read_json(facts);
  return json.is_object() && json.contains("period") && json["period"].is_string()
             ? json["period"].get<std::string>()
             : std::string();
}

}  // namespace

EarlierCorpora::EarlierCorpora(const CorpusConfig& config, const CorpusJob& job) {
  if (config.mix.replay <= 0 && config.mix.replay_tokens <= 0) return;
  std::set<fs::path> folders;
  for (const std::string& from : config.mix.replay_from) {
    const bool is_glob = from.find_first_of("*?[") != std::string::npos;
    check(is_glob || fs::is_directory(job.base_folder / from), "corpus.mix.replay_from: '", from,
          "' is no folder (looked for ", (job.base_folder / from).string(),
          "); it must be the corpus folder of an earlier month");
    for (const fs::path& folder : expand_folders(from, job.base_folder)) {
      const std::string period = period_of(folder);
      check(is_period(period), "corpus.mix.replay_from: ", folder.string(),
            " is no corpus of this version (no store with a period in it); prepare that month again, or "
            "leave it "
            "out");
      if (period < job.period) folders.insert(fs::weakly_canonical(folder));
    }
  }
  for (const fs::path& folder : folders) corpora_.push_back(open_corpus(config, job, folder));
  std::sort(corpora_.begin(), corpora_.end(), [](const EarlierCorpus& a, const EarlierCorpus& b) {
    return std::tie(a.period, a.digest) < std::tie(b.period, b.digest);
  });
}

StoredDocument EarlierCorpora::get(size_t corpus, uint64_t document) const {
  if (corpus != open_) corpora_.at(open_).store->close_files();
  open_ = corpus;
  return corpora_.at(corpus).store->get(document);
}

std::string EarlierCorpora::digest() const {
  if (corpora_.empty()) return {};
  std::string all;
  for (const EarlierCorpus& corpus : corpora_) all += corpus.period + " " + corpus.digest + "\n";
  return sha256_hex(all);
}

Json EarlierCorpora::lineage() const {
  Json list = Json::array();
  for (const EarlierCorpus& corpus : corpora_)
    list.push_back({{"period", corpus.period}, {"sha256", corpus.digest}});
  return list;
}

}  // namespace decant
