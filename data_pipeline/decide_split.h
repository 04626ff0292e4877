// Of the decisions: on which side every kept document is (cluster_split.h).
//
// A document's keys are its customer, its own id (it is the root of its cluster) and, with a ledger, the ids
// of the duplicates that were removed in its favour; a duplicate of an earlier month's document shares that
// one's side. So a document that was removed and comes back (its keeper was erased, or a month was made again
// from other files) is where its cluster was. The customers of removed duplicates do not hang together
// through them: a "thank you" that everybody sends would join all of them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "core/json.h"
#include "data_pipeline/cluster_split.h"
#include "data_pipeline/corpus_config.h"
#include "data_pipeline/corpus_store.h"
#include "data_pipeline/decisions.h"

namespace decant {

SplitConfig split_config(const CorpusConfig& config);

// A stored document as the split sees it; `id` is its own.
SplitDocument split_document(const StoreRow& row, std::string id);

// The ledgers of a corpus's tenants: `<split.ledger>/<tenant>.split`. Without the setting they begin empty
// and are not written.
class SplitLedgers {
 public:
  SplitLedgers(const CorpusConfig& config, const std::filesystem::path& base_folder);
  bool are_kept() const { return !folder_.empty(); }
  SplitLedger& of(const std::string& tenant);  // read when it is first asked for
  void save() const;
  // Forgets customers (in clean text: normalize_text) and documents of a tenant. Returns how many keys were
  // there.
  int64_t erase(const std::string& tenant, const std::vector<std::string>& customers,
                const std::vector<std::string>& ids);

 private:
  std::filesystem::path path(const std::string& tenant) const;
  std::filesystem::path folder_;
  std::string salt_;
  std::map<std::string, SplitLedger> ledgers_;
};

// Kept documents become kTrain or kHeldOut, or are left out as `split_conflict`. `earlier_keepers`: ids of
// earlier months' documents in whose favour others were removed. New keys go into the ledgers. Returns
// {tenant: {components, largest_component, conflicts, kept_from_holding_out}}.
Json decide_split(const CorpusConfig& config, const StoreReader& store,
                  const std::map<uint64_t, std::string>& earlier_keepers, SplitLedgers& ledgers,
                  Decisions& decisions);

}  // namespace decant
