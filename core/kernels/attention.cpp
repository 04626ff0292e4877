#include "core/kernels/attention.h"

#include <ATen/ATen.h>

#include "core/kernels/plain.h"

namespace decant {

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     const at::Tensor& document_starts, double scale, int64_t window, AttentionSaved* saved) {
  return plain::attention(q, k, v, document_starts, scale, window, saved);
}

void attention_backward(const at::Tensor& dout, const AttentionSaved& saved,
                        const at::Tensor& document_starts, double scale, int64_t window, at::Tensor& dq,
                        at::Tensor& dk, at::Tensor& dv) {
  plain::attention_backward(dout, saved, document_starts, scale, window, dq, dk, dv);
}

at::Tensor attention_cached(const at::Tensor& q, const at::Tensor& cache_k, const at::Tensor& cache_v,
                            const at::Tensor& query_starts, const at::Tensor& key_lengths,
                            const at::Tensor& block_table, double scale, int64_t window) {
  return plain::attention_cached(q, cache_k, cache_v, query_starts, key_lengths, block_table, scale, window);
}

}  // namespace decant
