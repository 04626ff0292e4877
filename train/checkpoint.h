// Checkpoints of a training: <folder>/checkpoint/step-<n>/ with optimizer.safetensors (masters and moments by
// tensor name) and state.json, and the links `latest` and `best` beside them. A new one is complete on disk
// before an older one goes away, so that a kill at any moment leaves one.
#pragma once

#include <cstdint>
#include <filesystem>
#include <future>
#include <optional>
#include <string>
#include <vector>

#include "core/json.h"
#include "core/tensor_file.h"
#include "train/optimizer.h"

namespace decant {

struct CheckpointState {
  int64_t step = 0;     // steps done
  int64_t updates = 0;  // of them, those that changed the weights: all but what a guard refused
  int64_t tokens = 0;   // tokens seen so far
  double first_loss = 0, last_loss = 0;
  uint64_t metrics_bytes = 0, event_bytes = 0;  // lengths of metrics.jsonl and of the TensorBoard file
  std::vector<int64_t> left_out;                // steps (from 0) whose data a rewind left out, rising
  Json guard, probe;                            // Guard::state(), ProbeState::to_json()
  bool ended_early = false;                     // out of patience
  std::string config;                           // config key of the training, one setting a line
  std::string machine;                          // machine_key(): threads and instruction set
  std::string parameters;                       // digest of the names, shapes and dtypes of what trains
};

// The newest complete checkpoint; absent when there is none. Removes what a killed save left.
std::optional<std::filesystem::path> find_checkpoint(const std::filesystem::path& folder);
CheckpointState read_checkpoint_state(const std::filesystem::path& checkpoint);
// The checkpoint of one step; absent when it is not there.
std::optional<std::filesystem::path> checkpoint_of_step(const std::filesystem::path& folder, int64_t step);

// Writes `optimizer` (Optimizer::state()) and the state, points `latest` at it and `best` at `best_step` (0:
// none), then removes all older ones but the newest `keep` and the best.
void save_checkpoint(const std::filesystem::path& folder, const CheckpointState& state,
                     const NamedTensors& optimizer, int64_t keep = 1, int64_t best_step = 0);

// Writes checkpoints beside the training, one at a time.
class CheckpointWriter {
 public:
  CheckpointWriter() = default;
  ~CheckpointWriter();  // waits
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;
  // Waits for the one before, then begins this one. The tensors are the writer's own: they must not change.
  void write(const std::filesystem::path& folder, const CheckpointState& state, NamedTensors optimizer,
             int64_t keep, int64_t best_step);
  void wait();  // until it is on disk; throws what the writing threw

 private:
  std::future<void> writing_;
};

// Error that says what differs between the training that was saved and the one that wants to go on.
void check_same_training(const CheckpointState& saved, const CheckpointState& now,
                         const std::filesystem::path& where);

// Bytes that `count` checkpoints with these tensors (Optimizer::state()) take.
uint64_t checkpoint_bytes(const NamedTensors& optimizer, int64_t count = 1);

}  // namespace decant
