// The run directory `runs/<name>/<period>/`: one folder per step with a manifest written last; a step whose
// key is unchanged and whose outputs still have their hashes is skipped (DESIGN 3.5). Locked with flock while
// a run holds it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
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
  // Makes the folder, takes the lock (Error with exit status 75 when another run holds it) and removes
  // temporaries.
  explicit RunDirectory(const std::filesystem::path& path);
  ~RunDirectory();
  RunDirectory(const RunDirectory&) = delete;
  RunDirectory& operator=(const RunDirectory&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path step_path(const std::string& step) const { return path_ / step; }

  // Runs `work(folder)` unless the step is done. `work` may find in its folder what a killed run left
  // (checkpoints) as long as the key is unchanged; a changed key, or outputs that no longer have their
  // hashes, clear the folder first. `work` returns counts and figures for the manifest (no times, no customer
  // text). Files with a path component among `volatile_files` (logs, timing, checkpoints) are not hashed.
  // Returns the manifest {step, version, key, machine, config, inputs, outputs, figures}; `ran` tells whether
  // work was done. Error for an output that is neither a file nor a folder.
  struct Outcome {
    Json manifest;
    bool ran = false;
  };
  Outcome step(const StepKey& key, const std::function<Json(const std::filesystem::path& folder)>& work,
               const std::vector<std::string>& volatile_files = {});
  // The same in two halves, for steps that are worked on side by side. begin_step() gives the manifest when
  // the step is done; else it prepares the folder, and finish_step() writes the manifest.
  std::optional<Json> begin_step(const StepKey& key, const std::vector<std::string>& volatile_files = {});
  Json finish_step(const StepKey& key, Json figures, const std::vector<std::string>& volatile_files = {});
  // Makes what lies in the step's folder the beginning of the work for `key`, so that the next step() with it
  // does not clear the folder: for work that mends a finished step (an erasure). Nothing to do without one.
  void reopen(const StepKey& key);
  // Whether step() would skip: the manifest has this key and the outputs still have their hashes. Changes
  // nothing.
  bool done(const StepKey& key, const std::vector<std::string>& volatile_files = {}) const;

 private:
  std::filesystem::path path_;
  int lock_ = -1;
};

// One digest for a file, or for a folder's files by sorted relative path (manifest.json, step.key,
// timing.jsonl, log.jsonl, TensorBoard events and temporaries aside). Digests of large files are remembered
// in-process by path, size, inode and times.
std::string digest_path(const std::filesystem::path& path);

// Threads and instruction set, which are part of every key: results are the same bytes only for the same of
// both. Also the variables that make the libraries below use other instructions (ONEDNN_MAX_CPU_ISA,
// ATEN_CPU_CAPABILITY, DECANT_KERNELS), when set.
std::string machine_key();
// The number of threads that the run computes with, before the first step; until then the machine's.
void set_run_threads(int64_t threads);

}  // namespace decant
