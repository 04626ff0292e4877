// Forward and backward in blocks of 64 queries and 64 keys that start at the document's first token, so that
// a row's result is the same whatever else lies in the batch. Every product is a small one on blocks in the
// cache (tile.h).
#include "core/kernels/attention.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <array>

#include "core/kernels/gemm.h"
#include "core/kernels/plain.h"
#include "core/kernels/tensor_rows.h"
#include "core/kernels/tile.h"

namespace decant {
namespace {

constexpr int64_t kBlock = 64;
static_assert(kBlock == kCacheBlockTokens);

int64_t blocks_of(int64_t n) { return (n + kBlock - 1) / kBlock; }
int64_t padded(int64_t width) { return (width + 31) / 32 * 32; }

// One run of rows with keys of its own: a document, or a sequence of the cache.
struct Run {
  int64_t row, queries;     // rows [row, row + queries) of q
  int64_t keys;             // the last query sits at keys - 1
  int64_t first_key_block;  // of the run, among the packed ones
  int64_t offset() const { return keys - queries; }
};

struct Task {
  int64_t run, block;
};

// Rows of a tensor's head.
template <class T>
struct HeadRows {
  const T* p;
  int64_t row_stride, head_stride;
  const T* at(int64_t row, int64_t head) const { return p + row * row_stride + head * head_stride; }
};
template <class T>
HeadRows<T> rows_of(const at::Tensor& x) {
  TORCH_INTERNAL_ASSERT(x.dim() == 3 && (x.stride(2) == 1 || x.size(2) == 1),
                        "attention needs contiguous channels");
  return {values<T>(x), x.stride(0), x.stride(1)};
}

template <class T>
const LoopsOf<T>& loops_for() {
  if constexpr (sizeof(T) == 2)
    return loops()->bf16;
  else
    return loops()->fp32;
}

template <class T>
at::Tensor scratch(int64_t n) {
  return at::empty({n}, sizeof(T) == 2 ? at::kBFloat16 : at::kFloat);
}

// What the queries of a block see of a key block: [first, end) by query, or by query relative to the block's
// first key.
struct Sight {
  std::array<int32_t, kBlock> first, end;
  Sight(int64_t position, int64_t rows, int64_t key, int64_t keys, int64_t window) {
    for (int64_t r = 0; r < kBlock; ++r) {
      const auto i = static_cast<size_t>(r);
      const int64_t last = std::min(position + r, keys - 1);
      const int64_t begin = window > 0 ? std::max<int64_t>(position + r - window + 1, 0) : 0;
      first[i] = r < rows ? static_cast<int32_t>(std::clamp<int64_t>(begin - key, 0, kBlock)) : 0;
      end[i] = r < rows ? static_cast<int32_t>(std::clamp<int64_t>(last - key + 1, 0, kBlock)) : 0;
    }
  }
};

// First key block that a query at `position` sees.
int64_t first_block(int64_t position, int64_t window) {
  return window > 0 ? std::max<int64_t>(position - window + 1, 0) / kBlock : 0;
}

// Scratch of one thread for forward.
template <class T>
struct ForwardScratch {
  at::Tensor q, p, scores, out, max, sum;
  explicit ForwardScratch(int64_t width)
      : q(scratch<T>(kBlock * width)),
        p(scratch<T>(kBlock * kBlock)),
        scores(scratch<float>(kBlock * kBlock)),
        out(scratch<float>(kBlock * width)),
        max(scratch<float>(kBlock)),
        sum(scratch<float>(kBlock)) {}
};

// keys and values: packed blocks of this run and key head.
template <class T>
void attend(const T* q, int64_t q_stride, int64_t rows, int64_t position, int64_t keys, const T* packed_keys,
            const T* packed_values, int64_t width, double scale, int64_t window, ForwardScratch<T>& s, T* out,
            int64_t out_stride, float* log_sum, int64_t log_sum_stride) {
  const auto& loop = loops_for<T>();
  const auto wide = padded(width);
  auto* block_q = values<T>(s.q);
  loop.copy_block(q, q_stride, rows, width, kBlock, wide, block_q);
  s.out.zero_();
  s.sum.zero_();
  s.max.fill_(-std::numeric_limits<float>::infinity());
  auto* scores = values<float>(s.scores);
  auto* sums = values<float>(s.out);
  const auto last = std::min(position + rows - 1, keys - 1) / kBlock;
  for (int64_t block = first_block(position, window); block <= last; ++block) {
    const Sight sight(position, rows, block * kBlock, keys, window);
    tile_product(kBlock, kBlock, wide, block_q, wide, packed_keys + block * kBlock * wide, kBlock, scores,
                 kBlock, false);
    loop.softmax_step(scores, rows, kBlock, sight.first.data(), sight.end.data(), static_cast<float>(scale),
                      values<float>(s.max), values<float>(s.sum), sums, wide, values<T>(s.p));
    tile_product(kBlock, wide, kBlock, values<T>(s.p), kBlock, packed_values + block * kBlock * wide, wide,
                 sums, wide, true);
  }
  loop.softmax_finish(sums, rows, wide, width, values<float>(s.max), values<float>(s.sum), out, out_stride,
                      log_sum, log_sum_stride);
}

std::vector<Run> runs_of(const at::Tensor& document_starts, int64_t tokens) {
  const auto* starts = document_starts.data_ptr<int32_t>();
  const auto documents = document_starts.numel() - 1;
  TORCH_INTERNAL_ASSERT(documents >= 0 && starts[0] == 0 && starts[documents] == tokens,
                        "document starts do not cover the rows");
  std::vector<Run> runs;
  int64_t blocks = 0;
  for (int64_t n = 0; n < documents; ++n) {
    const int64_t length = starts[n + 1] - starts[n];
    TORCH_INTERNAL_ASSERT(length > 0, "document ", n, " is empty");
    runs.push_back({starts[n], length, length, blocks});
    blocks += blocks_of(length);
  }
  return runs;
}

std::vector<Task> blocks_of_runs(const std::vector<Run>& runs, bool queries) {
  std::vector<Task> tasks;
  for (size_t n = 0; n < runs.size(); ++n)
    for (int64_t block = 0; block < blocks_of(queries ? runs[n].queries : runs[n].keys); ++block)
      tasks.push_back({static_cast<int64_t>(n), block});
  return tasks;
}

// Rows of a key block: where they lie and their stride.
template <class T>
struct KeySource {
  HeadRows<T> rows;
  const int32_t* table = nullptr;  // cached: [runs, table_width] block numbers
  int64_t table_width = 0, block_stride = 0;
  const T* block(const Run& run, int64_t n, int64_t block, int64_t head) const {
    if (table == nullptr) return rows.at(run.row + block * kBlock, head);
    return rows.p + table[n * table_width + block] * block_stride + head * rows.head_stride;
  }
};

template <class T>
void forward(const at::Tensor& q, const KeySource<T>& k, const KeySource<T>& v, int64_t groups,
             const std::vector<Run>& runs, double scale, int64_t window, at::Tensor& out, float* log_sum) {
  const auto& loop = loops_for<T>();
  const auto heads = q.size(1), width = q.size(2), wide = padded(width), repeats = heads / groups;
  const auto key_blocks = blocks_of_runs(runs, false), query_blocks = blocks_of_runs(runs, true);
  const auto count = static_cast<int64_t>(key_blocks.size());
  const auto packed_k = scratch<T>(count * groups * kBlock * wide),
             packed_v = scratch<T>(count * groups * kBlock * wide);
  at::parallel_for(0, count * groups, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const auto group = i / count;
      const auto& task = key_blocks[static_cast<size_t>(i % count)];
      const auto& run = runs[static_cast<size_t>(task.run)];
      const auto rows = std::min(kBlock, run.keys - task.block * kBlock), at = i * kBlock * wide;
      loop.pack_columns(k.block(run, task.run, task.block, group), k.rows.row_stride, rows, width, kBlock,
                        wide, values<T>(packed_k) + at);
      loop.pack_rows(v.block(run, task.run, task.block, group), v.rows.row_stride, rows, width, kBlock, wide,
                     values<T>(packed_v) + at);
    }
  });
  const auto rows_q = rows_of<T>(q);
  auto* to = values<T>(out);
  const auto work = static_cast<int64_t>(query_blocks.size()) * heads;
  at::parallel_for(0, work, 1, [&](int64_t begin, int64_t end) {
    const TileScope scope;
    ForwardScratch<T> mine(wide);
    for (int64_t i = begin; i < end; ++i) {
      const auto head = i % heads, group = head / repeats;
      const auto& task = query_blocks[static_cast<size_t>(i / heads)];
      const auto& run = runs[static_cast<size_t>(task.run)];
      const auto first = task.block * kBlock, row = run.row + first,
                 rows = std::min(kBlock, run.queries - first);
      const auto packed = (group * count + run.first_key_block) * kBlock * wide;
      attend<T>(rows_q.at(row, head), rows_q.row_stride, rows, run.offset() + first, run.keys,
                values<T>(packed_k) + packed, values<T>(packed_v) + packed, width, scale, window, mine,
                to + (row * heads + head) * width, heads * width,
                log_sum == nullptr ? nullptr : log_sum + row * heads + head, heads);
    }
  });
}

