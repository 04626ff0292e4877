// Attention whose scores are soft-capped before the softmax (Gemma 2, arXiv 2408.00118): z = cap tanh(s /
// cap). Contracts as attention.h. One form for all devices, which holds the scores of one document at a time:
// memory H x length^2.
#pragma once

#include "core/kernels/attention.h"

namespace decant {

at::Tensor capped_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const at::Tensor& document_starts, double scale, int64_t window, double cap,
                            AttentionSaved* saved);

void capped_attention_backward(const at::Tensor& dout, const AttentionSaved& saved,
                               const at::Tensor& document_starts, double scale, int64_t window, double cap,
                               at::Tensor& dq, at::Tensor& dk, at::Tensor& dv);

at::Tensor capped_attention_cached(const at::Tensor& q, const at::Tensor& cache_k, const at::Tensor& cache_v,
                                   const at::Tensor& query_starts, const at::Tensor& key_lengths,
                                   const at::Tensor& block_table, double scale, int64_t window, double cap);

}  // namespace decant
