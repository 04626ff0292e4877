#include "core/tensor_memory.h"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/alloc_cpu.h>
#include <c10/util/Exception.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <mutex>

#include "core/placement.h"

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
    open_ = begin_;
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
    now.held = static_cast<int64_t>(placement_.top());
    return now;
  }

  void release() {
    const std::lock_guard lock(mutex_);
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    for (const auto& [size, offset] : placement_.free_blocks()) {
      const auto block = reinterpret_cast<size_t>(begin_ + offset);
      const auto first = up(block, page), last = (block + size) / page * page;
      if (first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
    }
  }

  static Arena& one() {
    static auto* arena = new Arena;  // never destroyed: tensors in statics outlive main
    return *arena;
  }

 private:
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
    if (const size_t missing = placement_.missing(size); missing > 0) reach(missing, size);
    char* p = begin_ + placement_.take(size);
    counts_.used += static_cast<int64_t>(size);
    counts_.peak_used = std::max(counts_.peak_used, counts_.used);
    return p;
  }

  void put(char* p) {
    const std::lock_guard lock(mutex_);
    counts_.used -= static_cast<int64_t>(placement_.put(static_cast<size_t>(p - begin_)));
  }

  // Opens the range for `missing` bytes more, for a tensor of `size`.
  void reach(size_t missing, size_t size) {
    const char* top = begin_ + placement_.top();
    TORCH_CHECK(missing <= static_cast<size_t>(limit_ - top), "not enough memory for a tensor of ", size,
                " bytes");
    if (top + missing > open_) {
      const size_t more = std::min(up(static_cast<size_t>(top + missing - open_), kGrowth),
                                   static_cast<size_t>(limit_ - open_));
      TORCH_CHECK(mprotect(open_, more, PROT_READ | PROT_WRITE) == 0, "not enough memory for a tensor of ",
                  size, " bytes");
      open_ += more;
    }
    ++counts_.growths;
  }

  std::mutex mutex_;
  char *begin_ = nullptr, *limit_ = nullptr;  // the reserved range
  char* open_ = nullptr;                      // up to here it may be written
  Placement placement_;
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