// One query of one head against the cache: dot products, no packing.
template <class T>
void decode(const at::Tensor& q, const KeySource<T>& k, const KeySource<T>& v, int64_t groups,
            const std::vector<Run>& runs, double scale, int64_t window, at::Tensor& out) {
  const auto& loop = loops_for<T>();
  const auto heads = q.size(1), width = q.size(2), repeats = heads / groups;
  const auto rows_q = rows_of<T>(q);
  at::parallel_for(0, static_cast<int64_t>(runs.size()) * heads, 4, [&](int64_t begin, int64_t end) {
    std::vector<float> scores, sums(static_cast<size_t>(width));
    for (int64_t i = begin; i < end; ++i) {
      const auto n = i / heads, head = i % heads, group = head / repeats;
      const auto& run = runs[static_cast<size_t>(n)];
      scores.resize(static_cast<size_t>(blocks_of(run.keys) * kBlock));
      for (int64_t r = 0; r < run.queries; ++r) {
        const auto position = run.offset() + r, keys = position + 1;
        const auto first = window > 0 ? std::max<int64_t>(keys - window, 0) : 0;
        const auto visit = [&](const auto& f) {
          for (int64_t block = first / kBlock; block * kBlock < keys; ++block) {
            const auto from = std::max(first, block * kBlock), to = std::min(keys, (block + 1) * kBlock);
            f(block, from - block * kBlock, scores.data() + from, to - from);
          }
        };
        visit([&](int64_t block, int64_t skip, float* z, int64_t m) {
          loop.cached_scores(rows_q.at(run.row + r, head), width,
                             k.block(run, n, block, group) + skip * k.rows.row_stride, k.rows.row_stride, m,
                             static_cast<float>(scale), z);
        });
        loops()->softmax(scores.data() + first, keys - first);
        std::fill(sums.begin(), sums.end(), 0.0F);
        visit([&](int64_t block, int64_t skip, float* p, int64_t m) {
          loop.cached_values(p, m, v.block(run, n, block, group) + skip * v.rows.row_stride,
                             v.rows.row_stride, width, sums.data());
        });
        loop.store_block(sums.data(), width, false, 1, width,
                         values<T>(out) + ((run.row + r) * heads + head) * width, width);
      }
    }
  });
}

