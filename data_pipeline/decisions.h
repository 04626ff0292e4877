// The second pass of the corpus step: what becomes of every document of a store, from its rows alone.
//
// Reading, normalising and rendering found reasons of their own; on top of them, in this order and each only
// for what is still there: exact duplicates, ids that stand twice, reasons of rendering, too long, the
// filter, evaluation sets, near-duplicates (of this month and, with an index, of earlier ones), train or held
// out. A changed setting costs this pass and the packing, not the inputs.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "data_pipeline/build_store.h"
#include "data_pipeline/corpus_config.h"
#include "data_pipeline/corpus_store.h"

namespace decant {

enum class Fate : uint8_t { kTrain, kHeldOut, kQuarantined, kDuplicate, kDropped };

inline constexpr uint64_t kNoDocument = UINT64_MAX;

struct Decision {
  Fate fate = Fate::kTrain;
  Stage stage = Stage::kRead;  // that said no
  uint16_t reason = 0;         // name; 0 for what is kept
  uint32_t padding = 0;
  uint64_t kept_instead = 0;  // of a duplicate: the document that stays
};

class Decisions {
 public:
  const Decision& operator[](uint64_t document) const { return rows_[document]; }
  uint64_t size() const { return rows_.size(); }
  const std::string& reason(const Decision& decision) const { return reasons_.at(decision.reason); }
  // More about it, without people's text; empty for most.
  std::string detail(uint64_t document) const {
    const auto found = details_.find(document);
    return found == details_.end() ? std::string() : found->second;
  }
  bool kept(uint64_t document) const { return rows_[document].fate <= Fate::kHeldOut; }

  // A file with `key` in it; load() gives nothing when there is none of this key.
  void save(const std::filesystem::path& path, const std::string& key) const;
  static bool load(const std::filesystem::path& path, const std::string& key, Decisions& out);

 private:
  friend class Decider;
  std::vector<Decision> rows_;
  std::vector<std::string> reasons_ = {""};
  std::map<uint64_t, std::string> details_;
};

// Of documents that are the same, the oldest stays (by period, then id, then place), whatever the order of
// the inputs. Memory: about 200 bytes a document. `scratch` is for temporary files. With an index of earlier
// months this one is written into it, in the place of what it had of the month.
Decisions decide(const CorpusConfig& config, const CorpusJob& job, const StoreReader& store,
                 const std::filesystem::path& scratch);

// Null when the recipe names no evaluation set.
std::unique_ptr<DecontaminationIndex> decontamination_index(const CorpusConfig& config,
                                                            const std::filesystem::path& base_folder);

// Digest of what an index of duplicates knows of the months before `period`; "" without one.
std::string earlier_months_digest(const CorpusConfig& config, const CorpusJob& job);

}  // namespace decant
