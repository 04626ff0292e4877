// The tensors that one forward and backward makes, as a walk (memory_walk.h): the kernels of core/kernels and
// the layers of core/model, each with its sizes and the order in which it makes and drops them, and nothing
// else. Written after that code: a kernel that makes another tensor needs its line here, and
// tests/train/memory_plan_test.cpp measures whether it has it. The fast kernels on the CPU are meant, not
// DECANT_KERNELS=plain.
//
// Legend: T tokens, D width, H heads, G key/value heads, K head width, F feed-forward width, V vocabulary, R
// rank, N outputs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/kernels/gemm.h"
#include "core/kernels/quantized_weight.h"
#include "core/model/model_config.h"
#include "train/memory_walk.h"

namespace decant {

// One linear as the walk sees it.
struct LinearMemory {
  std::string name;
  int64_t outputs = 0, inputs = 0;
  bool bias = false;
  bool trains = false;         // weight
  std::vector<int64_t> ranks;  // of the terms in the pass, one for each segment; 0: none
  bool dora = false;
};
struct ProjectionMemory {
  std::vector<LinearMemory> linears;
  Quantization quantized = Quantization::kNone;
  int64_t outputs() const;
  int64_t inputs() const { return linears.at(0).inputs; }
};

struct FeedForwardMemory {
  ProjectionMemory gate_up, down;
};
struct LayerMemory {
  bool trains_norms = false;
  ProjectionMemory qkv, o;                 // qkv without linears under latent attention
  ProjectionMemory inputs, q_b, kv_b;      // latent attention; q_b may have no linears
  FeedForwardMemory dense;                 // without linears where there are experts
  std::vector<FeedForwardMemory> experts;  // all alike
  FeedForwardMemory shared;
};

// How a pass is computed.
struct PassMemory {
  const ModelConfig* config = nullptr;
  int64_t element = 4;    // bytes of a value of the model
  bool converts = false;  // bf16 without bf16 instructions: products run in fp32
  int64_t threads = 1;
  std::vector<int64_t> segments;  // rows of each; one for a pass that is not shared
  std::vector<bool> drops;        // whether a segment's adapter has dropout; shorter: the rest have none
  int64_t longest_document = 0;
  bool checkpoint = false;
  bool noise = false;
  bool head_trains = false, norm_trains = false;
  int64_t lowest = 0;  // layer; those below keep nothing
  int64_t tokens() const;
};

// What a layer keeps for backward.
struct LayerKept {
  std::vector<Room> rooms;
};

// Forward up to the last hidden states; without `keeps` it is inference.
struct ForwardMemory {
  Room hidden;
  std::vector<LayerKept> layers;
  Room last;  // the final norm's input
};
ForwardMemory forward_memory(MemoryWalk& walk, const PassMemory& pass, const std::vector<LayerMemory>& layers,
                             bool keeps);
void backward_memory(MemoryWalk& walk, const PassMemory& pass, const std::vector<LayerMemory>& layers,
                     const ForwardMemory& forward);

// The loss on `rows` weighted rows of hidden; returns d_hidden [T, D].
Room cross_entropy_memory(MemoryWalk& walk, const PassMemory& pass, int64_t rows);
void log_probabilities_memory(MemoryWalk& walk, const PassMemory& pass, int64_t rows);
// With a teacher's last hidden states; `teacher` may be null (no KL).
Room distill_loss_memory(MemoryWalk& walk, const PassMemory& pass, const PassMemory* teacher, int64_t rows);

}  // namespace decant
