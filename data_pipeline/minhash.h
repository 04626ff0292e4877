// MinHash signatures in bands: two texts are candidates when all rows of one band agree (Broder 1997; Indyk
// and Motwani 1998). Hash functions are (x ^ b) * a mod 2^32 with odd a, constants by Philox from one fixed
// seed.
//
// Probability that a pair is a candidate, 1 - (1 - J^rows)^bands:
//   bands x rows    J = .2    .3     .5    .7    .8     .85     .9
//   16 x 8          .0000   .0010  .061  .613  .9470  .9938   .9999   a usual shape
//   16 x 6          .0010   .0116  .223  .865  .9923  .9995  1.0000   the default: fewer misses for less work
//   21 x 6          .0013   .0152  .282  .928  .9983  1.0000 1.0000
// More candidates cost little, because every one is verified; at 8 rows 5 of 100 pairs at J = .8 are missed.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace decant {

double catch_probability(double jaccard, int64_t bands, int64_t rows);

class MinHash {
 public:
  MinHash(int64_t bands, int64_t rows);
  int64_t bands() const { return bands_; }
  int64_t rows() const { return rows_; }

  // One key a band, of hashes as Shingler makes them (the upper half of each is used); at least one hash. The
  // same on every processor. Thread-safe.
  void band_keys(std::span<const uint64_t> shingles, std::span<uint32_t> keys) const;

 private:
  int64_t bands_, rows_;
  std::vector<uint32_t> multiplier_, mask_;  // padded to whole registers
};

}  // namespace decant
