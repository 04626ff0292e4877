// What a training step of the recipe will have in memory at its peak, before it begins: the program's own
// part, and the walk of its large tensors (memory_walk.h) through loading, the optimizer, one forward, loss
// and backward, a checkpoint that is written beside the next step, and a measurement on held-out text.
// tests/train/memory_plan_test.cpp and tests/recipes/memory_test.cpp hold it to the measured peak within 5 %.
//
// Assumes full rows (packing leaves little) and that every token has a loss weight; both only make it larger.
// Pages of mapped files (the corpus' shards), which the system takes back when it needs them, are not
// counted.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/model/load_model.h"
#include "train/trainer.h"

namespace decant {

// An adapter that trains beside others on one base.
struct AdapterMemory {
  std::function<int64_t(const std::string& linear)> rank_of;  // 0: has none on this linear
  bool dora = false;
  bool dropout = false;
};

struct TrainingMemory {
  ModelConfig model;
  std::optional<ModelConfig>
      teacher;                  // whose logits the loss compares with; the model starts as a part of it
  Dtype dtype = Dtype::kFp32;   // what is computed in
  Dtype stored = Dtype::kFp32;  // of the weights' file
  Quantization quantized = Quantization::kNone;
  std::function<bool(const std::string& weight)> trains;  // weights of the model; empty: none
  std::vector<AdapterMemory> adapters;                    // those that have a place at one time
  TrainConfig config;           // of which the objective, the optimizer, noise, checkpoints and probe matter
  bool measures = false;        // on held-out text, whatever config.probe says
  bool digests = true;          // of the base's weights, once it is loaded (adapters)
  int64_t measured_tokens = 0;  // of one forward when it does
};

// One forward and backward.
struct PassShape {
  std::vector<int64_t> segments;  // rows of each adapter that takes part; one entry without adapters
  int64_t longest_document = 0;   // rows
  bool checkpoint = false;        // layers run again in backward
};

// Bytes.
struct StepMemory {
  int64_t process = 0;  // the program, its libraries and what they keep
  int64_t weights = 0;  // of the model or base
  int64_t teacher = 0;
  int64_t state = 0;  // of what trains: gradients, masters, moments, averages, adapters
  int64_t saved = 0;  // copy that a checkpoint is written from
  int64_t kept = 0;   // activations that backward needs
  int64_t arena =
      0;  // all but the program: what the arena of large tensors reaches over (TensorMemory::held)
  int64_t scratch = 0;  // the rest at the peak: the loss, one layer's backward, room between tensors
  int64_t peak() const { return process + weights + teacher + state + saved + kept + scratch; }
};
StepMemory step_memory(const TrainingMemory& training, const PassShape& pass);

// Whole mebibytes, rounded up.
int64_t mebibytes(int64_t bytes);
// "weights 257, state 60, ... MiB", parts that are 0 left out.
std::string describe(const StepMemory& memory);

}  // namespace decant
