// The run directory `runs/<name>/<period>/`: one folder per step with a manifest written last; a step whose key is unchanged and
// whose outputs still have their hashes is skipped (DESIGN 3.5). Locked with flock while a run holds it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "core/json.h"

namespace decant {

struct StepKey {
  std::string step;                           // "corpus", "lora/acme"
  int64_t version = 1;                        // of the step's code: raise when its results change
  std::string config;                         // config_key() of what affects results
  std::map<std::string, std::string> inputs;  // name -> sha256 (files, folders, upstream manifests)
};

class RunDirectory {
 public:
  // Makes the folder, takes the lock (Error with exit status 75 when another run holds it) and removes temporaries.
  explicit RunDirectory(const std::filesystem::path& path);
  ~RunDirectory();
  RunDirectory(const RunDirectory&) = delete;
  RunDirectory& operator=(const RunDirectory&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path step_path(const std::string& step) const { return path_ / step; }

  // Runs `work(folder)` unless the step is done. `work` may find in its folder what a killed run left (checkpoints) as long as
  // the key is unchanged; a changed key clears the folder first. `work` returns counts and figures for the manifest (no times, no customer text).
  // Files under `volatile_files` (logs, timing) are not hashed. Returns the manifest; `ran` tells whether work was done.
  struct Outcome {
    Json manifest;
    bool ran = false;
  };
  Outcome step(const StepKey& key, const std::function<Json(const std::filesystem::path& folder)>& work,
               const std::vector<std::string>& volatile_files = {});
  // Whether step() would skip: the manifest has this key and the outputs still have their hashes. Changes nothing.
  bool done(const StepKey& key, const std::vector<std::string>& volatile_files = {}) const;

 private:
  std::filesystem::path path_;
  int lock_ = -1;
};

// One digest for a file, or for a folder's regular files by sorted relative path (manifest.json and volatile files aside). Digests of
// large files are remembered in-process by (path, size, mtime).
std::string digest_path(const std::filesystem::path& path);

// Threads and instruction set, which are part of every key: results are the same bytes only for the same of both.
std::string machine_key();

}  // namespace decant
