#include "data_pipeline/jinja/arena.h"

#include <algorithm>

#include "core/error.h"

namespace decant::jinja {

namespace {

constexpr size_t kFirstBlock = size_t{64} << 10;
constexpr size_t kBlock = size_t{1} << 20;

}  // namespace

void Arena::reset(uint64_t limit) {
  more_.clear();
  if (!first_) first_ = std::make_unique_for_overwrite<char[]>(kFirstBlock);
  next_ = first_.get();
  left_ = kFirstBlock;
  used_ = 0;
  limit_ = limit;
}

void* Arena::allocate_slowly(size_t bytes) {
  if (bytes > limit_ || used_ + bytes > limit_)
    fail("rendering takes more than ", limit_ >> 20, " MiB: the template grows without end");
  const size_t block = std::max(bytes, kBlock);
  used_ += block;
  more_.push_back(std::make_unique_for_overwrite<char[]>(block));
  char* start = more_.back().get();
  if (block - bytes > left_) {
    next_ = start + bytes;
    left_ = block - bytes;
  }
  return start;
}

}  // namespace decant::jinja
