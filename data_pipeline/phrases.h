// Many fixed phrases looked for in one pass. ASCII letters match in either case.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace decant {

// Where a text may have one of some pairs of bytes, 32 places at once: every pair belongs to one of eight
// bits, and a place stays when a bit remains of the four tables that the halves of its two bytes look up (the
// packed search of Hyperscan and ripgrep, "Teddy").
struct PairFilter {
  std::array<uint8_t, 16> low_first{}, high_first{}, low_second{}, high_second{};

  void add(char first, char second);
  // A place from `begin` on before which there is none that may have a pair.
  size_t next(std::string_view text, size_t begin) const;
};

class Phrases {
 public:
  // Of two bytes at least each.
  Phrases(std::initializer_list<std::string_view> phrases);

  // Occurrences that do not overlap, the longest at each place.
  int64_t count(std::string_view text) const;

 private:
  std::vector<std::string> phrases_;    // lower case, by first two bytes, then longest first
  std::array<uint64_t, 1024> pairs_{};  // bit of two bytes: a phrase begins with them
  PairFilter filter_;
};

}  // namespace decant
