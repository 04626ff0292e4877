// A named tensor of the model and its gradient.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

namespace decant {

// `value` is what the kernels compute with (bf16 or fp32); `grad`, when `trainable`, is fp32 of the same
// shape and is added to by every backward until the optimizer clears it. Masters and optimizer state belong
// to the optimizer (train/optimizer.h). `name` is the checkpoint's: "model.layers.0.self_attn.q_proj.weight".
struct Parameter {
  std::string name;
  at::Tensor value;
  at::Tensor grad;
  bool trainable = false;
  // Rows of a frozen matrix that train (Decoder::token_rows): int64 [n] rising, and their gradient [n, D],
  // which every backward adds to; undefined: none.
  at::Tensor row_ids = {}, row_grad = {};

  bool defined() const { return value.defined(); }
};

}  // namespace decant
