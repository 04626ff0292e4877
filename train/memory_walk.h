// Tensors without their values: what a program's large tensors do to the arena (core/tensor_memory.h), found
// out without the program. Blocks are taken and given back in the order in which the code makes and drops its
// tensors, and lie where the arena would put them, so that holes between them count as they do there.
//
//   MemoryWalk walk;
//   auto x = walk.take(rows * width * 4);     // a tensor is made,
//   { auto scratch = walk.take(...); }         // another comes and goes,
//   x.reset();                                 // and the first is dropped
//   walk.peak();
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>

#include "core/placement.h"
#include "core/tensor_memory.h"

namespace decant {

// A tensor, or null for an undefined one. Views and copies of the handle share it, as at::Tensor's do.
using Room = std::shared_ptr<void>;

class MemoryWalk {
 public:
  MemoryWalk() = default;
  MemoryWalk(const MemoryWalk&) = delete;
  MemoryWalk& operator=(const MemoryWalk&) = delete;

  // The walk outlives its rooms.
  Room take(int64_t bytes) {
    if (bytes <= 0) return nullptr;
    used_ += bytes;
    if (bytes < kArenaBytes) {  // stays with malloc
      small_ += bytes;
      small_peak_ = std::max(small_peak_, small_);
      return {this, [this, bytes](void*) { small_ -= bytes, used_ -= bytes; }};
    }
    constexpr int64_t kAlignment = 64;
    const size_t at =
        placement_.take(static_cast<size_t>((bytes + kAlignment - 1) / kAlignment * kAlignment));
    return {this, [this, at, bytes](void*) { placement_.put(at), used_ -= bytes; }};
  }

  int64_t used() const { return used_; }  // bytes of all tensors alive
  // The pages that stay with the process: what the arena reaches over, and the most that malloc had at one
  // time.
  int64_t peak() const { return held() + small_peak_; }
  int64_t held() const { return static_cast<int64_t>(placement_.top()); }  // TensorMemory::held

 private:
  Placement placement_;
  int64_t used_ = 0, small_ = 0, small_peak_ = 0;
};

}  // namespace decant
