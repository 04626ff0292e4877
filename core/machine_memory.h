// How much memory this process may still use: what the machine has available, or less where a control group
// (container, systemd unit) allows less. Sources: proc_meminfo(5); the kernel's cgroup-v2.rst (memory.max,
// memory.current, memory.stat) and cgroup-v1 memory.txt.
#pragma once

#include <cstdint>
#include <filesystem>

namespace decant {

// Bytes; 0 when it cannot be known. `root` is where /proc and /sys are looked for (tests).
uint64_t available_memory(const std::filesystem::path& root = "/");

// Bytes of this process that are in memory now; 0 when it cannot be known.
uint64_t resident_memory(const std::filesystem::path& root = "/");

}  // namespace decant
