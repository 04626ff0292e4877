// Characters whose bytes byte-pair encoding surely joins before anything else happens to them, so that it can
// start from characters instead of bytes: of Chinese, a third of the symbols and none of the first two joins.
//
// The joins inside a character, taken by itself, have ranks r1, r2. They happen in every text, and may be
// done first, where (1) at each of them no merge across the character's ends, as they are then, has a rank as
// low, whatever
//     stands there; and
// (2) every merge that uses the finished character has a rank above r1 and r2.
// For (1), the pair of the next join is there all along, so the lowest rank of the text cannot be that of a
// merge across the ends. For (2): with the character made early, a pair that uses it is there early, but a
// pair that is taken meanwhile has a rank of at most the next join's, so it is taken before it as it was.
//
// (1) rarely holds for all texts (" " and the first byte of a character often have a merge), but it does but
// for certain bytes before and after the character: these are kept with it.
#pragma once

#include <cstdint>
#include <vector>

#include "data_pipeline/token_table.h"

namespace decant {

struct BpeMerge {
  uint32_t left, right, joined;  // ids; the place in the list is the rank
};

class WholeCharacters {
 public:
  static constexpr uint32_t kNone = ~uint32_t{0};

  // Of equal merges the last one counts.
  WholeCharacters(const TokenTable& tokens, const std::vector<BpeMerge>& merges);
  // The token of the character between these bytes of well-formed text (-1: the piece begins, ends there), or
  // kNone where it must be put together from bytes.
  uint32_t find(uint32_t code_point, int before, int after) const {
    const Character& c = characters_[code_point < kEnd ? places_[code_point] : 0];
    const bool bad_before = before >= 0 && (before < 0x80 ? c.ascii_before : c.before >> (before & 63) & 1);
    const bool bad_after = after >= 0 && (after < 0x80 ? c.ascii_after : c.after >> (after & 63) & 1);
    return bad_before || bad_after ? kNone : c.id;
  }

 private:
  static constexpr uint32_t kEnd = 0x10000;
  struct Character {
    // Bytes that must not stand there, by their low six bits: before, the last byte of a character; after,
    // the first of one. All of ASCII is one.
    uint64_t before = 0, after = 0;
    uint32_t id = kNone;
    bool ascii_before = false, ascii_after = false;
  };
  std::vector<uint16_t> places_;  // by code point; the first character is none
  std::vector<Character> characters_;
};

}  // namespace decant
