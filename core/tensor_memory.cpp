#include "core/tensor_memory.h"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>
#include <c10/util/Exception.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>
#include <set>

namespace decant {
namespace {

constexpr size_t kAlignment = 64;  // c10's own
constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kGrowth = size_t{64} << 20;

size_t up(size_t n, size_t step) { return (n + step - 1) / step * step; }

class Arena final : public c10::Allocator {
 public:
  // Free blocks come and go, so far more addresses than memory are reserved; they cost nothing.
  Arena() {
    const auto memory =
        static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t wanted = up(8 * memory, kHugePage) + kHugePage;
    void* range = mmap(nullptr, wanted, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (range == MAP_FAILED) return;
    auto* start = static_cast<char*>(range);
    begin_ = start + (up(reinterpret_cast<size_t>(start), kHugePage) - reinterpret_cast<size_t>(start));
    limit_ = start + wanted;
    top_ = open_ = begin_;
    madvise(begin_, static_cast<size_t>(limit_ - begin_), MADV_HUGEPAGE);  // where the system has them
  }

  bool reserved() const { return begin_ != nullptr; }

  c10::DataPtr allocate(size_t bytes) override {
    void* p = bytes < static_cast<size_t>(kArenaBytes) ? c10::alloc_cpu(bytes) : take(bytes);
    return {p, p, &give, at::Device(at::kCPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &give; }
  void copy_data(void* to, const void* from, size_t bytes) const override { std::memcpy(to, from, bytes); }

  TensorMemory memory() {
    const std::lock_guard lock(mutex_);
    TensorMemory now = counts_;
    now.held = top_ - begin_;
    return now;
  }

  void release() {
    const std::lock_guard lock(mutex_);
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    for (const auto& [size, block] : free_) {
      const auto first = up(reinterpret_cast<size_t>(block), page),
                 last = (reinterpret_cast<size_t>(block) + size) / page * page;
      if (first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
    }
  }

  static Arena& one() {
    static auto* arena = new Arena;  // never destroyed: tensors in statics outlive main
    return *arena;
  }

 private:
  struct Block {
    size_t size;
    bool used;
  };
  using Blocks = std::map<char*, Block>;

  static void give(void* p) {
    auto& arena = one();
    if (p >= arena.begin_ && p < arena.limit_)
      arena.put(static_cast<char*>(p));
    else
      c10::free_cpu(p);
  }

  void* take(size_t bytes) {
    const std::lock_guard lock(mutex_);
    const size_t size = up(bytes, kAlignment);
    auto fit = free_.lower_bound({size, nullptr});
    if (fit == free_.end()) {
      reach(size);
      fit = free_.lower_bound({size, nullptr});
    }
    char* p = fit->second;
    const size_t rest = fit->first - size;
    free_.erase(fit);
    blocks_[p] = {size, true};
    if (rest > 0) {
      blocks_[p + size] = {rest, false};
      free_.insert({rest, p + size});
    }
    counts_.used += static_cast<int64_t>(size);
    counts_.peak_used = std::max(counts_.peak_used, counts_.used);
    return p;
  }

  void put(char* p) {
    const std::lock_guard lock(mutex_);
    auto block = blocks_.find(p);
    TORCH_INTERNAL_ASSERT(block != blocks_.end() && block->second.used);
    counts_.used -= static_cast<int64_t>(block->second.size);
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
  }

  // Makes the last block a free one of at least `size`.
  void reach(size_t size) {
    const auto last = blocks_.empty() ? blocks_.end() : std::prev(blocks_.end());
    const bool joins = last != blocks_.end() && !last->second.used;
    const size_t missing = size - (joins ? last->second.size : 0);
    TORCH_CHECK(missing <= static_cast<size_t>(limit_ - top_), "not enough memory for a tensor of ", size,
                " bytes");
    if (top_ + missing > open_) {
      const size_t more = std::min(up(static_cast<size_t>(top_ + missing - open_), kGrowth),
                                   static_cast<size_t>(limit_ - open_));
      TORCH_CHECK(mprotect(open_, more, PROT_READ | PROT_WRITE) == 0, "not enough memory for a tensor of ",
                  size, " bytes");
      open_ += more;
    }
    ++counts_.growths;
    if (joins) {
      free_.erase({last->second.size, last->first});
      last->second.size = size;
      free_.insert({size, last->first});
    } else {
      blocks_[top_] = {size, false};
      free_.insert({size, top_});
    }
    top_ += missing;
  }

  std::mutex mutex_;
  char *begin_ = nullptr, *limit_ = nullptr;  // the reserved range
  char* open_ = nullptr;                      // up to here it may be written
  char* top_ = nullptr;                       // up to here it is blocks
  Blocks blocks_;                             // all of them, side by side
  std::set<std::pair<size_t, char*>> free_;   // best fit: the smallest, then the lowest
  TensorMemory counts_;
};

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kSanitized = true;  // it watches malloc's blocks, not ours
#else
constexpr bool kSanitized = false;
#endif

}  // namespace

bool use_tensor_arena() {
  if (kSanitized || !Arena::one().reserved()) return false;
  c10::SetCPUAllocator(&Arena::one());
  return true;
}

TensorMemory tensor_memory() { return Arena::one().memory(); }

void release_tensor_memory() { Arena::one().release(); }

}  // namespace decant
