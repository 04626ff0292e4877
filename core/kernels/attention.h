// Causal attention over flat rows of documents: block-diagonal by construction, no padding, no mask tensor.
// Grouped-query: H query heads share G key heads (H a multiple of G). Optional sliding window of W keys
// (Mistral): token i sees keys j with i - W < j <= i. Softmax in fp32, online (Dao et al., arXiv 2205.14135);
// results of a query row do not depend on the other documents in the row.
//
// Legend: T tokens, H query heads, G key/value heads, K head width, N documents.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace decant {

struct AttentionSaved {
  at::Tensor q, k, v;  // as given to forward
  at::Tensor out;      // [T, H, K]
  at::Tensor log_sum;  // fp32 [T, H]: log sum exp of the scaled scores
};

// q [T, H, K], k and v [T, G, K] (strides free but for the last dimension, which is contiguous),
// document_starts [N+1] int32 on the CPU: 0 = s0 < s1 < ... < sN = T. scale is usually 1/sqrt(K); window 0
// means none. Returns [T, H, K] contiguous.
at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     const at::Tensor& document_starts, double scale, int64_t window, AttentionSaved* saved);

// Writes dq [T, H, K], dk and dv [T, G, K] (preallocated, strides as for forward; overwritten).
void attention_backward(const at::Tensor& dout, const AttentionSaved& saved,
                        const at::Tensor& document_starts, double scale, int64_t window, at::Tensor& dq,
                        at::Tensor& dk, at::Tensor& dv);

// Generation: query rows against a cache in blocks. Sequence n has queries q[query_starts[n] ..
// query_starts[n+1]) whose last one sits at key position key_lengths[n] - 1; its keys lie in blocks
// block_table[n][0..] of `cache_k`/`cache_v` [blocks, kBlockTokens, G, K]. query_starts [S+1] and key_lengths
// [S] int32, block_table [S, max_blocks] int32, on the CPU. A sequence's result depends on nothing but its
// own queries and keys. Returns [Q, H, K].
constexpr int64_t kCacheBlockTokens = 64;
at::Tensor attention_cached(const at::Tensor& q, const at::Tensor& cache_k, const at::Tensor& cache_v,
                            const at::Tensor& query_starts, const at::Tensor& key_lengths,
                            const at::Tensor& block_table, double scale, int64_t window);

}  // namespace decant
