#include "recipes/trained_on.h"

#include <algorithm>

#include "core/error.h"
#include "core/hash.h"
#include "core/json.h"
#include "core/run_directory.h"

namespace decant {
namespace fs = std::filesystem;

namespace {

struct Step {
  fs::path folder;
  std::set<std::string> inputs;
  bool used = false;
};

std::vector<Step> finished_steps(const std::vector<fs::path>& folders) {
  std::set<fs::path> manifests;
  for (const fs::path& folder : folders) {
    check(fs::is_directory(folder), folder.string(), ": no such folder");
    for (const auto& entry : fs::recursive_directory_iterator(folder))
      if (entry.path().filename() == "manifest.json") manifests.insert(fs::weakly_canonical(entry.path()));
  }
  std::vector<Step> steps;
  for (const fs::path& manifest : manifests) {
    const Json json = read_json(manifest);
    if (!json.is_object() || !json.contains("inputs") || !json["inputs"].is_object()) continue;
    Step& step = steps.emplace_back();
    step.folder = manifest.parent_path();
    for (const auto& [name, digest] : json["inputs"].items())
      if (digest.is_string()) step.inputs.insert(digest.get<std::string>());
  }
  return steps;
}

// What a later step's manifest can know this one by: its manifest, its folders, its files.
std::set<std::string> digests_of(const fs::path& folder) {
  std::set<std::string> digests = {sha256_file(folder / "manifest.json")};
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.is_directory() && !fs::exists(entry.path() / "step.key"))
      digests.insert(digest_path(entry.path()));
  const Json manifest = read_json(folder / "manifest.json");
  if (manifest.contains("outputs") && manifest["outputs"].is_object())
    for (const auto& [name, digest] : manifest["outputs"].items())
      if (digest.is_string()) digests.insert(digest.get<std::string>());
  return digests;
}

}  // namespace

std::vector<fs::path> steps_that_used(const std::vector<fs::path>& folders, std::set<std::string> digests) {
  std::vector<Step> steps = finished_steps(folders);
  for (bool changed = true; changed;) {
    changed = false;
    for (Step& step : steps) {
      const bool uses = std::any_of(step.inputs.begin(), step.inputs.end(),
                                    [&](const std::string& digest) { return digests.contains(digest); });
      if (step.used || !uses) continue;
      step.used = changed = true;
      digests.merge(digests_of(step.folder));
    }
  }
  std::vector<fs::path> used;
  for (const Step& step : steps)
    if (step.used) used.push_back(step.folder);
  return used;
}

}  // namespace decant
