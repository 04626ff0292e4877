// The second pass of the corpus step: what becomes of every document of a store, from its rows alone.
//
// Reading, normalising and rendering found reasons of their own; on top of them, in this order and each only
// for what is still there: exact duplicates, ids that stand twice, reasons of rendering, too long, the
// filter, evaluation sets, near-duplicates (of this month and, with an index, of earlier ones), train or held
// out (decide_split.h), canned replies (decide_replies.h), the mix with its replay (decide_mix.h). A changed
// setting costs this pass and the packing, not the inputs.
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

class EarlierCorpora;

enum class Fate : uint8_t { kTrain, kHeldOut, kQuarantined, kDuplicate, kDropped };

inline constexpr uint64_t kNoDocument = UINT64_MAX;

struct Decision {
  Fate fate = Fate::kTrain;
  Stage stage = Stage::kRead;  // that said no
  uint16_t reason = 0;         // name; 0 for what is kept
  uint32_t copies = 1;         // of what is trained on
  uint64_t kept_instead = 0;   // of a duplicate: the document that stays
};

// A document some of whose turns are not learned from: their tokens have other loss weights than in the
// store.
struct MutedDocument {
  struct Run {
    uint32_t begin = 0, end = 0, weight = 0;  // tokens, counted through all parts
  };
  std::vector<uint32_t> turns;  // indices of messages
  std::vector<Run> runs;
  uint32_t target_tokens = 0, target_bytes = 0;  // that are left
};

// A document of an earlier month that is trained on once more, or (0 copies) that would have been.
struct ReplayedDocument {
  uint32_t corpus = 0, copies = 0;  // corpus: of EarlierCorpora
  uint64_t document = 0;
  uint64_t reason = 0;  // name, where it is left out
};

class Decisions {
 public:
  Decisions() = default;
  explicit Decisions(uint64_t documents) : rows_(documents) {}
  const Decision& operator[](uint64_t document) const { return rows_[document]; }
  uint64_t size() const { return rows_.size(); }
  const std::string& reason(const Decision& decision) const { return reasons_.at(decision.reason); }
  const std::string& reason(const ReplayedDocument& document) const { return reasons_.at(document.reason); }
  // More about it, without people's text; empty for most.
  std::string detail(uint64_t document) const {
    const auto found = details_.find(document);
    return found == details_.end() ? std::string() : found->second;
  }
  bool kept(uint64_t document) const { return rows_[document].fate <= Fate::kHeldOut; }
  const MutedDocument* muted(uint64_t document) const {
    const auto found = muted_.find(document);
    return found == muted_.end() ? nullptr : &found->second;
  }
  const std::vector<ReplayedDocument>& replayed() const { return replayed_; }  // by corpus and document
  // {"split", "canned_replies", "mix"}: what those decisions counted, by tenant.
  const Json& summary() const { return summary_; }

  // For what decides.
  Decision& at(uint64_t document) { return rows_[document]; }
  uint16_t reason_index(const std::string& reason);
  void leave_out(uint64_t document, Fate fate, Stage stage, const std::string& reason,
                 std::string detail = {});
  void mute(uint64_t document, MutedDocument muted) { muted_[document] = std::move(muted); }
  void unmute(uint64_t document) { muted_.erase(document); }
  void replay(std::vector<ReplayedDocument> documents) { replayed_ = std::move(documents); }
  Json& summary() { return summary_; }

  // A file with `key` in it; load() gives nothing when there is none of this key.
  void save(const std::filesystem::path& path, const std::string& key) const;
  static bool load(const std::filesystem::path& path, const std::string& key, Decisions& out);

 private:
  std::vector<Decision> rows_;
  std::vector<std::string> reasons_ = {""};
  std::map<uint64_t, std::string> details_;
  std::map<uint64_t, MutedDocument> muted_;
  std::vector<ReplayedDocument> replayed_;
  Json summary_ = Json::object();
};

// Of documents that are the same, the oldest stays (by period, then id, then place), whatever the order of
// the inputs. Memory: about 300 bytes a document, and 200 for each of the earlier corpora that may be
// replayed. `scratch` is for temporary files. With an index of earlier months this one is written into it, in
// the place of what it had of the month; so are the split's new keys into its ledger.
Decisions decide(const CorpusConfig& config, const CorpusJob& job, const StoreReader& store,
                 const EarlierCorpora& earlier, const std::filesystem::path& scratch);

// Null when the recipe names no evaluation set.
std::unique_ptr<DecontaminationIndex> decontamination_index(const CorpusConfig& config,
                                                            const std::filesystem::path& base_folder);

// Digest of what an index of duplicates knows of the months before `period`; "" without one.
std::string earlier_months_digest(const CorpusConfig& config, const CorpusJob& job);

}  // namespace decant
