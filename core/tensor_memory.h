// Where large CPU tensors live: one arena of the process, in place of malloc. A training step asks for the
// same hundreds of megabytes again and again; malloc gives each large block back to the system, which hands
// it out again as fresh pages that must be zeroed one fault at a time. The arena keeps what it got: the first
// step faults, later steps do not. Best fit over one reserved range of addresses, free neighbours joined (the
// idea of PyTorch's CUDA caching allocator), huge pages where the system has them.
//
// Tensors below kArenaBytes stay with malloc. Where an address sanitizer runs, or no range can be reserved
// (RLIMIT_AS), everything does.
#pragma once

#include <cstdint>

namespace decant {

constexpr int64_t kArenaBytes = int64_t{64} << 10;

// From here on ATen allocates in the arena; tensors that exist are untouched. Call it once, at the program's
// start. Returns whether there is an arena. A tensor that does not fit into memory is ATen's error "not
// enough memory".
bool use_tensor_arena();

struct TensorMemory {
  int64_t used = 0;       // bytes of tensors alive in the arena
  int64_t peak_used = 0;  // the most of it so far
  int64_t held = 0;       // bytes the arena reaches over: used, and free ones that it keeps
  int64_t growths = 0;    // times it had to reach further: a steady step adds none
};
TensorMemory tensor_memory();

// Gives the pages of free blocks back to the system: after work that will not come again soon (a finished
// training, a loaded model's sources). The addresses stay.
void release_tensor_memory();

}  // namespace decant
