// Dropout of what a low-rank term reads, as peft's lora_dropout (nn.Dropout before lora_A): each element of x
// is 0 with probability p, and the term's product is scaled by 1 / (1 - p). Every adapted linear draws a mask
// of its own, also q, k and v, and gate and up, which read one x: as peft, which has a module for each.
//
// A draw is a function of the seed, the linear's name, the optimizer step, the token's place in the step and
// the column, never of the batch: micro-batches, tenants beside it, checkpointing of activations and resuming
// change no bit of a mask. p is rounded to a 65536th, and the scale is that of the rounded p.
//
// Legend: T rows of a batch, K columns.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <string>

namespace decant {

// Rows of a batch in training, by their place in the optimizer step. Without any a forward is an evaluation.
struct TrainingRows {
  int64_t begin = 0, end = 0;         // rows of the batch, whole documents
  int64_t step = 0, first_token = 0;  // what token of the step row `begin` is
  // NEFTune (arXiv 2310.05914): uniform noise of alpha / sqrt(L D) on the embeddings of a document of L
  // tokens.
  double noise_alpha = 0;
  uint64_t noise_seed = 0;
};

struct Dropout {
  double probability = 0;  // in [0, 1)
  uint64_t seed = 0, module = 0;

  static Dropout of(const std::string& module, double probability, uint64_t seed);
  bool on() const { return probability > 0; }
  double scale() const;  // 1 / (1 - p)
};

// Which elements of rows [begin, end) are dropped, a bit each: uint8 [end - begin, ceil(K / 8)]; undefined
// when the dropout is off or nothing trains. Error (ours) when `training` covers a part of the rows only.
at::Tensor dropout_mask(const Dropout& dropout, std::span<const TrainingRows> training, int64_t begin,
                        int64_t end, int64_t columns);
at::Tensor dropped_elements(const at::Tensor& mask, int64_t columns);  // bool [T, K]

}  // namespace decant
