// Byte-pair encoding over bytes: a piece becomes bytes, bytes become symbols, and the pair of neighbours with
// the lowest rank is joined (the leftmost of equals) until none is left. Source: Hugging Face tokenizers,
// src/models/bpe. Why it is done this way: docs/decisions/0004-tokenizer-algorithm.md.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data_pipeline/piece_cache.h"
#include "data_pipeline/token_table.h"
#include "data_pipeline/whole_characters.h"

namespace decant {

struct BpeModel {
  TokenTable tokens;             // bytes of each token that text can reach
  std::vector<BpeMerge> merges;  // by rank; of equal pairs the last one counts, as in Hugging Face
  bool ignore_merges = false;    // a whole piece that is a token is not taken apart
  int64_t unknown_id = -1;       // for bytes without a token; -1: they are dropped
  bool fuse_unknown = false;     // neighbouring unknown bytes become one id
};

class Bpe {
 public:
  static constexpr uint32_t kEndId = uint32_t{1} << 22;  // ids are smaller

  explicit Bpe(BpeModel model);
  // This thread's cache of pieces; it stays until the thread has worked with a few other vocabularies.
  PieceCache& cache() const;
  // Appends the ids of a piece that the cache does not know, and tells it; returns the number of bytes that
  // have no token. Thread-safe.
  int64_t encode_unknown(const PieceKey& piece, PieceCache& cache, std::vector<int64_t>& ids) const;
  // The same of pieces of a text that ends at `readable`, with the cache.
  int64_t encode(const std::vector<std::string_view>& pieces, const char* readable,
                 std::vector<int64_t>& ids) const;
  const TokenTable& tokens() const { return tokens_; }

  // Pairs looked up by this thread so far: the work of encoding, for tests of its growth.
  static uint64_t pairs_looked_up();

 private:
  static constexpr uint32_t kNone = ~uint32_t{0};
  static constexpr size_t kFewSymbols = 96;  // up to here a scan over the candidates beats a heap
  struct Slot {
    uint64_t pair = ~uint64_t{0};
    uint32_t rank = 0, joined = 0;
  };
  static uint64_t pair_hash(uint32_t left, uint32_t right);
  bool maybe_merge(uint64_t hash) const;  // false: the pair surely has no merge
  const Slot* find_merge(uint32_t left, uint32_t right) const;
  const Slot* find_merge(uint32_t left, uint32_t right, uint64_t hash) const;
  // Writes the ids of one piece, at most one a byte; returns how many.
  size_t merge(std::string_view piece, int64_t* out, int64_t& lost) const;
  size_t first_symbols(std::string_view piece, uint32_t* symbols, int64_t& lost) const;
  size_t merge_few(uint32_t* ids, size_t n, int64_t* out) const;  // n <= kFewSymbols
  size_t merge_many(const uint32_t* ids, size_t n, int64_t* out) const;

  TokenTable tokens_;
  std::vector<Slot> merges_;      // open addressing, size a power of two
  std::vector<uint64_t> filter_;  // one bit for the hash of each merge's pair
  int filter_shift_ = 0;
  int64_t byte_ids_[256];
  WholeCharacters whole_characters_;
  bool ignore_merges_, fuse_unknown_;
  int64_t unknown_id_;
  uint64_t instance_;
};

}  // namespace decant
