// Which steps of run directories learned from some data, by the digests in their manifests.
#pragma once

#include <filesystem>
#include <set>
#include <string>
#include <vector>

namespace decant {

// Folders of finished steps below `folders` one of whose inputs has a digest of `digests`, or is the output
// of such a step, and so on. Sorted.
std::vector<std::filesystem::path> steps_that_used(const std::vector<std::filesystem::path>& folders,
                                                   std::set<std::string> digests);

}  // namespace decant
