#include <ATen/ATen.h>

#include "core/kernels/plain.h"

namespace decant::plain {
at::Tensor hidden_keys(int64_t queries, int64_t keys, int64_t window, const at::Device& device) {
  const auto i =
      at::arange(queries, at::TensorOptions(at::kLong).device(device)).unsqueeze(1) + (keys - queries);
  const auto j = at::arange(keys, at::TensorOptions(at::kLong).device(device)).unsqueeze(0);
  auto hidden = j > i;
  if (window > 0) hidden = hidden.logical_or(j <= i - window);
  return hidden;
}

at::Tensor by_head(const at::Tensor& x, int64_t repeats) {
  return wide(x).permute({1, 0, 2}).repeat_interleave(repeats, 0);
}

namespace {

constexpr double kMasked = -std::numeric_limits<double>::infinity();

struct Scores {
  at::Tensor q, k, v, log_sum, p;  // [H, t, K]; log_sum [H, queries], p [H, queries, keys]
};

Scores scores_of(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, double scale,
                 int64_t window) {
  const int64_t repeats = q.size(1) / k.size(1);
  Scores s{by_head(q, 1), by_head(k, repeats), by_head(v, repeats), {}, {}};
  auto z = at::matmul(s.q, s.k.transpose(1, 2)) * scale;
  z = z.masked_fill(hidden_keys(q.size(0), k.size(0), window, q.device()), kMasked);
  s.log_sum = at::logsumexp(z, {2});
  s.p = at::exp(z - s.log_sum.unsqueeze(2));
  return s;
}

}  // namespace

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     const at::Tensor& document_starts, double scale, int64_t window, AttentionSaved* saved) {
  const auto* starts = document_starts.data_ptr<int32_t>();
  std::vector<at::Tensor> outputs, log_sums;
  for (int64_t n = 0; n + 1 < document_starts.numel(); ++n) {
    const int64_t begin = starts[n], end = starts[n + 1];
    const auto s =
        scores_of(q.slice(0, begin, end), k.slice(0, begin, end), v.slice(0, begin, end), scale, window);
    outputs.push_back(at::matmul(s.p, s.v).permute({1, 0, 2}).to(q.scalar_type()));
    log_sums.push_back(s.log_sum.t());
  }
  auto out =
      outputs.empty() ? at::empty_like(q, at::MemoryFormat::Contiguous) : at::cat(outputs, 0).contiguous();
  if (saved != nullptr) {
    const auto log_sum = log_sums.empty() ? at::empty({0, q.size(1)}, q.options().dtype(at::kFloat))
                                          : at::cat(log_sums, 0).contiguous();
    *saved = {q, k, v, out, log_sum};
  }
  return out;
}

// With p the probabilities, o = p v and D_i = sum over channels of do_i o_i:
//   dv = p^T do,  dz = p (do v^T - D),  dq = scale dz k,  dk = scale dz^T q.
void attention_backward(const at::Tensor& dout, const AttentionSaved& saved,
                        const at::Tensor& document_starts, double scale, int64_t window, at::Tensor& dq,
                        at::Tensor& dk, at::Tensor& dv) {
  const auto* starts = document_starts.data_ptr<int32_t>();
  const auto heads = saved.q.size(1), groups = saved.k.size(1), width = saved.q.size(2);
  const auto sum_shared = [&](const at::Tensor& x) {  // [H, t, K] -> [t, G, K]
    return x.reshape({groups, heads / groups, x.size(1), width}).sum(1).permute({1, 0, 2});
  };
  for (int64_t n = 0; n + 1 < document_starts.numel(); ++n) {
    const int64_t begin = starts[n], end = starts[n + 1];
    const auto s = scores_of(saved.q.slice(0, begin, end), saved.k.slice(0, begin, end),
                             saved.v.slice(0, begin, end), scale, window);
    const auto d = by_head(dout.slice(0, begin, end), 1);
    const auto o = by_head(saved.out.slice(0, begin, end), 1);
    const auto dz = s.p * (at::matmul(d, s.v.transpose(1, 2)) - (d * o).sum(2, /*keepdim=*/true));
    dq.slice(0, begin, end).copy_((at::matmul(dz, s.k) * scale).permute({1, 0, 2}));
    dk.slice(0, begin, end).copy_(sum_shared(at::matmul(dz.transpose(1, 2), s.q) * scale));
    dv.slice(0, begin, end).copy_(sum_shared(at::matmul(s.p.transpose(1, 2), d)));
  }
}

at::Tensor attention_cached(const at::Tensor& q, const at::Tensor& cache_k, const at::Tensor& cache_v,
                            const at::Tensor& query_starts, const at::Tensor& key_lengths,
                            const at::Tensor& block_table, double scale, int64_t window) {
  const auto* starts = query_starts.data_ptr<int32_t>();
  const auto* lengths = key_lengths.data_ptr<int32_t>();
  auto out = at::empty(q.sizes(), q.options());
  for (int64_t n = 0; n < key_lengths.numel(); ++n) {
    const int64_t begin = starts[n], end = starts[n + 1], keys = lengths[n];
    if (begin == end) continue;
    const int64_t blocks = (keys + kCacheBlockTokens - 1) / kCacheBlockTokens;
    const auto table = block_table[n].slice(0, 0, blocks).to(at::kLong).to(q.device());
    const auto k = cache_k.index_select(0, table).flatten(0, 1).slice(0, 0, keys);
    const auto v = cache_v.index_select(0, table).flatten(0, 1).slice(0, 0, keys);
    const auto s = scores_of(q.slice(0, begin, end), k, v, scale, window);
    out.slice(0, begin, end).copy_(at::matmul(s.p, s.v).permute({1, 0, 2}));
  }
  return out;
}

}  // namespace decant::plain
