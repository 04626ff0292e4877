// Checkpoints of a training: <folder>/checkpoint/step-<n>/ with optimizer.safetensors (masters and moments by
// tensor name) and state.json. A new one is complete on disk before the one before it goes away, so that a
// kill at any moment leaves one.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "core/json.h"
#include "train/optimizer.h"

namespace decant {

struct CheckpointState {
  int64_t step = 0;    // optimizer steps done
  int64_t tokens = 0;  // tokens seen so far
  double first_loss = 0, last_loss = 0;
  uint64_t metrics_bytes = 0, event_bytes = 0;  // lengths of metrics.jsonl and of the TensorBoard file
  std::string config;                           // config key of the training, one setting a line
  std::string machine;                          // machine_key(): threads and instruction set
  std::string parameters;                       // digest of the names, shapes and dtypes of what trains
};

// The newest complete checkpoint; absent when there is none. Removes what a killed save left.
std::optional<std::filesystem::path> find_checkpoint(const std::filesystem::path& folder);
CheckpointState read_checkpoint_state(const std::filesystem::path& checkpoint);
void save_checkpoint(const std::filesystem::path& folder, const CheckpointState& state,
                     const Optimizer& optimizer);

// Error that says what differs between the training that was saved and the one that wants to go on.
void check_same_training(const CheckpointState& saved, const CheckpointState& now,
                         const std::filesystem::path& where);

// Bytes that save_checkpoint needs free, with the one before it still there.
uint64_t checkpoint_bytes(const std::vector<Parameter*>& parameters, bool average);

}  // namespace decant
