// Where blocks lie in one range of addresses: best fit among the free ones (the smallest that is large
// enough, then the lowest), free neighbours joined, the range grown only when nothing fits. Offsets alone, no
// memory: the arena of large tensors puts its blocks so (tensor_memory.h), and a memory plan finds out with
// it what that arena will reach over (train/memory_walk.h).
#pragma once

#include <cstddef>
#include <map>
#include <set>
#include <utility>

namespace decant {

class Placement {
 public:
  // Bytes by which the range must grow for a block of `size`; 0: it fits.
  size_t missing(size_t size) const;
  // Offset of a new block of `size` bytes, at least 1; grows the range by missing(size).
  size_t take(size_t size);
  // Frees the block that begins at `offset`; returns its size.
  size_t put(size_t offset);
  size_t top() const { return top_; }  // end of the range
  // (size, offset) of every free block.
  const std::set<std::pair<size_t, size_t>>& free_blocks() const { return free_; }

 private:
  struct Block {
    size_t size;
    bool used;
  };
  size_t top_ = 0;
  std::map<size_t, Block> blocks_;            // all of them, side by side
  std::set<std::pair<size_t, size_t>> free_;  // best fit: the smallest, then the lowest
};

}  // namespace decant
