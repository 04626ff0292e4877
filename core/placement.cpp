#include "core/placement.h"

#include <iterator>
#include <stdexcept>

namespace decant {

size_t Placement::missing(size_t size) const {
  if (free_.lower_bound({size, 0}) != free_.end()) return 0;
  const auto last = blocks_.empty() ? blocks_.end() : std::prev(blocks_.end());
  return size - (last != blocks_.end() && !last->second.used ? last->second.size : 0);
}

size_t Placement::take(size_t size) {
  if (const size_t more = missing(size); more > 0) {  // the last block becomes a free one of `size`
    if (more < size) {
      const auto last = std::prev(blocks_.end());
      free_.erase({last->second.size, last->first});
      last->second.size = size;
      free_.insert({size, last->first});
    } else {
      blocks_[top_] = {size, false};
      free_.insert({size, top_});
    }
    top_ += more;
  }
  const auto fit = free_.lower_bound({size, 0});
  const auto [whole, offset] = *fit;
  free_.erase(fit);
  blocks_[offset] = {size, true};
  if (whole > size) {
    blocks_[offset + size] = {whole - size, false};
    free_.insert({whole - size, offset + size});
  }
  return offset;
}

size_t Placement::put(size_t offset) {
  auto block = blocks_.find(offset);
  if (block == blocks_.end() || !block->second.used) throw std::logic_error("placement: no block to free");
  const size_t size = block->second.size;
  block->second.used = false;
  if (const auto next = std::next(block); next != blocks_.end() && !next->second.used) {
    free_.erase({next->second.size, next->first});
    block->second.size += next->second.size;
    blocks_.erase(next);
  }
  if (block != blocks_.begin() && !std::prev(block)->second.used) {
    const auto before = std::prev(block);
    free_.erase({before->second.size, before->first});
    before->second.size += block->second.size;
    blocks_.erase(block);
    block = before;
  }
  free_.insert({block->second.size, block->first});
  return size;
}

}  // namespace decant