// Per head: for each key block, over the query blocks that see it. The transposed scores [keys, queries] make
// p^T and dz^T left operands as they come:
//   s^T = k q^T,  dp^T = v do^T,  dv += p^T do,  dk += dz^T q,  dq^T += k^T dz^T.
template <class T>
void backward(const at::Tensor& dout, const AttentionSaved& saved, const std::vector<Run>& runs, double scale,
              int64_t window, at::Tensor& dq, at::Tensor& dk_heads, at::Tensor& dv_heads) {
  const auto& loop = loops_for<T>();
  const auto heads = saved.q.size(1), width = saved.q.size(2), wide = padded(width),
             repeats = heads / saved.k.size(1);
  const auto tokens = saved.q.size(0), area = kBlock * wide;
  const auto q = rows_of<T>(saved.q), k = rows_of<T>(saved.k), v = rows_of<T>(saved.v),
             o = rows_of<T>(saved.out), d = rows_of<T>(dout), to_q = rows_of<T>(dq);
  const auto* log_sums = saved.log_sum.data_ptr<float>();
  at::parallel_for(0, static_cast<int64_t>(runs.size()) * heads, 1, [&](int64_t begin, int64_t end) {
    const TileScope scope;
    const auto block_k = scratch<T>(area), block_v = scratch<T>(area), turned_k = scratch<T>(area),
               p = scratch<T>(kBlock * kBlock), dz = scratch<T>(kBlock * kBlock),
               dz_right = scratch<T>(kBlock * kBlock);
    const auto scores = scratch<float>(kBlock * kBlock), dp = scratch<float>(kBlock * kBlock),
               sum_k = scratch<float>(area), sum_v = scratch<float>(area);
    for (int64_t i = begin; i < end; ++i) {
      const auto& run = runs[static_cast<size_t>(i / heads)];
      const auto head = i % heads, group = head / repeats, blocks = blocks_of(run.queries);
      // Right operands of the queries: q^T, do^T (channels inside), q, do (queries inside); dq^T in fp32.
      const auto packed = scratch<T>(blocks * 4 * area);
      const auto sums_q = at::zeros({blocks * area}, at::kFloat);
      const auto base = at::zeros({blocks * kBlock}, at::kFloat),
                 dots = at::zeros({blocks * kBlock}, at::kFloat);
      loop.row_dots(d.at(run.row, head), d.row_stride, o.at(run.row, head), o.row_stride, run.queries, width,
                    values<float>(dots), 1);
      for (int64_t r = 0; r < run.queries; ++r)
        values<float>(base)[r] = log_sums[(run.row + r) * heads + head];
      const auto operand = [&](int64_t block, int64_t which) {
        return values<T>(packed) + (block * 4 + which) * area;
      };
      for (int64_t block = 0; block < blocks; ++block) {
        const auto row = run.row + block * kBlock, rows = std::min(kBlock, run.queries - block * kBlock);
        loop.pack_columns(q.at(row, head), q.row_stride, rows, width, kBlock, wide, operand(block, 0));
        loop.pack_columns(d.at(row, head), d.row_stride, rows, width, kBlock, wide, operand(block, 1));
        loop.pack_rows(q.at(row, head), q.row_stride, rows, width, kBlock, wide, operand(block, 2));
        loop.pack_rows(d.at(row, head), d.row_stride, rows, width, kBlock, wide, operand(block, 3));
      }
      for (int64_t j = 0; j < blocks; ++j) {
        const auto key = j * kBlock, row = run.row + key, rows = std::min(kBlock, run.keys - key);
        loop.copy_block(k.at(row, group), k.row_stride, rows, width, kBlock, wide, values<T>(block_k));
        loop.copy_block(v.at(row, group), v.row_stride, rows, width, kBlock, wide, values<T>(block_v));
        loop.transpose_block(k.at(row, group), k.row_stride, rows, width, kBlock, wide, values<T>(turned_k));
        // The last query that sees a key of this block is window - 1 after the block's last.
        const auto last =
            window > 0 ? std::min(blocks - 1, (key + kBlock - 1 + window - 1) / kBlock) : blocks - 1;
        for (int64_t b = j; b <= last; ++b) {
          const auto position = b * kBlock;
          const Sight sight(position, std::min(kBlock, run.queries - position), key, run.keys, window);
          tile_product(kBlock, kBlock, wide, values<T>(block_k), wide, operand(b, 0), kBlock,
                       values<float>(scores), kBlock, false);
          tile_product(kBlock, kBlock, wide, values<T>(block_v), wide, operand(b, 1), kBlock,
                       values<float>(dp), kBlock, false);
          loop.softmax_back(values<float>(scores), values<float>(dp), kBlock, kBlock, sight.first.data(),
                            sight.end.data(), static_cast<float>(scale), values<float>(base) + position,
                            values<float>(dots) + position, values<T>(p), values<T>(dz), values<T>(dz_right));
          tile_product(kBlock, wide, kBlock, values<T>(p), kBlock, operand(b, 3), wide, values<float>(sum_v),
                       wide, b > j);
          tile_product(kBlock, wide, kBlock, values<T>(dz), kBlock, operand(b, 2), wide, values<float>(sum_k),
                       wide, b > j);
          tile_product(wide, kBlock, kBlock, values<T>(turned_k), kBlock,
                       sizeof(T) == 2 ? values<T>(dz_right) : values<T>(dz), kBlock,
                       values<float>(sums_q) + b * area, kBlock, true);
        }
        const auto at = (head * tokens + row) * width;
        loops()->fp32.store_block(values<float>(sum_k), wide, false, rows, width,
                                  values<float>(dk_heads) + at, width);
        loops()->fp32.store_block(values<float>(sum_v), wide, false, rows, width,
                                  values<float>(dv_heads) + at, width);
      }
      for (int64_t block = 0; block < blocks; ++block) {
        const auto row = run.row + block * kBlock, rows = std::min(kBlock, run.queries - block * kBlock);
        loop.store_block(values<float>(sums_q) + block * area, kBlock, true, rows, width,
                         const_cast<T*>(to_q.at(row, head)), to_q.row_stride);
      }
    }
  });
}

