// Many fixed phrases looked for in one pass. ASCII letters match in either case.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace decant {

class Phrases {
 public:
  // Of two bytes at least each.
  Phrases(std::initializer_list<std::string_view> phrases);

  // Occurrences that do not overlap, the longest at each place.
  int64_t count(std::string_view text) const;

 private:
  std::vector<std::string> phrases_;    // lower case, by first two bytes, then longest first
  std::array<uint64_t, 1024> pairs_{};  // bit of two bytes: a phrase begins with them
};

}  // namespace decant
