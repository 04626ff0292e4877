// Block-scaled fp8 checkpoints as DeepSeek-V3's: a float8_e4m3 weight [N, K] beside a weight_scale_inv
// [ceil(N / rows), ceil(K / columns)], each scale for one block (transformers
// integrations/finegrained_fp8.py):
//   w[i, j] = fp8[i, j] * scale[i / rows, j / columns]
#pragma once

#include <cstdint>
#include <string>

#include "core/tensor_file.h"

namespace decant {

bool is_fp8(const TensorEntry& entry);

// Whether `name` is the scale of an fp8 weight of the file.
bool is_fp8_scale(const TensorFile& file, const std::string& name);

// The weight in fp32. Errors name the tensor: a scale that is missing, has another shape or dtype, or is not
// finite and positive.
at::Tensor load_fp8(const TensorFile& file, const std::string& name, int64_t rows, int64_t columns);

}  // namespace decant