// to [T, G, K] = sums over the heads of a group of x [H, T, K], in order.
template <class T>
void sum_groups(at::Tensor& x, at::Tensor& to) {
  const auto heads = x.size(0), tokens = x.size(1), width = x.size(2), groups = to.size(1),
             repeats = heads / groups;
  const auto rows = rows_of<T>(to);
  at::parallel_for(0, groups * blocks_of(tokens), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const auto group = i % groups, row = i / groups * kBlock, n = std::min(kBlock, tokens - row);
      auto* first = values<float>(x) + (group * repeats * tokens + row) * width;
      for (int64_t r = 1; r < repeats; ++r)
        loops()->fp32.add_scaled(first, width, first + r * tokens * width, width, n, width, 1);
      loops_for<T>().store_block(first, width, false, n, width, const_cast<T*>(rows.at(row, group)),
                                 rows.row_stride);
    }
  });
}

// bf16 where the machine multiplies bf16 blocks.
bool as_it_is(const at::Tensor& x) { return x.scalar_type() == at::kFloat || bf16_tiles(); }

}  // namespace

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     const at::Tensor& document_starts, double scale, int64_t window, AttentionSaved* saved) {
  if (use_plain_kernels(q)) return plain::attention(q, k, v, document_starts, scale, window, saved);
  if (!as_it_is(q)) {
    const auto out =
        attention(q.to(at::kFloat), k.to(at::kFloat), v.to(at::kFloat), document_starts, scale, window, saved)
            .to(at::kBFloat16);
    if (saved != nullptr) *saved = {q, k, v, out, saved->log_sum};
    return out;
  }
  const auto runs = runs_of(document_starts, q.size(0));
  auto out = at::empty(q.sizes(), q.options());
  at::Tensor log_sum;
  if (saved != nullptr) log_sum = at::empty({q.size(0), q.size(1)}, q.options().dtype(at::kFloat));
  with_loops(q, [&](const auto&, auto* p) {
    using T = std::remove_pointer_t<decltype(p)>;
    forward<T>(q, {rows_of<T>(k)}, {rows_of<T>(v)}, k.size(1), runs, scale, window, out,
               saved != nullptr ? log_sum.data_ptr<float>() : nullptr);
  });
  if (saved != nullptr) *saved = {q, k, v, out, log_sum};
  return out;
}

