// What byte-pair encoding made of pieces seen before: language repeats itself. Bounded (at most 12 MiB), of
// one thread and one vocabulary; a full table forgets.
//
// A piece of up to 15 bytes with up to 4 ids is one slot of 32 bytes; two slots are a cache line, and a
// piece may be in either. Others up to kLongest bytes are a slot that points into an arena, which is filled
// in the order of the text, so that what is read together lies together.
#pragma once

#include <emmintrin.h>

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "data_pipeline/piece_key.h"

namespace decant {

class PieceCache {
 public:
  static constexpr size_t kLongest = 240;  // bytes of a piece
  static constexpr size_t kMostIds = 255;
  static constexpr uint32_t kEndId = 1 << 24;  // ids are smaller

  void prefetch(const PieceKey& key) const {
    const char* at = key.is_short() ? reinterpret_cast<const char*>(&buckets_[home(key.hash)])
                                    : reinterpret_cast<const char*>(&long_buckets_[long_bucket(key.hash)]);
    _mm_prefetch(at, _MM_HINT_T0);
  }

  // Writes the piece's ids, and up to 3 more numbers, to `ids`; returns how many there are, or -1 when the
  // piece is not known. Adds to `lost`.
  int find(const PieceKey& key, int64_t* ids, int64_t& lost) const {
    return key.is_short() ? find_short(key, ids, lost) : find_long(key, ids, lost);
  }
  int find_short(const PieceKey& key, int64_t* ids, int64_t& lost) const {
    const Bucket* bucket = &buckets_[home(key.hash)];
    unsigned ways = same(*bucket, key.bytes);
    if (ways == 0) {
      bucket = &buckets_[other(key.hash)];
      ways = same(*bucket, key.bytes);
      if (ways == 0) return find_long(key, ids, lost);
    }
    const Slot& slot = bucket->slots[ways >> 1];
    const __m128i packed = _mm_load_si128(reinterpret_cast<const __m128i*>(slot.ids));
    put4(_mm_and_si128(packed, _mm_set1_epi32(kEndId - 1)), ids);
    lost += slot.ids[1] >> 24;
    return static_cast<int>(slot.ids[0] >> 24);
  }
  void insert(const PieceKey& key, const int64_t* ids, size_t count, int64_t lost);

  PieceCache();

 private:
  struct Slot {
    __m128i bytes;
    uint32_t ids[4];  // above 24 bits: the count in the first, the lost bytes in the second
  };
  struct alignas(64) Bucket {
    Slot slots[2];
  };
  struct LongSlot {
    uint64_t hash = 0;
    uint32_t offset = 0;  // in words of the arena: the ids, then the bytes
    uint8_t length = 0, count = 0, lost = 0, spare = 0;
  };
  static constexpr size_t kLongWays = 4;
  struct alignas(64) LongBucket {
    LongSlot slots[kLongWays];
  };
  static constexpr size_t kBuckets = size_t{1} << 15, kLongBuckets = size_t{1} << 15;
  static constexpr size_t kArenaWords = size_t{1} << 21;

  // A short piece is in its home, or, where that was full, in another bucket.
  static size_t home(uint64_t hash) { return hash & (kBuckets - 1); }
  static size_t other(uint64_t hash) { return hash >> 40 & (kBuckets - 1); }
  static size_t long_bucket(uint64_t hash) { return hash & (kLongBuckets - 1); }
  // Bit 0, bit 1: the first, the second slot holds these bytes.
  static unsigned same(const Bucket& bucket, __m128i bytes) {
    const auto first = static_cast<unsigned>(_mm_movemask_epi8(_mm_cmpeq_epi8(bucket.slots[0].bytes, bytes)));
    const auto second =
        static_cast<unsigned>(_mm_movemask_epi8(_mm_cmpeq_epi8(bucket.slots[1].bytes, bytes)));
    return (first + 1) >> 16 | (second + 1) >> 16 << 1;
  }
  static void put4(__m128i four, int64_t* ids) {
    const __m128i zero = _mm_setzero_si128();
    _mm_storeu_si128(reinterpret_cast<__m128i*>(ids), _mm_unpacklo_epi32(four, zero));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(ids + 2), _mm_unpackhi_epi32(four, zero));
  }
  int find_long(const PieceKey& key, int64_t* ids, int64_t& lost) const;

  std::unique_ptr<Bucket[]> buckets_;
  std::unique_ptr<LongBucket[]> long_buckets_;
  std::unique_ptr<uint32_t[]> arena_;
  size_t arena_used_ = 0;
};

}  // namespace decant
