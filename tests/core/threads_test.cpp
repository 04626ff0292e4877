#include "core/threads.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

namespace decant {
namespace {

// Each part waits until all parts have begun: a loop on one thread would never end, so it gives up instead.
TEST(Threads, PartsRunAtTheSameTime) {
  at::set_num_threads(2);
  std::atomic<int> begun = 0;
  std::mutex mutex;
  std::set<std::thread::id> ids;
  for_threads(0, 2, 1, [&](int64_t first, int64_t last) {
    ++begun;
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (begun < 2 && std::chrono::steady_clock::now() < end) std::this_thread::yield();
    const std::scoped_lock lock(mutex);
    ids.insert(std::this_thread::get_id());
    EXPECT_EQ(last - first, 1);
  });
  EXPECT_EQ(ids.size(), 2U);
  EXPECT_EQ(begun, 2);
  at::set_num_threads(1);
}

TEST(Threads, CoverTheRangeOnce) {
  at::set_num_threads(2);
  std::vector<int> seen(1000);
  for_threads(3, 1000, 7, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) ++seen[static_cast<size_t>(i)];
  });
  for (size_t i = 0; i < seen.size(); ++i) EXPECT_EQ(seen[i], i >= 3 ? 1 : 0) << i;
  at::set_num_threads(1);
}

}  // namespace
}  // namespace decant
