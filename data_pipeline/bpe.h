// Byte-pair encoding over bytes: a piece becomes bytes, bytes become symbols, and the pair of neighbours with
// the lowest rank is joined (the leftmost of equals) until none is left. Source: Hugging Face tokenizers,
// src/models/bpe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace decant {

struct BpeMerge {
  uint32_t left, right, joined;  // ids; the place in the list is the rank
};

struct BpeModel {
  std::vector<std::pair<std::string, uint32_t>>
      tokens;                    // bytes of each token that text can reach, and its id
  std::vector<BpeMerge> merges;  // of equal pairs the last one counts, as in Hugging Face
  bool ignore_merges = false;    // a whole piece that is a token is not taken apart
  int64_t unknown_id = -1;       // for bytes without a token; -1: they are dropped
  bool fuse_unknown = false;     // neighbouring unknown bytes become one id
};

class Bpe {
 public:
  explicit Bpe(const BpeModel& model);
  // Appends the ids of one piece; returns the number of its bytes that have no token. Thread-safe: each
  // thread keeps a cache.
  int64_t encode(std::string_view piece, std::vector<int64_t>& ids) const;

 private:
  struct Slot {
    uint64_t pair = ~uint64_t{0};
    uint32_t rank = 0, joined = 0;
  };
  const Slot* find_merge(uint32_t left, uint32_t right) const;
  int64_t find_token(std::string_view bytes) const;  // -1 if absent
  int64_t merge(std::string_view piece, std::vector<uint32_t>& out) const;

  std::vector<Slot> merges_;  // open addressing, size a power of two
  struct Token {
    uint32_t offset = 0, length = 0, id = 0;
  };
  std::string bytes_;
  std::vector<Token> tokens_;  // open addressing; length 0 = empty
  int64_t byte_ids_[256];
  bool ignore_merges_, fuse_unknown_;
  int64_t unknown_id_;
  uint64_t instance_;
};

}  // namespace decant
