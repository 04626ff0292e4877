// The plain ATen form of every kernel: what the fast forms are tested against, and what runs off the CPU, in
// float64 and under DECANT_KERNELS=plain (gemm.h). Made of differentiable ATen functions, so that autograd
// over the forward forms is the oracle of the written backward forms. "Wide" is the type that sums run in:
// fp32, or float64 where the operands are float64.
//
// Contracts are those of the headers of the same names; only what differs is said here.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>

#include "core/kernels/adamw.h"
#include "core/kernels/attention.h"
#include "core/kernels/block_codes.h"
#include "core/kernels/projection.h"
#include "core/kernels/quantized_weight.h"
#include "core/kernels/rms_norm.h"
#include "core/kernels/rope.h"

namespace decant::plain {

at::Tensor wide(const at::Tensor& x);  // fp32, or x itself when it is float64

at::Tensor linear(const at::Tensor& x, const at::Tensor& w, const at::Tensor& bias);
at::Tensor linear_input_grad(const at::Tensor& dy, const at::Tensor& w);
void add_weight_grad(at::Tensor& grad, const at::Tensor& dy, const at::Tensor& x);
void add_bias_grad(at::Tensor& grad, const at::Tensor& dy);

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps, RmsNormSaved* saved);
at::Tensor rms_norm_backward(const at::Tensor& dy, const at::Tensor& weight, const RmsNormSaved& saved,
                             at::Tensor& weight_grad);

// Not in place: returns the turned x; sign -1 turns back.
at::Tensor rope(const at::Tensor& x, const at::Tensor& positions, const RopeTable& table, double sign);

at::Tensor swiglu(const at::Tensor& gate_up);
at::Tensor swiglu_backward(const at::Tensor& dh, const at::Tensor& gate_up);

// These materialise the scores of one document at a time.
// What attention forms share. True where query i (its last one at key position keys - 1) may not see key j:
// [queries, keys].
at::Tensor hidden_keys(int64_t queries, int64_t keys, int64_t window, const at::Device& device);
// [t, heads, K] -> wide [heads, t, K]; key heads are repeated for the query heads that share them.
at::Tensor by_head(const at::Tensor& x, int64_t repeats);
at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     const at::Tensor& document_starts, double scale, int64_t window, AttentionSaved* saved);
void attention_backward(const at::Tensor& dout, const AttentionSaved& saved,
                        const at::Tensor& document_starts, double scale, int64_t window, at::Tensor& dq,
                        at::Tensor& dk, at::Tensor& dv);
at::Tensor attention_cached(const at::Tensor& q, const at::Tensor& cache_k, const at::Tensor& cache_v,
                            const at::Tensor& query_starts, const at::Tensor& key_lengths,
                            const at::Tensor& block_table, double scale, int64_t window);

at::Tensor project(const at::Tensor& x, const Projection& projection, ProjectionSaved* saved,
                   std::span<const TrainingRows> training = {});
at::Tensor project_backward(const at::Tensor& dy, Projection& projection, const ProjectionSaved& saved,
                            bool need_dx);

// Differentiable in nothing: the values of a frozen weight, rounded once to `dtype`.
at::Tensor dequantize(const QuantizedWeight& weight, at::ScalarType dtype);

// -log p(target) per row of logits [n, V]: wide [n].
at::Tensor cross_entropy(const at::Tensor& logits, const at::Tensor& targets);

void add_embedding_gradient(at::Tensor& grad, const at::Tensor& tokens, const at::Tensor& dx);

void adamw(const AdamwTensor& one);
BlockCodes encode_blocks(const at::Tensor& x, CodeMap map);
at::Tensor decode_blocks(const BlockCodes& x, CodeMap map);
double sum_of_squares(const at::Tensor& x);

}  // namespace decant::plain
