// Documents into rows of fixed length, whole documents only.
#pragma once

#include <cstdint>
#include <vector>

namespace decant {

// Best fit decreasing: documents by falling length (equal ones in their order) each into the row with the
// least room that still holds it; of rows with equal room the one that has had that room longest, as TRL's
// `bfd`. Returns the documents of each row, rows in the order in which they were opened. Every length must be
// 1 .. row_length.
std::vector<std::vector<int64_t>> pack_best_fit(const std::vector<int64_t>& lengths, int64_t row_length);

}  // namespace decant
