// Quantized weights in safetensors as bitsandbytes and transformers store them (functional.py,
// QuantState.as_dict; nn/modules.py, Linear4bit and Linear8bitLt): beside `NAME.weight` (u8 [N K / 2, 1]) its
// `absmax`, `quant_map`, for double quantisation `nested_absmax` and `nested_quant_map`, and the rest as JSON
// in `quant_state.bitsandbytes__nf4`; int8 has `NAME.weight` (i8 [N, K]) and `NAME.SCB`. Both checkpoints of
// others and the cache of our own quantizations are read here.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "core/json.h"
#include "core/kernels/quantized_weight.h"
#include "core/tensor_file.h"

namespace decant {

// What the linears of a checkpoint with this config.json are in: kNf4 or kNf4Dq for bitsandbytes' 4-bit nf4,
// kNone without a quantization_config or for any other one.
Quantization stored_quantization(const Json& config, const std::string& where);

// The weight `name` ("model.layers.0.mlp.up_proj.weight") [outputs, inputs], mapped, not copied; absent when
// the file has it unquantized. Error for another shape, block size, level or map than can be, and for absmax
// that are not finite.
std::optional<QuantizedWeight> read_quantized(const TensorFile& file, const std::string& name,
                                              int64_t outputs, int64_t inputs);

// The weight that a tensor of the file belongs to ("x.weight" for "x.weight.absmax"), or the tensor's own
// name.
std::string quantized_owner(const std::string& tensor);

// The weight's tensors under the names above.
void append_quantized(NamedTensors& tensors, const std::string& name, const QuantizedWeight& weight);

// Our cache of the linears of the model whose weights_digest is given: FOLDER/DIGEST-KIND.safetensors.
std::filesystem::path quantized_cache_file(const std::filesystem::path& folder,
                                           const std::string& weights_digest, Quantization kind);

}  // namespace decant
