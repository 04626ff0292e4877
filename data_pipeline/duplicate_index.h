// The index of duplicates of one tenant: one immutable run a month (duplicate_run.h) and index.json, which
// names the runs that count and what is erased of them. Month N is compared with the runs of earlier months;
// the cost is the month's own and a walk over their band keys.
//
//   DuplicateIndex index(folder, "acme", config);
//   NearDuplicates month(config, scratch);                  // add() every document of the month
//   const auto result = month.resolve(index.before("2026-03"));
//   index.commit("2026-03", month, result);                 // later months see it
//
// Every change writes new files and then replaces index.json in one step: a kill leaves the state before or
// the state after. One writer at a time (the run directory's lock sees to it).
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "data_pipeline/duplicate_run.h"
#include "data_pipeline/near_duplicates.h"

namespace decant {

class DuplicateIndex {
 public:
  // In `folder`/`tenant`; a folder that is not there yet is an empty index. Error when index.json or a run is
  // damaged, or made with other shingles, bands or rows, or for another tenant.
  DuplicateIndex(const std::filesystem::path& folder, const std::string& tenant,
                 const NearDuplicateConfig& config);

  // The runs of months before `period`, oldest first; valid until the next change.
  std::vector<const DuplicateRun*> before(const std::string& period) const;
  std::vector<const DuplicateRun*> runs() const;

  // Writes the month's run: the documents that were kept, with texts, and the ids of those that were not. A
  // run that the period had is replaced, erased ids are forgotten with it. `result` is
  // month.resolve(before(period)).
  void commit(const std::string& period, NearDuplicates& month, const NearDuplicateResult& result);

  struct Readmitted {
    std::string id, period;  // a document that was dropped, and the month whose run says so
  };
  struct Erased {
    int64_t documents = 0;               // found, kept or dropped
    std::vector<Readmitted> readmitted;  // were dropped in favour of an erased one: may be added again
  };
  // Puts tombstones on documents: nothing is compared with them any more.
  Erased erase(std::span<const std::string> ids);

  // Writes the runs that hold erased documents again without them and removes the old files. Returns the
  // number of runs. Afterwards nothing of the documents is left: ids, shingles, keys, nor the tombstones.
  int64_t purge();

 private:
  struct Month {
    std::string file;
    std::unique_ptr<DuplicateRun> run;
  };
  void write_manifest();
  std::string add_run(DuplicateRunWriter& writer, const std::string& period,
                      const std::filesystem::path& part);
  void remove_strays() const;

  std::filesystem::path folder_;
  std::string tenant_;
  NearDuplicateConfig config_;
  uint64_t settings_;
  std::vector<Month> months_;  // by period
};

}  // namespace decant
