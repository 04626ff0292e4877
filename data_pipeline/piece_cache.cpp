#include "data_pipeline/piece_cache.h"

#include <algorithm>

namespace decant {

namespace {

bool equal(const char* known, std::string_view piece) {
  if (piece.size() < 16) return std::memcmp(known, piece.data(), piece.size()) == 0;
  const auto differ = [&](size_t at) {
    const __m128i a = _mm_loadu_si128(reinterpret_cast<const __m128i*>(known + at));
    const __m128i b = _mm_loadu_si128(reinterpret_cast<const __m128i*>(piece.data() + at));
    return _mm_movemask_epi8(_mm_cmpeq_epi8(a, b)) != 0xFFFF;
  };
  for (size_t at = 0; at + 16 < piece.size(); at += 16)
    if (differ(at)) return false;
  return !differ(piece.size() - 16);
}

}  // namespace

// The arena is not touched before it is used.
PieceCache::PieceCache()
    : buckets_(new Bucket[kBuckets]()),
      long_buckets_(new LongBucket[kLongBuckets]()),
      arena_(std::make_unique_for_overwrite<uint32_t[]>(kArenaWords)) {}

int PieceCache::find_long(const PieceKey& key, int64_t* ids, int64_t& lost) const {
  const LongBucket& bucket = long_buckets_[long_bucket(key.hash)];
  size_t way = 0;
  for (size_t i = 1; i < kLongWays; ++i) way = bucket.slots[i].hash == key.hash ? i : way;
  const LongSlot& slot = bucket.slots[way];
  if (slot.hash != key.hash || slot.length != key.text.size()) return -1;
  const uint32_t* at = &arena_[slot.offset];
  if (!equal(reinterpret_cast<const char*>(at + slot.count), key.text)) return -1;
  for (int i = 0; i < slot.count; i += 4)
    put4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at + i)), ids + i);
  lost += slot.lost;
  return slot.count;
}

void PieceCache::insert(const PieceKey& key, const int64_t* ids, size_t count, int64_t lost) {
  const std::string_view piece = key.text;
  if (lost > 255 || count > kMostIds || piece.size() > kLongest) return;
  if (key.is_short() && count <= 4) {
    Bucket *first = &buckets_[home(key.hash)], *second = &buckets_[other(key.hash)];
    const __m128i empty = _mm_setzero_si128();
    const bool full = same(*first, empty) == 0;
    Bucket& into = full && same(*second, empty) != 0 ? *second : *first;
    into.slots[1] = into.slots[0];
    Slot& slot = into.slots[0];
    slot.bytes = key.bytes;
    for (size_t i = 0; i < 4; ++i) slot.ids[i] = i < count ? static_cast<uint32_t>(ids[i]) : 0;
    slot.ids[0] |= static_cast<uint32_t>(count) << 24;
    slot.ids[1] |= static_cast<uint32_t>(lost) << 24;
    return;
  }
  // Three words more, since ids are read by four.
  const size_t words = count + (piece.size() + 3) / 4;
  if (arena_used_ + words + 3 > kArenaWords) {
    std::fill_n(long_buckets_.get(), kLongBuckets, LongBucket());
    arena_used_ = 0;
  }
  auto& slots = long_buckets_[long_bucket(key.hash)].slots;
  std::copy_backward(slots, slots + kLongWays - 1, slots + kLongWays);
  LongSlot& slot = slots[0];
  slot.hash = key.hash;
  slot.offset = static_cast<uint32_t>(arena_used_);
  slot.length = static_cast<uint8_t>(piece.size());
  slot.count = static_cast<uint8_t>(count);
  slot.lost = static_cast<uint8_t>(lost);
  uint32_t* at = &arena_[arena_used_];
  for (size_t i = 0; i < count; ++i) at[i] = static_cast<uint32_t>(ids[i]);
  std::memcpy(at + count, piece.data(), piece.size());
  arena_used_ += words;
}

}  // namespace decant
