#include "core/kernels/capped_attention.h"

#include <ATen/ATen.h>

#include <limits>

#include "core/kernels/plain.h"

namespace decant {

namespace {

using plain::by_head;
using plain::hidden_keys;

struct Scores {
  at::Tensor q, k, v, p, tanh;  // [H, t, K]; p and tanh(s / cap) [H, queries, keys]
};

Scores scores_of(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale, int64_t window,
                 double cap) {
  const int64_t repeats = q.size(1) / k.size(1);
  Scores s{by_head(q, 1), by_head(k, repeats), by_head(v, repeats), {}, {}};
  s.tanh = at::tanh(at::matmul(s.q, s.k.transpose(1, 2)) * (scale / cap));
  s.p = at::softmax((s.tanh * cap)
                        .masked_fill(hidden_keys(q.size(0), k.size(0), window, q.device()),
                                     -std::numeric_limits<double>::infinity()),
                    2);
  return s;
}

at::Tensor attend(const Scores& s, at::ScalarType type) {
  return at::matmul(s.p, s.v).permute({1, 0, 2}).to(type);
}

}  // namespace

at::Tensor capped_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const at::Tensor& document_starts, double scale, int64_t window, double cap,
                            AttentionSaved* saved) {
  const auto* starts = document_starts.data_ptr<int32_t>();
  auto out = at::empty(q.sizes(), q.options());
  for (int64_t n = 0; n + 1 < document_starts.numel(); ++n) {
    const int64_t begin = starts[n], end = starts[n + 1];
    const auto s =
        scores_of(q.slice(0, begin, end), k.slice(0, begin, end), v.slice(0, begin, end), scale, window, cap);
    out.slice(0, begin, end).copy_(attend(s, q.scalar_type()));
  }
  if (saved != nullptr) *saved = {q, k, v, out, {}};  // the probabilities are computed again
  return out;
}

// As plain::attention_backward, with dz passed through the cap: ds = dz (1 - tanh^2).
void capped_attention_backward(const at::Tensor& dout, const AttentionSaved& saved,
                               const at::Tensor& document_starts, double scale, int64_t window, double cap,
                               at::Tensor& dq, at::Tensor& dk, at::Tensor& dv) {
  const auto* starts = document_starts.data_ptr<int32_t>();
  const auto heads = saved.q.size(1), groups = saved.k.size(1), width = saved.q.size(2);
  const auto sum_shared = [&](const at::Tensor& x) {  // [H, t, K] -> [t, G, K]
    return x.reshape({groups, heads / groups, x.size(1), width}).sum(1).permute({1, 0, 2});
  };
  for (int64_t n = 0; n + 1 < document_starts.numel(); ++n) {
    const int64_t begin = starts[n], end = starts[n + 1];
    const auto s = scores_of(saved.q.slice(0, begin, end), saved.k.slice(0, begin, end),
                             saved.v.slice(0, begin, end), scale, window, cap);
    const auto d = by_head(dout.slice(0, begin, end), 1);
    const auto o = by_head(saved.out.slice(0, begin, end), 1);
    const auto ds =
        s.p * (at::matmul(d, s.v.transpose(1, 2)) - (d * o).sum(2, /*keepdim=*/true)) * (1 - s.tanh.square());
    dq.slice(0, begin, end).copy_((at::matmul(ds, s.k) * scale).permute({1, 0, 2}));
    dk.slice(0, begin, end).copy_(sum_shared(at::matmul(ds.transpose(1, 2), s.q) * scale));
    dv.slice(0, begin, end).copy_(sum_shared(at::matmul(s.p.transpose(1, 2), d)));
  }
}

at::Tensor capped_attention_cached(const at::Tensor& q, const at::Tensor& cache_k, const at::Tensor& cache_v,
                                   const at::Tensor& query_starts, const at::Tensor& key_lengths,
                                   const at::Tensor& block_table, double scale, int64_t window, double cap) {
  const auto* starts = query_starts.data_ptr<int32_t>();
  const auto* lengths = key_lengths.data_ptr<int32_t>();
  auto out = at::empty(q.sizes(), q.options());
  for (int64_t n = 0; n < key_lengths.numel(); ++n) {
    const int64_t begin = starts[n], end = starts[n + 1], keys = lengths[n];
    if (begin == end) continue;
    const int64_t blocks = (keys + kCacheBlockTokens - 1) / kCacheBlockTokens;
    const auto table = block_table[n].slice(0, 0, blocks).to(at::kLong).to(q.device());
    const auto rows = [&](const at::Tensor& cache) {
      return cache.index_select(0, table).flatten(0, 1).slice(0, 0, keys);
    };
    const auto s = scores_of(q.slice(0, begin, end), rows(cache_k), rows(cache_v), scale, window, cap);
    out.slice(0, begin, end).copy_(attend(s, q.scalar_type()));
  }
  return out;
}

}  // namespace decant
