#include "data_pipeline/prepare.h"

#include <malloc.h>

#include <map>

#include "core/error.h"
#include "core/file.h"
#include "core/hash.h"
#include "data_pipeline/contract.h"
#include "data_pipeline/corpus_report.h"
#include "data_pipeline/corpus_store.h"
#include "data_pipeline/croissant.h"
#include "data_pipeline/decisions.h"
#include "data_pipeline/write_corpus.h"

namespace decant {
namespace fs = std::filesystem;

namespace {

constexpr int64_t kCorpusVersion = 2;  // of what passes 2 and 3 do

void check_bad_fraction(const StoreReader& store, const Decisions& decisions, double allowed,
                        const fs::path& folder) {
  std::map<std::string, int64_t> counts;
  int64_t bad = 0;
  for (uint64_t i = 0; i < decisions.size(); ++i)
    if (decisions[i].fate == Fate::kQuarantined) {
      ++counts[decisions.reason(decisions[i])];
      ++bad;
    }
  std::string list;
  for (const auto& [reason, count] : counts) list += concat(list.empty() ? "" : ", ", reason, " ", count);
  check(static_cast<double>(bad) <= allowed * static_cast<double>(store.documents()), "corpus: ", bad, " of ",
        store.documents(), " records are quarantined (", list, "), more than 'max_bad_fraction' ", allowed,
        "; each is in ", (folder / "quarantine.jsonl").string(), " with its place");
}

// Another corpus goes, but for the sides that are the same in both (write_sides); the key file first, so that
// a kill in the middle of clearing clears again.
void claim_folder(const fs::path& folder, const std::string& key) {
  const fs::path key_file = folder / "corpus.key";
  if (fs::is_regular_file(key_file) && read_file(key_file) == key + "\n") return;
  fs::remove(key_file);
  for (const char* old : {"decisions.bin", "ledger.sqlite"}) fs::remove(folder / old);
  write_file(key_file, key + "\n");
}

// To the system: columns of many megabytes lie between what is still in use, and glibc keeps what is not at
// the end of its heap.
void return_free_memory() {
#ifdef __GLIBC__
  ::malloc_trim(0);
#endif
}

}  // namespace

Json finish_corpus(const CorpusConfig& config, const CorpusJob& job, const fs::path& store_folder,
                   const fs::path& folder) {
  const StoreReader store(store_folder);
  const EarlierCorpora earlier(config, job);
  fs::create_directories(folder);
  remove_temporaries(folder);
  const auto fact = [&](const char* name) { return store.facts().at(name).get<std::string>(); };
  const std::string key = sha256_hex(concat("version ", kCorpusVersion, "\n", fact("key"), "\n",
                                            fact("erasure_sha256"), "\n", earlier_months_digest(config, job),
                                            "\n", earlier.digest(), "\n", config_key(config)));
  claim_folder(folder, key);
  Decisions decisions;
  if (!Decisions::load(folder / "decisions.bin", key, decisions) || decisions.size() != store.documents()) {
    decisions = decide(config, job, store, earlier, folder);
    decisions.save(folder / "decisions.bin", key);
    return_free_memory();
  }
  const CorpusDocuments documents(store, decisions, earlier);
  if (!fs::exists(folder / "ledger.sqlite")) write_lists(documents, config.sequence_length, folder);
  check_bad_fraction(store, decisions, config.max_bad_fraction, folder);

  ShardHeader header;
  header.tokenizer_sha256 = job.tokenizer->sha256();
  header.template_sha256 = job.chat_template->sha256();
  header.sequence_length = config.sequence_length;
  Json counts = write_sides(documents, header, folder);
  check(counts["train"].get<int64_t>() > 0, "corpus: no conversation is left to train on: of ",
        store.documents(), " records ", counts["quarantined"].dump(), " are quarantined, ",
        counts["dropped"].dump(), " are left out, ",
        counts["duplicate"].get<int64_t>() + counts["near_duplicate"].get<int64_t>(), " are duplicates, ",
        counts["held_out"].get<int64_t>(), " are held out");
  const Json contract =
      measure_contract(config, store, decisions, job, counts, job.base_folder / config.contract.previous);
  write_json(folder / "contract.json", contract);
  write_file(folder / "report.html",
             corpus_report("Corpus of " + job.period, counts, contract, documents, *job.tokenizer));
  const Json lineage = corpus_lineage(config, job, store, earlier, folder);
  write_json(folder / "lineage.json", lineage);
  write_json(folder / "croissant.json", corpus_croissant(job, counts, lineage));
  check_contract(contract, folder);
  return counts;
}

Json prepare_corpus(const CorpusConfig& config, const CorpusJob& job, const fs::path& folder) {
  build_store(config, job, folder / "store");
  return finish_corpus(config, job, folder / "store", folder);
}

Json prepare_corpus(const CorpusConfig& config, const fs::path& base_folder, const Tokenizer& tokenizer,
                    const ChatTemplate& chat_template, const std::string& period, const fs::path& folder) {
  return prepare_corpus(
      config,
      CorpusJob{corpus_files(config, base_folder), period, base_folder, &tokenizer, &chat_template, {}, {}},
      folder);
}

}  // namespace decant
