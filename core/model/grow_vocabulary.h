// A model with rows for more tokens than it had.
#pragma once

#include <cstdint>

#include "core/model/decoder.h"

namespace decant {

// Rows [had, vocabulary) of the embedding, and of a head of its own, become the mean of the rows [0, had),
// taken in fp32 and rounded once: new tokens begin as an average word, as transformers'
// resize_token_embeddings has them (mean_resizing, whose spread of 1e-9 of the covariance is left out). The
// matrices grow where they are shorter; rows that were padding are overwritten. Error for a quantized model.
void grow_vocabulary(Decoder& model, int64_t had, int64_t vocabulary);

}  // namespace decant
