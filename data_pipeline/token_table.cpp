#include "data_pipeline/token_table.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "core/error.h"

namespace decant {

void TokenTable::reserve(size_t tokens, size_t bytes) {
  arena_.reserve(bytes);
  places_.reserve(tokens);
  const size_t wanted = std::bit_ceil(tokens * 3 / 2 + 8);
  if (wanted > slots_.size()) grow(wanted);
}

void TokenTable::grow(size_t size) {
  std::vector<Slot> old(size);
  old.swap(slots_);
  for (const Slot& slot : old) {
    if (slot.id == kAbsent) continue;
    size_t at = piece_hash(bytes(slot.id)) & (slots_.size() - 1);
    while (slots_[at].id != kAbsent) at = (at + 1) & (slots_.size() - 1);
    slots_[at] = slot;
  }
}

bool TokenTable::add(std::string_view bytes, uint32_t id) {
  if (has(id)) return false;
  if ((count_ + 1) * 3 / 2 >= slots_.size()) grow(std::bit_ceil((count_ + 8) * 2));
  const uint64_t hash = piece_hash(bytes);
  size_t at = hash & (slots_.size() - 1);
  const auto tag = static_cast<uint32_t>(hash >> 32);
  for (; slots_[at].id != kAbsent; at = (at + 1) & (slots_.size() - 1))
    if (slots_[at].tag == tag && this->bytes(slots_[at].id) == bytes) return false;
  check(arena_.size() + bytes.size() < kAbsent, "a vocabulary of more than 4 GiB of text");
  slots_[at] = {tag, id};
  if (id >= places_.size()) places_.resize(id + size_t{1});
  places_[id] = {static_cast<uint32_t>(arena_.size()), static_cast<uint32_t>(bytes.size())};
  arena_.append(bytes);
  ++count_;
  longest_ = std::max(longest_, bytes.size());
  return true;
}

int64_t TokenTable::find(std::string_view bytes, uint64_t hash) const {
  if (bytes.size() > longest_ || slots_.empty()) return -1;
  const auto tag = static_cast<uint32_t>(hash >> 32);
  for (size_t at = hash & (slots_.size() - 1); slots_[at].id != kAbsent; at = (at + 1) & (slots_.size() - 1))
    if (slots_[at].tag == tag && this->bytes(slots_[at].id) == bytes) return slots_[at].id;
  return -1;
}

}  // namespace decant
