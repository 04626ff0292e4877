// The files of a folder, to compare what two runs wrote.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "core/file.h"

namespace decant::test {

inline std::map<std::string, std::string> files_below(const std::filesystem::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder))
    if (entry.is_regular_file())
      files[entry.path().lexically_relative(folder).string()] = read_file(entry.path());
  return files;
}

// Files that one folder has and the other has not, or with other bytes.
inline std::vector<std::string> differing_files(const std::filesystem::path& a,
                                                const std::filesystem::path& b) {
  const auto x = files_below(a), y = files_below(b);
  std::vector<std::string> names;
  for (const auto& [name, bytes] : x)
    if (!y.contains(name) || y.at(name) != bytes) names.push_back(name);
  for (const auto& [name, bytes] : y)
    if (!x.contains(name)) names.push_back(name);
  return names;
}

}  // namespace decant::test
