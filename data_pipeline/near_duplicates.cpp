#include "data_pipeline/near_duplicates.h"

#include <tbb/parallel_for.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <numeric>

#include "core/error.h"
#include "data_pipeline/radix_sort.h"

namespace decant {

namespace {

constexpr uint64_t kMostDocuments = 0xfffffffe;

// The shingles of one document, ready to be counted against others'.
class Overlap {
 public:
  void set(std::span<const uint64_t> shingles) {
    table_.assign(size_t{1} << std::bit_width(shingles.size() * 2), 0);  // no shingle is 0
    mask_ = table_.size() - 1;
    for (const uint64_t hash : shingles) {
      size_t at = hash & mask_;
      while (table_[at] != 0) at = (at + 1) & mask_;
      table_[at] = hash;
    }
  }

  // How many of `other` are there; less than that when it cannot reach `needed` any more.
  size_t count(std::span<const uint64_t> other, size_t needed) const {
    size_t missing = 0;
    if (needed > other.size()) return 0;
    const size_t allowed = other.size() - needed;
    for (size_t i = 0; i < other.size(); ++i) {
      size_t at = other[i] & mask_;
      while (table_[at] != 0 && table_[at] != other[i]) at = (at + 1) & mask_;
      missing += table_[at] == 0;
      if (missing > allowed) return i + 1 - missing;
    }
    return other.size() - missing;
  }

