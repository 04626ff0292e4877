// Gemma's RMSNorm: y = (1 + w) * x / sqrt(mean(x^2) + eps), all of it in fp32 and rounded once (transformers'
// Gemma2RMSNorm).
#pragma once

#include "core/kernels/rms_norm.h"

namespace decant {

// Shapes as rms_norm. `saved` may be null.
at::Tensor offset_rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps, RmsNormSaved* saved);

// Returns dx in dy's dtype; adds to `weight_grad` (fp32 [D]) when it is defined.
at::Tensor offset_rms_norm_backward(const at::Tensor& dy, const at::Tensor& weight, const RmsNormSaved& saved,
                                    at::Tensor& weight_grad);

}  // namespace decant
