// The tokens of a vocabulary: bytes by id and id by bytes, in one arena. A vocabulary of 150,000 tokens takes
// about 8 MiB and no allocation of its own for any token.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data_pipeline/piece_key.h"

namespace decant {

class TokenTable {
 public:
  void reserve(size_t tokens, size_t bytes);
  // False, and nothing is added, when these bytes or this id are there already.
  bool add(std::string_view bytes, uint32_t id);
  int64_t find(std::string_view bytes) const { return find(bytes, piece_hash(bytes)); }  // -1: not there
  int64_t find(std::string_view bytes, uint64_t hash) const;
  bool has(uint32_t id) const { return id < places_.size() && places_[id].length != kAbsent; }
  // Bytes of a token that is there.
  std::string_view bytes(uint32_t id) const {
    return std::string_view(arena_).substr(places_[id].offset, places_[id].length);
  }
  size_t size() const { return count_; }
  size_t end_id() const { return places_.size(); }  // largest id + 1
  size_t longest() const { return longest_; }       // bytes of the longest token

 private:
  static constexpr uint32_t kAbsent = ~uint32_t{0};
  struct Place {
    uint32_t offset = 0, length = kAbsent;
  };
  struct Slot {
    uint32_t tag = 0, id = kAbsent;  // upper half of the hash
  };
  void grow(size_t slots);

  std::string arena_;
  std::vector<Place> places_;  // by id
  std::vector<Slot> slots_;    // open addressing, size a power of two
  size_t count_ = 0, longest_ = 0;
};

}  // namespace decant