void attention_backward(const at::Tensor& dout, const AttentionSaved& saved,
                        const at::Tensor& document_starts, double scale, int64_t window, at::Tensor& dq,
                        at::Tensor& dk, at::Tensor& dv) {
  if (use_plain_kernels(dout))
    return plain::attention_backward(dout, saved, document_starts, scale, window, dq, dk, dv);
  if (!as_it_is(dout)) {
    const auto f = [](const at::Tensor& x) { return x.to(at::kFloat); };
    auto wide_q = f(dq), wide_k = f(dk), wide_v = f(dv);
    attention_backward(f(dout), {f(saved.q), f(saved.k), f(saved.v), f(saved.out), saved.log_sum},
                       document_starts, scale, window, wide_q, wide_k, wide_v);
    dq.copy_(wide_q);
    dk.copy_(wide_k);
    dv.copy_(wide_v);
    return;
  }
  const auto runs = runs_of(document_starts, dout.size(0));
  const auto heads = saved.q.size(1), tokens = saved.q.size(0), width = saved.q.size(2);
  auto dk_heads = at::empty({heads, tokens, width}, at::kFloat),
       dv_heads = at::empty({heads, tokens, width}, at::kFloat);
  with_loops(dout, [&](const auto&, auto* p) {
    using T = std::remove_pointer_t<decltype(p)>;
    backward<T>(dout, saved, runs, scale, window, dq, dk_heads, dv_heads);
    sum_groups<T>(dk_heads, dk);
    sum_groups<T>(dv_heads, dv);
  });
}

