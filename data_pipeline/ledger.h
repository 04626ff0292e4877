// The ledger: every document that was dropped or altered, with stage and reason, as an SQLite file that
// people can ask (`decant inspect CORPUS --why ID`). A derived output: written anew by every run in one
// transaction, in the order of the store, without times, so the same corpus gives the same bytes.
//
//   entries(document, tenant, id, file, line, byte_offset, fate, stage, reason, detail)
// fate: altered, duplicate, quarantined, dropped; of documents of earlier months replayed, or not replayed
// for another reason than the quota. One document can have several entries.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace decant {

struct LedgerEntry {
  uint64_t document = 0;  // number in the store; beyond its end: of an earlier month
  std::string tenant, id, file;
  uint64_t line = 0, byte_offset = 0;
  std::string fate, stage, reason, detail;
};

class Ledger {
 public:
  explicit Ledger(std::filesystem::path path);
  ~Ledger();  // without commit() nothing is left
  Ledger(const Ledger&) = delete;
  Ledger& operator=(const Ledger&) = delete;
  void add(const LedgerEntry& entry);
  void commit();

 private:
  struct Impl;
  Impl* impl_;
};

// Entries of an id, of any tenant, in the order of the store.
std::vector<LedgerEntry> ledger_entries(const std::filesystem::path& path, const std::string& id);

}  // namespace decant
