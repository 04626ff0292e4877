// Finding what corpora have of one customer, taking it out of what outlives a corpus (the index of
// duplicates, the split's ledgers), and proving that nothing is left.
//
//   CustomerTrace trace = find_customer(store, secret, tenant, customer);  // month by month
//   ... the list of erased customers grows by trace.erasure (erasure.h) ...
//   erase_from_index(...), SplitLedgers::erase(...)
//   ... every month's corpus is prepared again: only what is touched changes ...
//   prove_erased(trace, stores of all months, everything that is kept)
//
// A trace holds people's text: it is written to a file only while an erasure is under way, so that one that
// was killed knows what it has to prove.
#pragma once

#include <filesystem>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/json.h"
#include "data_pipeline/duplicate_index.h"
#include "data_pipeline/erase.h"
#include "data_pipeline/erasure.h"

namespace decant {

struct CustomerTrace {
  Erasure erasure;                                    // removes all of it
  std::set<std::string> tenants;                      // that have documents of the customer
  std::set<std::string> customers;                    // the key as given, as clean text, as replaced
  std::set<std::pair<std::string, std::string>> ids;  // tenant, id of the documents
  std::vector<Conversation> documents;                // what they said; a record without a conversation
                                                      // as one message
  void add(const CustomerTrace& other);
  std::vector<std::string> ids_of(const std::string& tenant) const;
};

Json trace_json(const CustomerTrace& trace);
CustomerTrace read_trace(const Json& json);  // Error for anything else

// Documents whose customer is `customer` (of `tenant`; empty: of any), and records that were quarantined
// before they had a customer and hold the name as a word. The keys are there even when no document is.
CustomerTrace find_customer(const std::filesystem::path& store, const std::string& secret,
                            const std::string& tenant, const std::string& customer);

// Takes the documents out of every month of a tenant's index, and all traces of them out of its files.
// Returns the documents that were dropped as copies of an erased one: they come back when their months are
// prepared again. Doing it again returns nothing and changes nothing.
std::vector<DuplicateIndex::Readmitted> erase_from_index(DuplicateIndex& index,
                                                         const std::vector<std::string>& ids);

struct ErasureProof {
  ErasureReport report;
  int64_t still_stored = 0;  // documents of the customer in the stores
  int64_t naming = 0;  // kept documents, of other customers, in which the key stands: it is not searched for
  size_t without_piece = 0;  // erased documents whose text kept ones have too
  size_t traces = 0;         // byte strings that were searched for
  bool clean() const { return still_stored == 0 && report.clean(); }
};

// Searches every byte of `paths` (erase.h). What documents that stay in the `stores` have too proves nothing
// and is not searched for.
ErasureProof prove_erased(const CustomerTrace& trace, const std::vector<std::filesystem::path>& stores,
                          const std::vector<std::filesystem::path>& paths);

}  // namespace decant
