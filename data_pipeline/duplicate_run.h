// One month of one tenant in the index of duplicates: an immutable file of the documents that were kept,
// sorted by band key, with their ids and shingles, and the ids of those that were dropped. Format, little
// endian:
//   0        "decdup01", zeros to 64
//   64       shingles u64 [S], document by document
//   tables   shingle_end u64 [N + 1], shingle_hash u64 [N] (XXH3-64 of a document's), id_end u64 [N + 1], ids
//            per band: keys u32 [N] ascending, ordinals u32 [N]
//            dropped_end u64 [M + 1], keeper_end u64 [M + 1], dropped ids, ids of their keepers
//            (the ends of lists begin with 0)
//   checks   XXH3-64 of every 4,096 bytes of the tables
//   end-128  footer: counts, settings, XXH3-64 of the checks and of the footer itself
// Every section begins at a multiple of 8. Pages of the tables are checked when they are first read, shingles
// whenever they are, so that opening a run and looking a document up touch no more of the file than they
// need. An offset or ordinal that is out of bounds is an Error too, also in a file whose checksums are right.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/file.h"
#include "data_pipeline/minhash.h"

namespace decant {

inline constexpr size_t kMaxDocumentIdBytes = 1024;

class DuplicateRunWriter {
 public:
  // `settings` (a hash of what keys and shingles depend on) must be the reader's.
  DuplicateRunWriter(const std::filesystem::path& path, std::string period, uint64_t settings,
                     const MinHash& minhash);
  // Documents in the order in which they take precedence; at least one shingle each.
  void keep(std::string_view id, std::span<const uint64_t> shingles);
  void drop(std::string_view id, std::string_view keeper);
  std::string commit();  // the file's checksum, 16 hex digits

 private:
  void write(std::string_view bytes);
  template <class T>
  void write_numbers(const std::vector<T>& numbers);
  void align();

  AtomicFile file_;
  std::string where_, period_;
  uint64_t settings_;
  MinHash minhash_;
  std::vector<std::vector<uint32_t>> keys_;  // of each band
  std::vector<uint64_t> shingle_end_ = {0}, shingle_hash_, id_end_ = {0}, dropped_end_ = {0},
                        keeper_end_ = {0};
  std::string ids_, dropped_, keepers_;
  std::string page_;  // what is written of the current page
  std::vector<uint64_t> page_hashes_;
  uint64_t written_ = 0;
};

// A document of an earlier month that shares a band with document `rank` of this one.
struct EarlierCandidate {
  uint32_t rank, run, ordinal;
};

// This month's side of a look-up: (key << 32 | rank), ascending, and a bit for every key that occurs.
struct BandEntries {
  std::vector<uint64_t> entries;
  std::vector<uint64_t> bits;
  std::vector<uint32_t> first;  // of each word of bits, its first entry
  int shift = 0;                // of a key, to its bit

  void set_bits();
};

class DuplicateRun {
 public:
  // Error when the file is none of ours, cut short, of other settings, or not the one of `checksum`.
  DuplicateRun(const std::filesystem::path& path, uint64_t settings, int64_t bands,
               const std::string& checksum);
  ~DuplicateRun();
  DuplicateRun(const DuplicateRun&) = delete;
  DuplicateRun& operator=(const DuplicateRun&) = delete;

  const std::string& period() const { return period_; }
  size_t documents() const { return documents_; }
  size_t dropped() const { return dropped_; }
  std::string_view id(size_t ordinal) const;
  // Read from the file, not through the map: a document here and there costs less so. Into `buffer`.
  std::span<const uint64_t> shingles(size_t ordinal, std::vector<uint64_t>& buffer) const;
  std::string_view dropped_id(size_t i) const;
  std::string_view dropped_keeper(size_t i) const;

  // Appends the documents that share the key of `band`; of those with one key the first `crowd`. Looks at the
  // keys only: all of them when the run is not much larger than the month, else by galloping.
  void find(size_t band, const BandEntries& month, size_t crowd, uint32_t run,
            std::vector<EarlierCandidate>& found) const;

  // Tombstones: documents (kept or dropped) whose ids have these hashes (id_hash) count as gone.
  void set_erased(std::vector<uint64_t> id_hashes);
  const std::vector<uint64_t>& erased() const { return erased_; }
  bool is_erased(size_t ordinal) const { return !erased_.empty() && is_erased_id(id(ordinal)); }
  bool is_erased_id(std::string_view id) const;
  static uint64_t id_hash(std::string_view id);

  void check_all() const;  // every page and every offset

 private:
  template <class T>
  std::span<const T> section(uint64_t offset, uint64_t count) const;
  void check_pages(uint64_t offset, uint64_t bytes) const;
  std::string_view text(uint64_t ends, uint64_t bytes_at, uint64_t bytes, size_t i, size_t count) const;

  MappedFile file_;
  int descriptor_ = -1;
  std::string where_, period_;
  size_t documents_ = 0, dropped_ = 0, bands_ = 0;
  uint64_t num_shingles_ = 0, id_bytes_ = 0, dropped_bytes_ = 0, keeper_bytes_ = 0;
  struct {
    uint64_t shingle_end, shingle_hash, id_end, ids, bands, dropped_end, keeper_end, dropped_ids, keepers,
        pages;
  } at_{};
  std::unique_ptr<std::atomic<uint8_t>[]> page_is_good_;
  std::vector<uint64_t> erased_;  // ascending
};

}  // namespace decant
