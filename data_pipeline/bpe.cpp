#include "data_pipeline/bpe.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>
#include <memory>

#include "core/hash.h"

namespace decant {

namespace {

constexpr uint32_t kNone = ~uint32_t{0};
constexpr size_t kScanLimit = 48;  // up to here a scan over all pairs beats a heap

uint64_t mix(uint64_t x) {
  x *= 0x9E3779B97F4A7C15ull;
  return x ^ x >> 29;
}

// 64-bit hash of short pieces.
uint64_t piece_hash(std::string_view piece) {
  uint64_t h = piece.size() * 0x9FB21C651E98DF25ull;
  const char* p = piece.data();
  size_t left = piece.size();
  while (left >= 8) {
    uint64_t word;
    std::memcpy(&word, p, 8);
    h = mix(h ^ word);
    p += 8, left -= 8;
  }
  uint64_t word = 0;
  std::memcpy(&word, p, left);
  return mix(mix(h ^ word));
}

// One cache line: a piece and its ids.
struct alignas(64) Cached {
  char piece[32];
  uint32_t ids[7];
  uint8_t length, count, lost, spare;
};
static_assert(sizeof(Cached) == 64);

// Direct-mapped; a thread has a few, so that it can serve several tokenizers in turn.
struct Cache {
  static constexpr size_t kSlots = size_t{1} << 15;
  uint64_t owner = 0;
  uint64_t last_use = 0;
  std::unique_ptr<Cached[]> slots;
};

Cache& cache_of(uint64_t owner) {
  thread_local Cache caches[3];
  thread_local Cache* latest = &caches[0];
  thread_local uint64_t clock = 0;
  if (latest->owner == owner) return *latest;
  Cache* oldest = &caches[0];
  for (Cache& cache : caches) {
    if (cache.owner == owner) oldest = &cache;
    if (oldest->owner != owner && cache.last_use < oldest->last_use) oldest = &cache;
  }
  if (oldest->owner != owner) {
    oldest->slots.reset(new Cached[Cache::kSlots]());
    oldest->owner = owner;
  }
  oldest->last_use = ++clock;
  latest = oldest;
  return *oldest;
}

}  // namespace

Bpe::Bpe(const BpeModel& model)
    : ignore_merges_(model.ignore_merges), fuse_unknown_(model.fuse_unknown), unknown_id_(model.unknown_id) {
  static std::atomic<uint64_t> instances{0};
  instance_ = ++instances;
  std::fill(std::begin(byte_ids_), std::end(byte_ids_), int64_t{-1});
  tokens_.resize(std::bit_ceil(model.tokens.size() * 2 + 2));
  for (const auto& [token, id] : model.tokens) {
    if (token.empty()) continue;
    if (token.size() == 1) byte_ids_[static_cast<unsigned char>(token[0])] = id;
    size_t at = piece_hash(token) & (tokens_.size() - 1);
    while (tokens_[at].length != 0) at = (at + 1) & (tokens_.size() - 1);
    tokens_[at] = {static_cast<uint32_t>(bytes_.size()), static_cast<uint32_t>(token.size()), id};
    bytes_ += token;
  }
  merges_.resize(std::bit_ceil(model.merges.size() * 2 + 2));
  for (size_t rank = 0; rank < model.merges.size(); ++rank) {
    const BpeMerge& merge = model.merges[rank];
    const uint64_t pair = uint64_t{merge.left} << 32 | merge.right;
    size_t at = mix(pair) >> 20 & (merges_.size() - 1);
    while (merges_[at].pair != ~uint64_t{0} && merges_[at].pair != pair) at = (at + 1) & (merges_.size() - 1);
    merges_[at] = {pair, static_cast<uint32_t>(rank), merge.joined};
  }
}

const Bpe::Slot* Bpe::find_merge(uint32_t left, uint32_t right) const {
  const uint64_t pair = uint64_t{left} << 32 | right;
  size_t at = mix(pair) >> 20 & (merges_.size() - 1);
  while (merges_[at].pair != pair) {
    if (merges_[at].pair == ~uint64_t{0}) return nullptr;
    at = (at + 1) & (merges_.size() - 1);
  }
  return &merges_[at];
}

int64_t Bpe::find_token(std::string_view bytes) const {
  size_t at = piece_hash(bytes) & (tokens_.size() - 1);
  while (tokens_[at].length != 0) {
    const Token& token = tokens_[at];
    if (token.length == bytes.size() &&
        std::memcmp(bytes_.data() + token.offset, bytes.data(), bytes.size()) == 0)
      return token.id;
    at = (at + 1) & (tokens_.size() - 1);
  }
  return -1;
}

int64_t Bpe::merge(std::string_view piece, std::vector<uint32_t>& out) const {
  if (ignore_merges_)
    if (const int64_t id = find_token(piece); id >= 0) {
      out.push_back(static_cast<uint32_t>(id));
      return 0;
    }
  int64_t lost = 0;
  thread_local std::vector<uint32_t> ids;
  ids.clear();
  bool after_unknown = false;
  for (const char c : piece) {
    const int64_t id = byte_ids_[static_cast<unsigned char>(c)];
    if (id >= 0) {
      ids.push_back(static_cast<uint32_t>(id));
    } else {
      ++lost;
      if (unknown_id_ >= 0 && !(fuse_unknown_ && after_unknown))
        ids.push_back(static_cast<uint32_t>(unknown_id_));
    }
    after_unknown = id < 0;
  }
  size_t n = ids.size();

  if (n <= kScanLimit) {
    uint32_t ranks[kScanLimit], joined[kScanLimit];  // of the pair (i, i + 1)
    const auto look_up = [&](size_t i) {
      const Slot* slot = i + 1 < n ? find_merge(ids[i], ids[i + 1]) : nullptr;
      ranks[i] = slot == nullptr ? kNone : slot->rank;
      joined[i] = slot == nullptr ? 0 : slot->joined;
    };
    for (size_t i = 0; i < n; ++i) look_up(i);
    while (n > 1) {
      size_t best = 0;
      for (size_t i = 1; i + 1 < n; ++i)
        if (ranks[i] < ranks[best]) best = i;
      if (ranks[best] == kNone) break;
      ids[best] = joined[best];
      const size_t tail = n - best - 2;
      std::memmove(&ids[best + 1], &ids[best + 2], tail * sizeof(uint32_t));
      std::memmove(&ranks[best + 1], &ranks[best + 2], tail * sizeof(uint32_t));
      std::memmove(&joined[best + 1], &joined[best + 2], tail * sizeof(uint32_t));
      --n;
      look_up(best);
      if (best > 0) look_up(best - 1);
    }
    out.insert(out.end(), ids.begin(), ids.begin() + static_cast<ptrdiff_t>(n));
    return lost;
  }

  // Long pieces: a heap of candidate pairs by (rank, place) over a linked list of symbols; a candidate that
  // no longer stands is seen by its rank.
  struct Node {
    uint32_t id, previous, next;
  };
  struct Candidate {
    uint32_t rank, at, left, right;
  };
  const auto later = [](const Candidate& a, const Candidate& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.at > b.at;
  };
  std::vector<Node> nodes(n);
  std::vector<Candidate> heap;
  const auto push = [&](uint32_t at) {
    const uint32_t next = nodes[at].next;
    if (next == kNone) return;
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
    const Slot* slot = find_merge(top.left, top.right);
    Node& gone = nodes[node.next];
    node.id = slot->joined;
    gone.id = kNone;
    node.next = gone.next;
    if (node.next != kNone) nodes[node.next].previous = top.at;
    push(top.at);
    if (node.previous != kNone) push(node.previous);
  }
  for (uint32_t at = 0; at != kNone; at = nodes[at].next) out.push_back(nodes[at].id);
  return lost;
}

int64_t Bpe::encode(std::string_view piece, std::vector<int64_t>& ids) const {
  thread_local std::vector<uint32_t> out;
  if (piece.size() <= sizeof(Cached::piece)) {
    Cached& cached = cache_of(instance_).slots[piece_hash(piece) & (Cache::kSlots - 1)];
    if (cached.length != piece.size() || std::memcmp(cached.piece, piece.data(), piece.size()) != 0) {
      out.clear();
      const int64_t lost = merge(piece, out);
      if (out.size() > std::size(cached.ids)) {
        ids.insert(ids.end(), out.begin(), out.end());
        return lost;
      }
      std::memcpy(cached.piece, piece.data(), piece.size());
      std::copy(out.begin(), out.end(), cached.ids);
      cached.length = static_cast<uint8_t>(piece.size());
      cached.count = static_cast<uint8_t>(out.size());
      cached.lost = static_cast<uint8_t>(lost);
    }
    ids.insert(ids.end(), cached.ids, cached.ids + cached.count);
    return cached.lost;
  }
  out.clear();
  const int64_t lost = merge(piece, out);
  ids.insert(ids.end(), out.begin(), out.end());
  return lost;
}

}  // namespace decant
