#include "data_pipeline/minhash.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/instruction_set.h"
#include "core/random.h"

namespace decant {

namespace {

constexpr uint64_t kSeed = 0x6465636E74;  // a part of the index format
constexpr size_t kLanes = 16;             // hash functions are padded to a multiple of these
constexpr size_t kMaxFunctions = 1024;

// least[i] = min over x of (x ^ mask[i]) * multiplier[i], i < n.
using Minimum = void (*)(const uint64_t* shingles, size_t count, const uint32_t* multiplier,
                         const uint32_t* mask, size_t n, uint32_t* least);

void minimum_plain(const uint64_t* shingles, size_t count, const uint32_t* multiplier, const uint32_t* mask,
                   size_t n, uint32_t* least) {
  std::fill_n(least, n, ~uint32_t{0});
  for (size_t s = 0; s < count; ++s) {
    const auto x = static_cast<uint32_t>(shingles[s] >> 32);
    for (size_t i = 0; i < n; ++i) least[i] = std::min(least[i], (x ^ mask[i]) * multiplier[i]);
  }
}

#if defined(__x86_64__)
// One register of functions at a time: the minima stay in it over all shingles. Vector types instead of
// intrinsics, whose undefined operands g++ 12 warns of.
using Lanes8 = uint32_t __attribute__((vector_size(32), aligned(4), may_alias));
using Lanes16 = uint32_t __attribute__((vector_size(64), aligned(4), may_alias));

__attribute__((target("avx2"))) void minimum_avx2(const uint64_t* shingles, size_t count,
                                                  const uint32_t* multiplier, const uint32_t* mask, size_t n,
                                                  uint32_t* least) {
  for (size_t i = 0; i < n; i += 16) {
    const Lanes8 a0 = *reinterpret_cast<const Lanes8*>(multiplier + i);
    const Lanes8 a1 = *reinterpret_cast<const Lanes8*>(multiplier + i + 8);
    const Lanes8 b0 = *reinterpret_cast<const Lanes8*>(mask + i);
    const Lanes8 b1 = *reinterpret_cast<const Lanes8*>(mask + i + 8);
    Lanes8 low0 = ~Lanes8{}, low1 = low0;
    for (size_t s = 0; s < count; ++s) {
      const auto x = static_cast<uint32_t>(shingles[s] >> 32);
      const Lanes8 y0 = (x ^ b0) * a0, y1 = (x ^ b1) * a1;
      low0 = y0 < low0 ? y0 : low0;
      low1 = y1 < low1 ? y1 : low1;
    }
    *reinterpret_cast<Lanes8*>(least + i) = low0;
    *reinterpret_cast<Lanes8*>(least + i + 8) = low1;
  }
}

__attribute__((target("avx512f"))) void minimum_avx512(const uint64_t* shingles, size_t count,
                                                       const uint32_t* multiplier, const uint32_t* mask,
                                                       size_t n, uint32_t* least) {
  for (size_t i = 0; i < n; i += 16) {
    const Lanes16 a = *reinterpret_cast<const Lanes16*>(multiplier + i);
    const Lanes16 b = *reinterpret_cast<const Lanes16*>(mask + i);
    Lanes16 low = ~Lanes16{};
    for (size_t s = 0; s < count; ++s) {
      const Lanes16 y = (static_cast<uint32_t>(shingles[s] >> 32) ^ b) * a;
      low = y < low ? y : low;
    }
    *reinterpret_cast<Lanes16*>(least + i) = low;
  }
}
#endif

Minimum choose() {
#if defined(__x86_64__)
  if (instruction_set() >= InstructionSet::kAvx512) return minimum_avx512;
  if (instruction_set() >= InstructionSet::kAvx2) return minimum_avx2;
#endif
  return minimum_plain;
}

}  // namespace

double catch_probability(double jaccard, int64_t bands, int64_t rows) {
  return 1 - std::pow(1 - std::pow(jaccard, static_cast<double>(rows)), static_cast<double>(bands));
}

MinHash::MinHash(int64_t bands, int64_t rows) : bands_(bands), rows_(rows) {
  check(bands >= 1 && rows >= 1 && bands <= 256 && rows <= 64 &&
            bands * rows <= static_cast<int64_t>(kMaxFunctions),
        "minhash: ", bands, " bands of ", rows, " rows; bands times rows must be 1 and at most ",
        kMaxFunctions);
  const auto functions = static_cast<size_t>(bands * rows);
  const size_t padded = (functions + kLanes - 1) / kLanes * kLanes;
  for (size_t i = 0; i < padded; ++i) {
    const auto draw = philox(kSeed, 0, i);
    multiplier_.push_back(draw[0] | 1);
    mask_.push_back(draw[1]);
  }
}

void MinHash::band_keys(std::span<const uint64_t> shingles, std::span<uint32_t> keys) const {
  static const Minimum minimum = choose();
  uint32_t least[kMaxFunctions + kLanes] = {};
  minimum(shingles.data(), shingles.size(), multiplier_.data(), mask_.data(), mask_.size(), least);
  // Function r * bands + b is row r of band b, so that all bands are folded side by side.
  const auto bands = static_cast<size_t>(bands_);
  for (size_t b = 0; b < bands; ++b) keys[b] = least[b] * 0x9E3779B1U;
  for (size_t r = 1; r < static_cast<size_t>(rows_); ++r)
    for (size_t b = 0; b < bands; ++b) {
      const uint32_t key = keys[b] ^ (keys[b] >> 15);
      keys[b] = (key ^ least[r * bands + b]) * 0x85EBCA77U;
    }
  for (size_t b = 0; b < bands; ++b) keys[b] ^= keys[b] >> 16;
}

}  // namespace decant
