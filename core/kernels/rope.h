// Rotary position embedding (Su et al., arXiv 2104.09864), the rotate-half form of Hugging Face: channel i
// turns with channel i + K/2. Angles and products in fp32.
#pragma once

#include <ATen/core/Tensor.h>

namespace decant {

// cos and sin [P, K/2] fp32 for positions 0..P-1, already times yarn's attention factor. Made by rope_table()
// in core/model/model_config.h from the model's settings.
struct RopeTable {
  at::Tensor cos, sin;
};

// In place on x [T, H, K] (bf16 or fp32; a strided view over the last two dimensions' rows is fine);
// positions [T] int64.
void rope_(at::Tensor& x, const at::Tensor& positions, const RopeTable& table);

// The backward of a rotation is the rotation by the negative angle; in place on dx.
void rope_backward_(at::Tensor& dx, const at::Tensor& positions, const RopeTable& table);

}  // namespace decant
