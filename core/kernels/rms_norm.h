// RMSNorm (Zhang and Sennrich 2019, arXiv 1910.07467), as transformers' LlamaRMSNorm: statistics in fp32,
// y = weight * (x / sqrt(mean(x^2) + eps)) with the normalised x rounded to x's dtype before the product.
// Works on the last dimension: [T, D], or [T, H, K] for Qwen3's q_norm and k_norm.
#pragma once

#include <ATen/core/Tensor.h>

namespace decant {

struct RmsNormSaved {
  at::Tensor x;        // [.., D]
  at::Tensor inverse;  // fp32 [..]: 1 / sqrt(mean(x^2) + eps)
};

// x [.., D], weight [D] -> [.., D] in x's dtype. `saved` may be null (inference).
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps, RmsNormSaved* saved);

// Residual add and norm in one pass: x = residual + delta is written to `sum`, its norm returned. As
// rms_norm(residual + delta).
at::Tensor add_rms_norm(const at::Tensor& residual, const at::Tensor& delta, const at::Tensor& weight,
                        double eps, at::Tensor* sum, RmsNormSaved* saved);

// Returns dx; adds to `weight_grad` (fp32 [D]) when it is defined.
at::Tensor rms_norm_backward(const at::Tensor& dy, const at::Tensor& weight, const RmsNormSaved& saved,
                             at::Tensor& weight_grad);

}  // namespace decant
