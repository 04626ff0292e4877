// Counter-based randomness: Philox 4x32-10 (Salmon et al., SC 2011, "Parallel random numbers: as easy as 1,
// 2, 3"; the same function that cuRAND and PyTorch use). A draw is a pure function of (seed, stream,
// counter): no hidden state, so resuming, reordering and batching cannot change it.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace decant {

std::array<uint32_t, 4> philox(uint64_t seed, uint64_t stream, uint64_t counter);

// Streams of different purpose never meet: stream = purpose_stream(purpose, index).
enum class Purpose : uint64_t {
  kInit = 1,
  kShuffle = 2,
  kSample = 3,
  kRounding = 4,
  kDropout = 5,
  kTest = 6,
  kAdapterDropout = 7
};
constexpr uint64_t purpose_stream(Purpose purpose, uint64_t index) {
  return (static_cast<uint64_t>(purpose) << 56) ^ index;
}

// Uniform in [0, 1) with 53 bits.
double uniform(uint64_t seed, uint64_t stream, uint64_t counter);

// Uniform in (0, 1) and standard normal (Box-Muller on one counter).
double standard_normal(uint64_t seed, uint64_t stream, uint64_t counter);

// A permutation of 0..n-1 (Fisher-Yates on the counters 0..n-2).
std::vector<int64_t> permutation(int64_t n, uint64_t seed, uint64_t stream);

}  // namespace decant
