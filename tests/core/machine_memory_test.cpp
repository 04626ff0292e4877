#include "core/machine_memory.h"

#include <gtest/gtest.h>

#include "core/file.h"
#include "tests/support/shared.h"

namespace decant {
namespace {

namespace fs = std::filesystem;

void put(const fs::path& file, const std::string& text) {
  fs::create_directories(file.parent_path());
  write_file(file, text);
}

TEST(MachineMemory, ThisMachineHasSome) { EXPECT_GT(available_memory(), uint64_t{1} << 20); }

TEST(MachineMemory, WithoutAGroupTheMachineDecides) {
  const auto root = test::scratch_folder();
  EXPECT_EQ(available_memory(root), 0U);
  put(root / "proc/meminfo", "MemTotal:  9000 kB\nMemFree:  10 kB\nMemAvailable:   4000 kB\n");
  EXPECT_EQ(available_memory(root), 4000U * 1024);
}

TEST(MachineMemory, TheTightestGroupDecides) {
  const auto root = test::scratch_folder();
  put(root / "proc/meminfo", "MemAvailable:   4000 kB\n");
  put(root / "proc/self/cgroup", "0::/a/b\n");
  const fs::path groups = root / "sys/fs/cgroup";
  put(groups / "a/b/memory.max", "max\n");
  put(groups / "a/b/memory.current", "100\n");
  EXPECT_EQ(available_memory(root), 4000U * 1024);
  put(groups / "a/memory.max", "1000000\n");
  put(groups / "a/memory.current", "600000\n");
  EXPECT_EQ(available_memory(root), 400000U);
  put(groups / "a/memory.stat", "anon 400000\ninactive_file 150000\n");  // pages that go when they must
  EXPECT_EQ(available_memory(root), 550000U);
  put(groups / "a/b/memory.max", "50\n");  // used up
  EXPECT_EQ(available_memory(root), 0U);
}

TEST(MachineMemory, GroupsOfVersionOne) {
  const auto root = test::scratch_folder();
  put(root / "proc/meminfo", "MemAvailable:   4000 kB\n");
  put(root / "proc/self/cgroup", "12:cpu:/x\n4:memory:/job\n");
  put(root / "sys/fs/cgroup/memory/job/memory.limit_in_bytes", "90000\n");
  put(root / "sys/fs/cgroup/memory/job/memory.usage_in_bytes", "40000\n");
  put(root / "sys/fs/cgroup/memory/job/memory.stat", "total_inactive_file 10000\n");
  EXPECT_EQ(available_memory(root), 60000U);
}

}  // namespace
}  // namespace decant
