#include "data_pipeline/radix_sort.h"

#include <array>
#include <cstddef>

namespace decant {

void sort_by_upper_half(std::vector<uint64_t>& numbers, std::vector<uint64_t>& scratch) {
  constexpr size_t kDigits = size_t{1} << 11;
  std::array<std::array<size_t, kDigits>, 3> places{};
  for (const uint64_t n : numbers) {
    ++places[0][n >> 32 & (kDigits - 1)];
    ++places[1][n >> 43 & (kDigits - 1)];
    ++places[2][n >> 54];
  }
  scratch.resize(numbers.size());
  for (size_t pass = 0; pass < 3; ++pass) {
    size_t sum = 0;
    for (size_t& place : places[pass]) {
      const size_t count = place;
      place = sum;
      sum += count;
    }
    const size_t shift = 32 + 11 * pass;
    for (const uint64_t n : numbers) scratch[places[pass][n >> shift & (kDigits - 1)]++] = n;
    numbers.swap(scratch);
  }
}

}  // namespace decant
