#include "data_pipeline/bpe.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>
#include <memory>

#include "core/error.h"
#include "data_pipeline/unicode.h"

namespace decant {

namespace {

constexpr size_t kBatch = 32;  // pieces that are looked for in the cache at once

thread_local uint64_t pairs_looked_up_here = 0;

// A thread has a few caches, so that it can serve several tokenizers in turn.
struct OwnedCache {
  uint64_t owner = 0;
  uint64_t last_use = 0;
  std::unique_ptr<PieceCache> cache;
};

PieceCache& cache_of(uint64_t owner) {
  thread_local OwnedCache caches[3];
  thread_local OwnedCache* latest = &caches[0];
  thread_local uint64_t clock = 0;
  if (latest->owner == owner) return *latest->cache;
  OwnedCache* oldest = &caches[0];
  for (OwnedCache& one : caches) {
    if (one.owner == owner) oldest = &one;
    if (oldest->owner != owner && one.last_use < oldest->last_use) oldest = &one;
  }
  if (oldest->owner != owner) {
    oldest->cache = std::make_unique<PieceCache>();
    oldest->owner = owner;
  }
  oldest->last_use = ++clock;
  latest = oldest;
  return *oldest->cache;
}

}  // namespace

uint64_t Bpe::pairs_looked_up() { return pairs_looked_up_here; }

uint64_t Bpe::pair_hash(uint32_t left, uint32_t right) {
  const uint64_t pair = uint64_t{left} << 32 | right;
  const uint64_t h = pair * 0x9E3779B97F4A7C15ull;
  return h ^ h >> 32;
}

Bpe::Bpe(BpeModel model)
    : tokens_(std::move(model.tokens)),
      whole_characters_(tokens_, model.merges),
      ignore_merges_(model.ignore_merges),
      fuse_unknown_(model.fuse_unknown),
      unknown_id_(model.unknown_id) {
  static std::atomic<uint64_t> instances{0};
  instance_ = ++instances;
  check(tokens_.end_id() <= kEndId, "a vocabulary with ids of ", kEndId, " and more");
  for (int b = 0; b < 256; ++b) {
    const char byte = static_cast<char>(b);
    byte_ids_[b] = tokens_.find(std::string_view(&byte, 1));
  }
  merges_.resize(std::bit_ceil(model.merges.size() * 3 / 2 + 2));
  // Eight bits a merge and more: of the pairs without a merge, one in ten is looked for in vain.
  const size_t bits = std::bit_ceil(std::max<size_t>(model.merges.size() * 8, 64));
  filter_.resize(bits / 64);
  filter_shift_ = 64 - std::countr_zero(bits);
  constexpr size_t kAhead = 12;  // every merge lies somewhere else in memory
  for (size_t rank = 0; rank < model.merges.size(); ++rank) {
    if (rank + kAhead < model.merges.size()) {
      const BpeMerge& later = model.merges[rank + kAhead];
      __builtin_prefetch(&merges_[pair_hash(later.left, later.right) & (merges_.size() - 1)], 1);
    }
    const BpeMerge& merge = model.merges[rank];
    const uint64_t pair = uint64_t{merge.left} << 32 | merge.right;
    const uint64_t hash = pair_hash(merge.left, merge.right);
    filter_[hash >> filter_shift_ >> 6] |= uint64_t{1} << (hash >> filter_shift_ & 63);
    size_t at = hash & (merges_.size() - 1);
    while (merges_[at].pair != ~uint64_t{0} && merges_[at].pair != pair) at = (at + 1) & (merges_.size() - 1);
    merges_[at] = {pair, static_cast<uint32_t>(rank), merge.joined};
  }
}

bool Bpe::maybe_merge(uint64_t hash) const {
  const uint64_t bit = hash >> filter_shift_;
  return filter_[bit >> 6] >> (bit & 63) & 1;
}

const Bpe::Slot* Bpe::find_merge(uint32_t left, uint32_t right, uint64_t hash) const {
  const uint64_t pair = uint64_t{left} << 32 | right;
  size_t at = hash & (merges_.size() - 1);
  while (merges_[at].pair != pair) {
    if (merges_[at].pair == ~uint64_t{0}) return nullptr;
    at = (at + 1) & (merges_.size() - 1);
  }
  return &merges_[at];
}

const Bpe::Slot* Bpe::find_merge(uint32_t left, uint32_t right) const {
  const uint64_t hash = pair_hash(left, right);
  return maybe_merge(hash) ? find_merge(left, right, hash) : nullptr;
}

size_t Bpe::first_symbols(std::string_view piece, uint32_t* symbols, int64_t& lost) const {
  size_t n = 0;
  bool after_unknown = false;
  for (const char *p = piece.data(), *end = p + piece.size(); p != end;) {
    const auto lead = static_cast<unsigned char>(*p);
    const int length = lead < 0xC0 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    if ((length == 2 || length == 3) && end - p >= length) {
      const int before = p == piece.data() ? -1 : static_cast<unsigned char>(p[-1]);
      const int after = p + length == end ? -1 : static_cast<unsigned char>(p[length]);
      const char* next = p;
      const uint32_t id = whole_characters_.find(next_code_point(next), before, after);
      if (id != WholeCharacters::kNone) {
        symbols[n++] = id;
        after_unknown = false;
        p = next;
        continue;
      }
    }
    for (const char* stop = p + std::min<ptrdiff_t>(length, end - p); p != stop; ++p) {
      const int64_t id = byte_ids_[static_cast<unsigned char>(*p)];
      if (id >= 0) {
        symbols[n++] = static_cast<uint32_t>(id);
      } else {
        ++lost;
        if (unknown_id_ >= 0 && !(fuse_unknown_ && after_unknown))
          symbols[n++] = static_cast<uint32_t>(unknown_id_);
      }
      after_unknown = id < 0;
    }
  }
  return n;
}

size_t Bpe::merge(std::string_view piece, int64_t* out, int64_t& lost) const {
  if (ignore_merges_)
    if (const int64_t id = tokens_.find(piece); id >= 0) {
      *out = id;
      return 1;
    }
  if (piece.size() <= kFewSymbols) {
    uint32_t symbols[kFewSymbols];
    return merge_few(symbols, first_symbols(piece, symbols, lost), out);
  }
  std::vector<uint32_t> symbols(piece.size());
  symbols.resize(first_symbols(piece, symbols.data(), lost));
  if (symbols.size() <= kFewSymbols) return merge_few(symbols.data(), symbols.size(), out);
  return merge_many(symbols.data(), symbols.size(), out);
}

// Candidates are the pairs that have a merge, a few of all pairs in most languages; each round takes the
// lowest. Symbols are a linked list over `ids`.
size_t Bpe::merge_few(uint32_t* ids, size_t n, int64_t* out) const {
  uint64_t hashes[kFewSymbols];
  uint32_t rank[kFewSymbols], joined[kFewSymbols];  // of the pair that starts here; kNone: no merge
  uint8_t next[kFewSymbols + 1], previous[kFewSymbols + 1], candidates[kFewSymbols];
  size_t hopeful = 0;
  for (size_t i = 0; i + 1 < n; ++i) {
    hashes[i] = pair_hash(ids[i], ids[i + 1]);
    candidates[hopeful] = static_cast<uint8_t>(i);
    hopeful += maybe_merge(hashes[i]);
  }
  for (size_t i = 0; i < n; ++i) {
    rank[i] = kNone;
    next[i] = static_cast<uint8_t>(i + 1);
    previous[i + 1] = static_cast<uint8_t>(i);
  }
  size_t lookups = n, count = 0;
  for (size_t k = 0; k < hopeful; ++k) {
    const size_t i = candidates[k];
    if (const Slot* slot = find_merge(ids[i], ids[i + 1], hashes[i])) {
      rank[i] = slot->rank;
      joined[i] = slot->joined;
      candidates[count++] = static_cast<uint8_t>(i);
    }
  }
  bool listed[kFewSymbols] = {};
  for (size_t k = 0; k < count; ++k) listed[candidates[k]] = true;
  const auto renew = [&](size_t at) {
    const Slot* slot = next[at] < n ? find_merge(ids[at], ids[next[at]]) : nullptr;
    ++lookups;
    rank[at] = slot == nullptr ? kNone : slot->rank;
    if (slot == nullptr) return;
    joined[at] = slot->joined;
    if (!listed[at]) candidates[count++] = static_cast<uint8_t>(at), listed[at] = true;
  };
  while (count > 0) {
    // The lowest rank, of equals the leftmost; pairs that are no more are left out.
    size_t kept = 0, best = 0;
    uint64_t lowest = ~uint64_t{0};
    for (size_t k = 0; k < count; ++k) {
      const size_t at = candidates[k];
      const uint64_t order = uint64_t{rank[at]} << 8 | at;
      candidates[kept] = static_cast<uint8_t>(at);
      listed[at] = rank[at] != kNone;
      kept += listed[at];
      if (order < lowest) lowest = order, best = at;
    }
    count = kept;
    if (count == 0) break;
    const size_t gone = next[best];
    ids[best] = joined[best];
    rank[gone] = kNone;
    next[best] = next[gone];
    previous[next[gone]] = static_cast<uint8_t>(best);
    renew(best);
    if (best > 0) renew(previous[best]);
  }
  size_t written = 0;
  for (size_t i = 0; i < n; i = next[i]) out[written++] = ids[i];
  pairs_looked_up_here += lookups;
  return written;
}

// A heap of candidate pairs by (rank, place) over a linked list of symbols; a candidate that no longer stands
// is seen by its symbols.
size_t Bpe::merge_many(const uint32_t* ids, size_t n, int64_t* out) const {
  struct Node {
    uint32_t id, previous, next;
  };
  struct Candidate {
    uint32_t rank, at, left, right;
  };
  const auto later = [](const Candidate& a, const Candidate& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.at > b.at;
  };
  check(n < kNone, "a text without a break of ", n, " bytes is too long to be tokenized");
  std::vector<Node> nodes(n);
  std::vector<Candidate> heap;
  uint64_t lookups = 0;
  const auto push = [&](uint32_t at) {
    const uint32_t next = nodes[at].next;
    if (next == kNone) return;
    ++lookups;
    if (const Slot* slot = find_merge(nodes[at].id, nodes[next].id)) {
      heap.push_back({slot->rank, at, nodes[at].id, nodes[next].id});
      std::push_heap(heap.begin(), heap.end(), later);
    }
  };
  for (size_t i = 0; i < n; ++i)
    nodes[i] = {ids[i], i == 0 ? kNone : static_cast<uint32_t>(i - 1),
                i + 1 == n ? kNone : static_cast<uint32_t>(i + 1)};
  for (size_t i = 0; i < n; ++i) push(static_cast<uint32_t>(i));
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), later);
    const Candidate top = heap.back();
    heap.pop_back();
    Node& node = nodes[top.at];
    if (node.id != top.left || node.next == kNone || nodes[node.next].id != top.right) continue;
    ++lookups;
    Node& gone = nodes[node.next];
    node.id = find_merge(top.left, top.right)->joined;
    gone.id = kNone;
    node.next = gone.next;
    if (node.next != kNone) nodes[node.next].previous = top.at;
    push(top.at);
    if (node.previous != kNone) push(node.previous);
  }
  pairs_looked_up_here += lookups;
  size_t written = 0;
  for (uint32_t at = 0; at != kNone; at = nodes[at].next) out[written++] = nodes[at].id;
  return written;
}

PieceCache& Bpe::cache() const { return cache_of(instance_); }

int64_t Bpe::encode_unknown(const PieceKey& piece, PieceCache& cache, std::vector<int64_t>& ids) const {
  int64_t lost = 0;
  const size_t before = ids.size();
  ids.resize(before + piece.text.size());
  const size_t count = merge(piece.text, &ids[before], lost);
  cache.insert(piece, &ids[before], count, lost);
  ids.resize(before + count);
  return lost;
}

int64_t Bpe::encode(const std::vector<std::string_view>& pieces, const char* readable,
                    std::vector<int64_t>& ids) const {
  PieceCache& here = cache();
  int64_t known[PieceCache::kMostIds + 3], lost = 0;
  PieceKey key;
  for (const std::string_view piece : pieces) {
    make_key(piece.data(), piece.size(), readable, key);
    const int count = here.find(key, known, lost);
    if (count >= 0)
      ids.insert(ids.end(), known, known + count);
    else
      lost += encode_unknown(key, here, ids);
  }
  return lost;
}

}  // namespace decant
