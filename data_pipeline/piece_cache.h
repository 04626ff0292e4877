// What byte-pair encoding made of pieces seen before: language repeats itself. Bounded (about 9 MiB), of one
// thread and one vocabulary; a full table forgets.
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

#include "data_pipeline/piece_hash.h"

namespace decant {

class PieceCache {
 public:
  static constexpr size_t kLongest = 240;  // bytes of a piece
  static constexpr size_t kMostIds = 255;
  static constexpr uint32_t kEndId = 1 << 24;  // ids are smaller

  // Where a piece is looked for. `readable` is the end of the text around it.
  struct Key {
    __m128i bytes;  // of a short piece, its length in the last byte
    uint64_t hash;
    bool is_short;
  };
  static Key key(std::string_view piece, const char* readable) {
    Key made;
    if (piece.size() < 16) {
      alignas(16) char copy[16] = {};
      __m128i bytes;
      if (readable - piece.data() >= 16) {
        bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(piece.data()));
        bytes = _mm_and_si128(
            bytes, _mm_loadu_si128(reinterpret_cast<const __m128i*>(kFirstBytes + 16 - piece.size())));
      } else {
        std::memcpy(copy, piece.data(), piece.size());
        bytes = _mm_load_si128(reinterpret_cast<const __m128i*>(copy));
      }
      const uint64_t length = uint64_t{piece.size()} << 56;
      made.bytes = _mm_or_si128(bytes, _mm_set_epi64x(static_cast<int64_t>(length), 0));
      const auto low = static_cast<uint64_t>(_mm_cvtsi128_si64(made.bytes));
      const auto high = static_cast<uint64_t>(_mm_cvtsi128_si64(_mm_srli_si128(made.bytes, 8)));
      made.hash = piece_hash_short(low, high);
      made.is_short = true;
    } else {
      made.bytes = _mm_setzero_si128();
      made.hash = piece_hash(piece);
      made.is_short = false;
    }
    return made;
  }
  void prefetch(const Key& key) const {
    if (key.is_short)
      _mm_prefetch(reinterpret_cast<const char*>(&buckets_[bucket(key.hash)]), _MM_HINT_T0);
    else
      _mm_prefetch(reinterpret_cast<const char*>(&long_buckets_[long_bucket(key.hash)]), _MM_HINT_T0);
  }

  // Writes the piece's ids, and up to 3 more numbers, to `ids`; returns how many there are, or -1 when the
  // piece is not known. Adds to `lost`.
  int find(std::string_view piece, const Key& key, int64_t* ids, int64_t& lost) const {
    if (key.is_short) {
      const Bucket& found = buckets_[bucket(key.hash)];
      const int first = _mm_movemask_epi8(_mm_cmpeq_epi8(found.slots[0].bytes, key.bytes));
      const int second = _mm_movemask_epi8(_mm_cmpeq_epi8(found.slots[1].bytes, key.bytes));
      if (first == 0xFFFF || second == 0xFFFF) {
        const Slot& slot = found.slots[first != 0xFFFF];
        const __m128i packed = _mm_load_si128(reinterpret_cast<const __m128i*>(slot.ids));
        put4(_mm_and_si128(packed, _mm_set1_epi32(kEndId - 1)), ids);
        lost += slot.ids[1] >> 24;
        return static_cast<int>(slot.ids[0] >> 24);
      }
    }
    return find_long(piece, key, ids, lost);
  }
  void insert(std::string_view piece, const Key& key, const int64_t* ids, size_t count, int64_t lost);

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
  static constexpr size_t kArenaWords = size_t{1} << 20;
  static const char kFirstBytes[32];

  static size_t bucket(uint64_t hash) { return hash & (kBuckets - 1); }
  static size_t long_bucket(uint64_t hash) { return hash & (kLongBuckets - 1); }
  static void put4(__m128i four, int64_t* ids) {
    const __m128i zero = _mm_setzero_si128();
    _mm_storeu_si128(reinterpret_cast<__m128i*>(ids), _mm_unpacklo_epi32(four, zero));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(ids + 2), _mm_unpackhi_epi32(four, zero));
  }
  int find_long(std::string_view piece, const Key& key, int64_t* ids, int64_t& lost) const;

  std::unique_ptr<Bucket[]> buckets_;
  std::unique_ptr<LongBucket[]> long_buckets_;
  std::unique_ptr<uint32_t[]> arena_;
  size_t arena_used_ = 0;
};

}  // namespace decant
