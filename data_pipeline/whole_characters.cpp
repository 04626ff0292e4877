#include "data_pipeline/whole_characters.h"

#include <algorithm>
#include <unordered_map>

#include "data_pipeline/unicode.h"

namespace decant {

namespace {

bool is_tail(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) == 0x80; }

// False only where the bytes surely end inside a character.
bool ends_character(std::string_view bytes) {
  size_t tail = 0;
  while (tail < bytes.size() && is_tail(bytes[bytes.size() - 1 - tail])) ++tail;
  if (tail == bytes.size()) return true;
  const auto lead = static_cast<unsigned char>(bytes[bytes.size() - 1 - tail]);
  return tail == (lead < 0xC0 ? 0u : lead < 0xE0 ? 1u : lead < 0xF0 ? 2u : 3u);
}

bool is_one_character(std::string_view bytes) {
  const auto lead = static_cast<unsigned char>(bytes.front());
  return bytes.size() >= 2 && bytes.size() <= 3 && bytes.size() == (lead < 0xE0 ? 2u : 3u) &&
         valid_utf8_prefix(bytes) == bytes.size();
}

// What may be joined to a token across a character's end: the lowest rank by the byte that stands there, in
// ascending order.
struct Neighbour {
  uint32_t rank;
  unsigned char byte;
};
using Neighbours = std::unordered_map<uint32_t, std::vector<Neighbour>>;

void note(Neighbours& all, uint32_t token, uint32_t rank, char byte) {
  auto b = static_cast<unsigned char>(byte);
  if (b < 0x80) b = 0;
  auto& of_token = all[token];
  for (const Neighbour& known : of_token)
    if (known.byte == b) return;
  of_token.push_back({rank, b});
}

void exclude(const Neighbours& all, uint32_t token, uint32_t rank, uint64_t& bytes, bool& ascii) {
  const auto found = all.find(token);
  if (found == all.end()) return;
  for (const Neighbour& neighbour : found->second) {
    if (neighbour.rank > rank) break;
    if (neighbour.byte < 0x80)
      ascii = true;
    else
      bytes |= uint64_t{1} << (neighbour.byte & 63);
  }
}

}  // namespace

WholeCharacters::WholeCharacters(const TokenTable& tokens, const std::vector<BpeMerge>& merges)
    : places_(kEnd), characters_(1) {
  // What most merges need of their tokens, close together: they name them in no order.
  constexpr uint8_t kThere = 1, kTailFirst = 2, kCharacterEnds = 4, kByteOfMany = 8, kShort = 16;
  std::vector<uint8_t> traits(tokens.end_id());
  for (uint32_t id = 0; id < tokens.end_id(); ++id) {
    if (!tokens.has(id)) continue;
    const std::string_view bytes = tokens.bytes(id);
    traits[id] = kThere;
    if (bytes.empty()) continue;
    traits[id] |= (is_tail(bytes.front()) ? kTailFirst : 0) | (ends_character(bytes) ? kCharacterEnds : 0) |
                  (static_cast<unsigned char>(bytes.front()) >= 0x80 ? kByteOfMany : 0) |
                  (bytes.size() <= 2 ? kShort : 0);
  }
  std::vector<uint32_t> first_use(tokens.end_id(), kNone);
  Neighbours before, after;
  std::unordered_map<uint64_t, std::pair<uint32_t, uint32_t>>
      inside;  // rank and id of pairs within a character
  for (size_t i = 0; i < merges.size(); ++i) {
    const auto& [left, right, joined] = merges[i];
    if (std::max({left, right, joined}) >= traits.size()) continue;
    const uint8_t first = traits[left], second = traits[right];
    if ((first & second & traits[joined] & kThere) == 0) continue;
    const auto rank = static_cast<uint32_t>(i);
    first_use[left] = std::min(first_use[left], rank);
    first_use[right] = std::min(first_use[right], rank);
    if ((second & kTailFirst) != 0) {
      if ((first & second & kShort) != 0 && tokens.bytes(left).size() + tokens.bytes(right).size() <= 3)
        inside[uint64_t{left} << 32 | right] = {rank, joined};
    } else if ((first & kCharacterEnds) != 0) {
      // Of tokens that are a part of a character: its first bytes, its last bytes.
      if ((second & kShort) != 0 && (second & kByteOfMany) != 0)
        note(before, right, rank, tokens.bytes(left).back());
      if ((first & kShort) != 0 && (first & kTailFirst) != 0)
        note(after, left, rank, tokens.bytes(right).front());
    }
  }
  for (uint32_t id = 0; id < tokens.end_id(); ++id) {
    if (!tokens.has(id) || tokens.bytes(id).empty() || !is_one_character(tokens.bytes(id))) continue;
    const std::string_view bytes = tokens.bytes(id);
    uint32_t symbols[3] = {};
    size_t n = 0;
    for (size_t i = 0; i < bytes.size(); ++i)
      if (const int64_t byte = tokens.find(bytes.substr(i, 1)); byte >= 0)
        symbols[n++] = static_cast<uint32_t>(byte);
    if (n != bytes.size()) continue;
    Character character;
    uint32_t highest = 0;
    while (n > 1) {
      size_t at = 0;
      std::pair<uint32_t, uint32_t> best{kNone, kNone};
      for (size_t i = 0; i + 1 < n; ++i) {
        const auto found = inside.find(uint64_t{symbols[i]} << 32 | symbols[i + 1]);
        if (found != inside.end() && found->second.first < best.first) best = found->second, at = i;
      }
      if (best.first == kNone) break;
      exclude(before, symbols[0], best.first, character.before, character.ascii_before);
      exclude(after, symbols[n - 1], best.first, character.after, character.ascii_after);
      highest = std::max(highest, best.first);
      symbols[at] = best.second;
      if (at == 0 && n == 3) symbols[1] = symbols[2];
      --n;
    }
    if (n > 1 || first_use[symbols[0]] <= highest || characters_.size() >= kEnd) continue;
    character.id = symbols[0];
    const char* p = bytes.data();
    places_[next_code_point(p)] = static_cast<uint16_t>(characters_.size());
    characters_.push_back(character);
  }
}

}  // namespace decant
