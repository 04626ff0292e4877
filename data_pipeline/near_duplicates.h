// Near-duplicates of one tenant: MinHash bands propose pairs, the true Jaccard similarity of their shingles
// decides.
//
// The rule, which depends neither on the order in which documents were added nor on the number of threads:
// documents are taken in order of (period, id), an empty period last; a document is removed when its
// similarity with an earlier document *that was kept* reaches the threshold, and the earliest such document
// is its keeper. So every removed document resembles its keeper itself by at least the threshold: there are
// no chains (of A ~ B ~ C with A unlike C, A and C are kept). Documents of earlier months come first and are
// never taken back, so working month by month keeps what working on all months at once would.
//
// Missed pairs: see minhash.h. A document is compared with the first `crowd` kept documents of a band only,
// so that 100,000 letters around one long disclaimer do not mean 5,000,000,000 comparisons; a true duplicate
// of a later one shares other bands with it.
//
// Memory per document: 4 bytes a band, its id, and about 30; its shingles (8 bytes each) go to a file beyond
// `memory_mib`, or are not kept at all when a function gives the text again. resolve() adds up to 4 bytes for
// each band that a document shares with another. 10 million documents fit 2 GiB.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/config.h"
#include "data_pipeline/conversation.h"
#include "data_pipeline/duplicate_run.h"
#include "data_pipeline/minhash.h"
#include "data_pipeline/shingles.h"
#include "data_pipeline/spill.h"

namespace decant {

struct NearDuplicateConfig {
  double threshold = 0.8;
  ShingleConfig shingles;
  int64_t bands = 16;
  int64_t rows = 6;
  int64_t crowd = 256;
  int64_t memory_mib = 256;

  static void visit(auto& c, auto&& field) {
    field("threshold", c.threshold,
          "documents are duplicates from this Jaccard similarity of their shingles on");
    field("shingles", c.shingles, "what texts are compared by");
    field("bands", c.bands, "MinHash bands; more find more pairs");
    field("rows", c.rows, "hash functions in a band; fewer find more pairs");
    field("crowd", c.crowd, "documents of one band that another is compared with, at most");
    field("memory_mib", c.memory_mib, "shingles beyond this go to a temporary file", kDoesNotAffectResults);
  }
  void validate(const Place& place) const;
};

// What a document is compared by. Views of the sketcher's buffers; no shingles for an empty text.
struct Sketch {
  std::span<const uint64_t> shingles;
  std::span<const uint32_t> band_keys;
};

// One for each thread.
class Sketcher {
 public:
  explicit Sketcher(const NearDuplicateConfig& config);
  // Of the texts joined by a line feed each; valid until the next call.
  Sketch sketch(std::span<const std::string_view> parts);

 private:
  Shingler shingler_;
  MinHash minhash_;
  std::vector<uint32_t> keys_;
};

// The texts of a conversation that are compared: contents, reasoning and tool calls, in order. Roles do not
// count here; they do for exact duplicates (dedup.h). The two of a preference pair are alike by nature: add
// them as one document, with the texts of both.
std::vector<std::string> duplicate_texts(const Conversation& conversation);

struct RemovedDocument {
  static constexpr uint32_t kThisMonth = 0xffffffff;
  uint32_t document;       // as add() numbered it
  uint32_t keeper;         // of this month: as add() numbered it; else its ordinal in the run
  uint32_t run;            // of `earlier`, or kThisMonth
  uint32_t shared, total;  // shingles: similarity is shared / total
  bool operator==(const RemovedDocument&) const = default;
};

struct NearDuplicateResult {
  std::vector<RemovedDocument> removed;  // by document
  int64_t documents = 0;
  int64_t without_text = 0;  // kept, never compared
  int64_t compared = 0;      // pairs whose shingles were read
  int64_t crowded = 0;       // documents that `crowd` kept out of a band
};

class NearDuplicates {
 public:
  // Gives the text of a document again (as add() numbered it), if it is called for.
  using Fetch = std::function<std::vector<std::string>(size_t document)>;

  // `folder` is for the temporary file. With `fetch` no shingles are kept.
  NearDuplicates(const NearDuplicateConfig& config, std::filesystem::path folder, Fetch fetch = {});

  // For how many documents there will be: memory is taken once, not while it grows.
  void reserve(size_t documents);

  // Returns the document's number: 0, 1, 2, ... `period` is "" or as is_period says. The sketch is one of a
  // Sketcher of the same config: sketching is most of the work, and may be done by many threads.
  size_t add(std::string_view id, std::string_view period, const Sketch& sketch);
  size_t add(std::string_view id, std::string_view period, std::span<const std::string_view> parts);

  // `earlier`: the runs of earlier months, oldest first (DuplicateIndex::before). Call it once; no add()
  // afterwards. Error when two documents have the same period and id.
  NearDuplicateResult resolve(std::span<const DuplicateRun* const> earlier = {});

  size_t size() const { return counts_.size(); }
  std::string_view id(size_t document) const;
  const NearDuplicateConfig& config() const { return config_; }

  // After resolve(): documents in their order of precedence; and the shingles of one, valid until the next
  // call.
  const std::vector<uint32_t>& order() const { return order_; }
  std::span<const uint64_t> shingles(size_t document);

 private:
  struct Buckets;
  void sort_documents();
  void find_buckets(size_t band, std::span<const DuplicateRun* const> earlier, Buckets& buckets,
                    std::vector<EarlierCandidate>& found) const;

  NearDuplicateConfig config_;
  Fetch fetch_;
  Sketcher sketcher_;
  Spill spill_;
  std::vector<std::vector<uint32_t>> keys_;  // [band][document]
  std::vector<uint64_t> shingles_at_;
  std::vector<uint32_t> counts_;  // shingles
  std::string ids_;
  std::vector<uint64_t> id_end_;
  std::map<std::string, uint32_t, std::less<>> periods_;
  std::vector<uint32_t> period_of_;
  std::vector<uint32_t> order_;  // documents by (period, id)
  bool resolved_ = false;
};

}  // namespace decant
