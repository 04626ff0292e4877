// The gradient of an embedding: its rows' reading (index_select) is ATen's.
//
// Legend: T tokens, D width, V vocabulary.
#pragma once

#include <ATen/core/Tensor.h>

namespace decant {

// grad [V, D] += dx [T, D] at the rows that tokens [T] (int64, of the vocabulary) name. grad is fp32 whatever
// dx is (bf16 or fp32; float64 for both runs the plain form), so that a token that occurs a thousand times
// loses nothing; rows are added in the order of the tokens, on any number of threads (each has its own
// columns). Rows without a token are not touched: a head that shares the weight adds to the same grad.
void add_embedding_gradient(at::Tensor& grad, const at::Tensor& tokens, const at::Tensor& dx);

}  // namespace decant
