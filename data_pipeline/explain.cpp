#include "data_pipeline/explain.h"

#include <map>
#include <set>

#include "core/error.h"
#include "core/file.h"
#include "data_pipeline/build_store.h"
#include "data_pipeline/decisions.h"
#include "data_pipeline/ledger.h"

namespace decant {
namespace fs = std::filesystem;

namespace {

std::string fate_text(Fate fate) {
  switch (fate) {
    case Fate::kTrain:
      return "kept, train";
    case Fate::kHeldOut:
      return "kept, held out";
    case Fate::kQuarantined:
      return "quarantined";
    case Fate::kDuplicate:
      return "removed as a duplicate";
    case Fate::kDropped:
      return "dropped";
  }
  return {};
}

}  // namespace

std::vector<std::string> explain_document(const fs::path& corpus, const std::string& id) {
  std::string key = read_file(corpus / "corpus.key");
  if (key.ends_with('\n')) key.pop_back();
  const StoreReader store(corpus / "store");
  Decisions decisions;
  check(Decisions::load(corpus / "decisions.bin", key, decisions) && decisions.size() == store.documents(),
        corpus.string(), ": the decisions are not those of the store; prepare the corpus again");

  // The ledger knows what was dropped or altered, the rows what was not.
  std::map<uint64_t, std::vector<LedgerEntry>> documents;
  for (LedgerEntry& entry : ledger_entries(corpus / "ledger.sqlite", id))
    documents[entry.document].push_back(std::move(entry));
  std::set<std::array<uint64_t, 2>> keys;
  for (const std::string& name : store.names()) keys.insert(store_key_of(name, id));
  store.each_row([&](uint64_t i, const StoreRow& row) {
    if (keys.contains(row.id_key) && store.get(i).id() == id) documents[i];
  });
  check(!documents.empty(), corpus.string(), ": no document has the id '", id, "'");

  std::vector<std::string> lines;
  for (const auto& [i, entries] : documents) {
    if (i >= store.documents()) {  // of an earlier month
      for (const LedgerEntry& e : entries)
        lines.push_back(concat(id, " of tenant ", e.tenant, ", ", e.file, " line ", e.line, " (byte ",
                               e.byte_offset, "): ", e.fate, ", ", e.detail,
                               e.fate == "replayed" ? "" : ": " + e.reason));
      continue;
    }
    const StoreRow row = store.get(i).row();
    lines.push_back(concat(id, row.tenant == 0 ? "" : " of tenant " + store.name(row.tenant), ", ",
                           store.facts().at("inputs").at(row.file).at("name").get<std::string>(), " line ",
                           row.line, " (byte ", row.byte_offset, "): ", fate_text(decisions[i].fate)));
    for (const LedgerEntry& e : entries)
      lines.push_back(concat("  ", e.stage, ": ", e.reason, e.detail.empty() ? "" : ", " + e.detail));
  }
  return lines;
}

}  // namespace decant
