// Sorting numbers by their upper half, keeping the order of equal ones.
#pragma once

#include <cstdint>
#include <vector>

namespace decant {

// Three passes of 11, 11 and 10 bits; `scratch` grows to the same size.
void sort_by_upper_half(std::vector<uint64_t>& numbers, std::vector<uint64_t>& scratch);

}  // namespace decant