at::Tensor attention_cached(const at::Tensor& q, const at::Tensor& cache_k, const at::Tensor& cache_v,
                            const at::Tensor& query_starts, const at::Tensor& key_lengths,
                            const at::Tensor& block_table, double scale, int64_t window) {
  if (use_plain_kernels(q))
    return plain::attention_cached(q, cache_k, cache_v, query_starts, key_lengths, block_table, scale,
                                   window);
  if (!as_it_is(q))
    return attention_cached(q.to(at::kFloat), cache_k.to(at::kFloat), cache_v.to(at::kFloat), query_starts,
                            key_lengths, block_table, scale, window)
        .to(at::kBFloat16);
  TORCH_INTERNAL_ASSERT(block_table.is_contiguous() && cache_k.size(1) == kCacheBlockTokens);
  const auto* starts = query_starts.data_ptr<int32_t>();
  const auto* lengths = key_lengths.data_ptr<int32_t>();
  auto out = at::empty(q.sizes(), q.options());
  const auto groups = cache_k.size(2);
  with_loops(q, [&](const auto&, auto* p) {
    using T = std::remove_pointer_t<decltype(p)>;
    // A run of few queries is not worth packing its keys. One run at a time: its place in the table is its
    // number.
    const auto source = [&](const at::Tensor& cache, int64_t n) {
      TORCH_INTERNAL_ASSERT(cache.stride(3) == 1);
      return KeySource<T>{{values<T>(cache), cache.stride(1), cache.stride(2)},
                          block_table.data_ptr<int32_t>() + n * block_table.size(1),
                          block_table.size(1),
                          cache.stride(0)};
    };
    constexpr int64_t kFewQueries = 8;
    std::vector<Run> runs;
    bool few = true;
    for (int64_t n = 0; n < key_lengths.numel(); ++n) {
      runs.push_back({starts[n], starts[n + 1] - starts[n], lengths[n], 0});
      TORCH_INTERNAL_ASSERT(runs.back().offset() >= 0 && blocks_of(lengths[n]) <= block_table.size(1));
      few = few && runs.back().queries <= kFewQueries;
    }
    if (few) return decode<T>(q, source(cache_k, 0), source(cache_v, 0), groups, runs, scale, window, out);
    for (size_t n = 0; n < runs.size(); ++n) {
      if (runs[n].queries == 0) continue;
      const auto k = source(cache_k, static_cast<int64_t>(n)), v = source(cache_v, static_cast<int64_t>(n));
      if (runs[n].queries <= kFewQueries)
        decode<T>(q, k, v, groups, {runs[n]}, scale, window, out);
      else
        forward<T>(q, k, v, groups, {runs[n]}, scale, window, out, nullptr);
    }
  });
  return out;
}

}  // namespace decant
