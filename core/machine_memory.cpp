#include "core/machine_memory.h"

#include <algorithm>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>

namespace decant {

namespace fs = std::filesystem;

namespace {

std::optional<uint64_t> number_in(const fs::path& file) {
  std::ifstream in(file);
  uint64_t value = 0;
  if (in >> value) return value;
  return std::nullopt;  // not there, or "max"
}

// The number after `key` at the beginning of a line.
std::optional<uint64_t> number_after(const fs::path& file, const std::string& key) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    std::string word;
    uint64_t value = 0;
    if (words >> word >> value && word == key) return value;
  }
  return std::nullopt;
}

// What a control group's limit leaves. Pages of files are given back when others need them.
std::optional<uint64_t> left_of(const fs::path& limit, const fs::path& used, const fs::path& stat,
                                const char* file_pages) {
  const auto most = number_in(limit), now = number_in(used);
  if (!most || !now) return std::nullopt;
  const uint64_t taken = *now - std::min(*now, number_after(stat, file_pages).value_or(0));
  return *most - std::min(*most, taken);
}

}  // namespace

uint64_t available_memory(const fs::path& root) {
  std::optional<uint64_t> least;
  const auto consider = [&](std::optional<uint64_t> bytes) {
    if (bytes) least = least ? std::min(*least, *bytes) : *bytes;
  };
  if (const auto kib = number_after(root / "proc/meminfo", "MemAvailable:")) consider(*kib * 1024);

  // The group of this process and all above it.
  std::ifstream groups(root / "proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const bool unified = controllers.empty();
    if (!unified && controllers != "memory") continue;
    const fs::path mount = root / (unified ? "sys/fs/cgroup" : "sys/fs/cgroup/memory");
    for (fs::path at = fs::path(line.substr(second + 1)).relative_path().lexically_normal();;
         at = at.parent_path()) {
      const fs::path folder = mount / at;
      consider(unified ? left_of(folder / "memory.max", folder / "memory.current", folder / "memory.stat",
                                 "inactive_file")
                       : left_of(folder / "memory.limit_in_bytes", folder / "memory.usage_in_bytes",
                                 folder / "memory.stat", "total_inactive_file"));
      if (at.empty()) break;
    }
  }
  return least.value_or(0);
}

uint64_t resident_memory(const fs::path& root) {
  return number_after(root / "proc/self/status", "VmRSS:").value_or(0) * 1024;
}

}  // namespace decant