 private:
  std::vector<uint64_t> table_;
  size_t mask_ = 0;
};

// A document of an earlier month: the oldest come first.
struct Older {
  uint32_t run, ordinal;
  bool operator==(const Older&) const = default;
  bool operator<(const Older& other) const {
    return run != other.run ? run < other.run : ordinal < other.ordinal;
  }
};

// The fewest shared shingles of sets of a and b that can reach the threshold; the division decides.
size_t needed_overlap(size_t a, size_t b, double threshold) {
  return static_cast<size_t>(std::ceil(threshold * static_cast<double>(a + b) / (1 + threshold) -
                                       1e-6 * static_cast<double>(a + b)));
}

bool reaches(size_t shared, size_t total, double threshold) {
  return static_cast<double>(shared) / static_cast<double>(total) >= threshold;
}

}  // namespace

void NearDuplicateConfig::validate(const Place& place) const {
  check(threshold > 0 && threshold <= 1, place("threshold"), ": must be above 0 and at most 1, found ",
        threshold);
  check(bands >= 1 && bands <= 256, place("bands"), ": must be 1 to 256, found ", bands);
  check(rows >= 1 && rows <= 64 && bands * rows <= 1024, place("rows"),
        ": must be 1 to 64, and bands times rows at most 1024, found ", rows);
  check(crowd >= 1 && crowd <= 1000000, place("crowd"), ": must be 1 to 1000000, found ", crowd);
  check(memory_mib >= 1 && memory_mib <= (int64_t{1} << 20), place("memory_mib"),
        ": must be 1 to 1048576, found ", memory_mib);
}

Sketcher::Sketcher(const NearDuplicateConfig& config)
    : shingler_(config.shingles),
      minhash_(config.bands, config.rows),
      keys_(static_cast<size_t>(config.bands)) {}

Sketch Sketcher::sketch(std::span<const std::string_view> parts) {
  const auto shingles = shingler_.shingles(parts);
  if (!shingles.empty()) minhash_.band_keys(shingles, keys_);
  return {shingles, keys_};
}

std::vector<std::string> duplicate_texts(const Conversation& conversation) {
  std::vector<std::string> texts;
  for (const Message& message : conversation.messages) {
    if (!message.reasoning.empty()) texts.push_back(message.reasoning);
    if (!message.content.empty()) texts.push_back(message.content);
    if (!message.tool_calls.is_null()) texts.push_back(message.tool_calls.dump());
  }
  return texts;
}

// The documents of each band key that at least two have, as they are kept.
struct NearDuplicates::Buckets {
  std::vector<uint32_t> of;     // document by precedence -> bucket + 1, or 0
  std::vector<uint32_t> begin;  // bucket -> its first member
  std::vector<uint32_t> kept;   // bucket -> members so far
  std::vector<uint32_t> members;
};

NearDuplicates::NearDuplicates(const NearDuplicateConfig& config, std::filesystem::path folder, Fetch fetch)
    : config_(config),
      fetch_(std::move(fetch)),
      sketcher_(config),
      spill_(std::move(folder), static_cast<uint64_t>(config.memory_mib) << 20),
      keys_(static_cast<size_t>(config.bands)),
      id_end_{0} {
  check(config.threshold > 0 && config.threshold <= 1,
        "near-duplicates: the threshold must be above 0 and at most 1");
}

void NearDuplicates::reserve(size_t documents) {
  for (auto& keys : keys_) keys.reserve(documents);
  if (!fetch_) shingles_at_.reserve(documents);
  counts_.reserve(documents);
  id_end_.reserve(documents + 1);
  period_of_.reserve(documents);
}

size_t NearDuplicates::add(std::string_view id, std::string_view period, const Sketch& sketch) {
  check(!resolved_, "near-duplicates: a document after resolve()");
  check(size() < kMostDocuments && sketch.shingles.size() < kMostDocuments,
        "near-duplicates: too many documents");
  check(id.size() <= kMaxDocumentIdBytes, "near-duplicates: an id of ", id.size(), " bytes; at most ",
        kMaxDocumentIdBytes, " are taken");
  counts_.push_back(static_cast<uint32_t>(sketch.shingles.size()));
  if (!fetch_) shingles_at_.push_back(spill_.append(sketch.shingles));
  for (size_t b = 0; b < keys_.size(); ++b)
    keys_[b].push_back(sketch.shingles.empty() ? 0 : sketch.band_keys[b]);
  ids_ += id;
  id_end_.push_back(ids_.size());
  auto found = periods_.find(period);
  if (found == periods_.end()) found = periods_.emplace(period, static_cast<uint32_t>(periods_.size())).first;
  period_of_.push_back(found->second);
  return size() - 1;
}

size_t NearDuplicates::add(std::string_view id, std::string_view period,
                           std::span<const std::string_view> parts) {
  return add(id, period, sketcher_.sketch(parts));
}

std::string_view NearDuplicates::id(size_t document) const {
  return std::string_view(ids_).substr(id_end_[document], id_end_[document + 1] - id_end_[document]);
}

std::span<const uint64_t> NearDuplicates::shingles(size_t document) {
  if (!fetch_) return spill_.at(shingles_at_[document], counts_[document]);
  const std::vector<std::string> texts = fetch_(document);
  const std::vector<std::string_view> parts(texts.begin(), texts.end());
  const Sketch sketch = sketcher_.sketch(parts);
  check(sketch.shingles.size() == counts_[document], "near-duplicates: the text of document '", id(document),
        "' is not the one that was added");
  return sketch.shingles;
}

// order_: by (period, id). Ids often begin alike, so the eight bytes behind their common beginning are
// compared first, without a look at the ids.
void NearDuplicates::sort_documents() {
  std::vector<uint32_t> place(periods_.size());
  uint32_t next = 0;
  for (const auto& [period, number] : periods_)
    if (!period.empty()) place[number] = next++;
  if (const auto none = periods_.find(""); none != periods_.end()) place[none->second] = next;

  size_t common = size() == 0 ? 0 : id(0).size();
  for (size_t i = 1; i < size(); ++i) {
    const std::string_view a = id(i - 1), b = id(i);
    common = std::min({common, a.size(), b.size()});
    common = static_cast<size_t>(
        std::mismatch(a.begin(), a.begin() + static_cast<ptrdiff_t>(common), b.begin()).first - a.begin());
  }
  struct Entry {
    uint64_t head;
    uint32_t period, document;
  };
  std::vector<Entry> entries(size());
  for (size_t i = 0; i < size(); ++i) {
    const std::string_view rest = id(i).substr(common);
    uint64_t head = 0;
    for (size_t k = 0; k < 8; ++k)
      head = head << 8 | (k < rest.size() ? static_cast<unsigned char>(rest[k]) : 0);
    entries[i] = {head, place[period_of_[i]], static_cast<uint32_t>(i)};
  }
  const auto before = [&](const Entry& a, const Entry& b) {
    if (a.period != b.period) return a.period < b.period;
    if (a.head != b.head) return a.head < b.head;
    return id(a.document) < id(b.document);
  };
  if (!std::is_sorted(entries.begin(), entries.end(), before))
    std::sort(entries.begin(), entries.end(), before);
  order_.resize(size());
  for (size_t r = 0; r < size(); ++r) {
    order_[r] = entries[r].document;
    if (r > 0 && entries[r].period == entries[r - 1].period && entries[r].head == entries[r - 1].head &&
        id(order_[r]) == id(order_[r - 1]))
      fail("near-duplicates: document '", id(order_[r]), "' was added twice in the same period");
  }
}

void NearDuplicates::find_buckets(size_t band, std::span<const DuplicateRun* const> earlier, Buckets& buckets,
                                  std::vector<EarlierCandidate>& found) const {
  BandEntries month;
  std::vector<uint64_t> scratch;
  auto& entries = month.entries;
  entries.reserve(size());
  for (size_t r = 0; r < size(); ++r)
    if (counts_[order_[r]] > 0) entries.push_back(uint64_t{keys_[band][order_[r]]} << 32 | r);
  sort_by_upper_half(entries, scratch);
  std::vector<uint64_t>().swap(scratch);

  buckets.of.assign(size(), 0);
  size_t members = 0;
  for (size_t i = 0; i < entries.size();) {
    size_t end = i + 1;
    while (end < entries.size() && (entries[end] ^ entries[i]) >> 32 == 0) ++end;
    if (end - i > 1) {
      buckets.begin.push_back(static_cast<uint32_t>(members));
      members += std::min(end - i, static_cast<size_t>(config_.crowd));
      for (; i < end; ++i)
        buckets.of[static_cast<uint32_t>(entries[i])] = static_cast<uint32_t>(buckets.begin.size());
    }
    i = end;
  }
  buckets.kept.assign(buckets.begin.size(), 0);
  buckets.members.resize(members);

  if (earlier.empty()) return;
  month.set_bits();
  for (size_t run = 0; run < earlier.size(); ++run)
    earlier[run]->find(band, month, static_cast<size_t>(config_.crowd), static_cast<uint32_t>(run), found);
}

NearDuplicateResult NearDuplicates::resolve(std::span<const DuplicateRun* const> earlier) {
  check(!resolved_, "near-duplicates: resolve() a second time");
  resolved_ = true;
  spill_.seal();
  sort_documents();
  std::vector<Buckets> buckets(keys_.size());
  std::vector<std::vector<EarlierCandidate>> found(keys_.size());
  tbb::parallel_for(size_t{0}, keys_.size(), [&](size_t band) {
    find_buckets(band, earlier, buckets[band], found[band]);
    std::vector<uint32_t>().swap(keys_[band]);
  });
  // By document: those of document r begin at older_begin[r].
  std::vector<uint64_t> older_begin(earlier.empty() ? 0 : size() + 1, 0);
  for (const auto& of_band : found)
    for (const EarlierCandidate& candidate : of_band) ++older_begin[candidate.rank + 1];
  std::partial_sum(older_begin.begin(), older_begin.end(), older_begin.begin());
  std::vector<Older> older(older_begin.empty() ? 0 : older_begin.back());
  {
    std::vector<uint64_t> next = older_begin;
    for (auto& of_band : found) {
      for (const EarlierCandidate& candidate : of_band)
        older[next[candidate.rank]++] = {candidate.run, candidate.ordinal};
      std::vector<EarlierCandidate>().swap(of_band);
    }
  }

  NearDuplicateResult result;
  result.documents = static_cast<int64_t>(size());
  Overlap overlap;
  std::vector<uint32_t> candidates;
  std::vector<uint64_t> own, read;
  const auto crowd = static_cast<size_t>(config_.crowd);
  for (uint32_t r = 0; r < size(); ++r) {
    const uint32_t document = order_[r];
    const size_t count = counts_[document];
    result.without_text += count == 0;
    candidates.clear();
    for (const Buckets& band : buckets)
      if (const uint32_t bucket = band.of[r]; bucket != 0)
        candidates.insert(candidates.end(), band.members.begin() + band.begin[bucket - 1],
                          band.members.begin() + band.begin[bucket - 1] + band.kept[bucket - 1]);
    std::span<Older> mine;
    if (!older.empty()) mine = std::span(older).subspan(older_begin[r], older_begin[r + 1] - older_begin[r]);
    if (!mine.empty() || !candidates.empty()) {
      const auto shingles = this->shingles(document);
      own.assign(shingles.begin(), shingles.end());  // the view of a fetched text does not last
      overlap.set(own);
    }
    // True when the other one is similar enough, whose shingles are only read when their number allows it.
    RemovedDocument removed{document, 0, RemovedDocument::kThisMonth, 0, 0};
    const auto is_similar = [&](std::span<const uint64_t> other) {
      const size_t shared = overlap.count(other, needed_overlap(count, other.size(), config_.threshold));
      const size_t total = count + other.size() - shared;
      ++result.compared;
      removed.shared = static_cast<uint32_t>(shared);
      removed.total = static_cast<uint32_t>(total);
      return reaches(shared, total, config_.threshold);
    };
    bool is_removed = false;
    std::sort(mine.begin(), mine.end());
    mine = mine.first(static_cast<size_t>(std::unique(mine.begin(), mine.end()) - mine.begin()));
    for (const Older& candidate : mine) {
      const DuplicateRun& run = *earlier[candidate.run];
      if (!is_similar(run.shingles(candidate.ordinal, read)) || run.is_erased(candidate.ordinal)) continue;
      is_removed = true;
      removed.keeper = candidate.ordinal;
      removed.run = candidate.run;
      break;
    }
    if (!is_removed && !candidates.empty()) {
      std::sort(candidates.begin(), candidates.end());
      candidates.erase(std::unique(candidates.begin(), candidates.end()), candidates.end());
      for (const uint32_t candidate : candidates) {
        const uint32_t other = order_[candidate];
        const size_t least = std::min<size_t>(count, counts_[other]),
                     most = std::max<size_t>(count, counts_[other]);
        if (!reaches(least, most, config_.threshold) || !is_similar(this->shingles(other))) continue;
        is_removed = true;
        removed.keeper = other;
        break;
      }
    }
    if (is_removed) {
      result.removed.push_back(removed);
      continue;
    }
    for (Buckets& band : buckets)
      if (const uint32_t bucket = band.of[r]; bucket != 0) {
        uint32_t& kept = band.kept[bucket - 1];
        // Its place ends where the next bucket's begins.
        const size_t end = bucket < band.begin.size() ? band.begin[bucket] : band.members.size();
        if (band.begin[bucket - 1] + kept < end) {
          band.members[band.begin[bucket - 1] + kept++] = r;
        } else {
          result.crowded += kept >= crowd;
        }
      }
  }
  std::sort(result.removed.begin(), result.removed.end(),
            [](const RemovedDocument& a, const RemovedDocument& b) { return a.document < b.document; });
  return result;
}

}  // namespace decant
