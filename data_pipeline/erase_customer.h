// Finding what a corpus has of one customer, and proving that nothing is left.
#pragma once

#include <filesystem>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "data_pipeline/erasure.h"

namespace decant {

struct CustomerTrace {
  Erasure erasure;  // removes all of it
  int64_t documents = 0;
  std::set<std::string> tenants;
  std::set<std::pair<std::string, std::string>> ids;        // tenant, id of the documents
  std::set<std::pair<std::string, std::string>> customers;  // tenant, the customer as written or as replaced
};

// Documents whose customer is `customer` (of `tenant`; empty: of any), and records that were quarantined
// before they had a customer and hold the name as a word.
CustomerTrace find_customer(const std::filesystem::path& store, const std::string& secret,
                            const std::string& tenant, const std::string& customer);

struct ErasureProof {
  int64_t files = 0, bytes = 0;
  std::vector<std::string> found;  // "file: what", without customer text
};

// Reads what is below the folders again: the store must have no document of the customer, no conversation,
// shard, list or ledger entry may name one of the documents or the customer.
ErasureProof prove_erased(const std::filesystem::path& corpus, const std::filesystem::path& store,
                          const std::string& secret, const std::string& tenant, const std::string& customer,
                          const CustomerTrace& trace);

}  // namespace decant
