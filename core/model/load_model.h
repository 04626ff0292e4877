// Models from and to disk. Loading is a set comparison of names: a missing and an unexpected tensor are both
// errors, as are other shapes and values that are not finite. (Known extras are let pass: rotary inv_freq
// buffers, lm_head of a tied model when it equals the embedding, layers that predict further tokens.) Weights
// of block-scaled fp8 checkpoints are multiplied out (fp8_weights.h).
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "core/model/decoder.h"

namespace decant {

enum class Dtype { kBf16, kFp32 };
at::ScalarType to_torch(Dtype dtype);
// bf16 where the machine has bf16 instructions (avx512_bf16 or amx_bf16; core/instruction_set.h), else fp32.
Dtype fastest_dtype();

// Whether the tensor of this name is kept in fp32 whatever the model's dtype (and released so): the experts'
// routing corrections, as in DeepSeek's own checkpoints.
bool stays_fp32(const std::string& name);

// How the linears of the decoder's layers are kept; embedding, norms, biases and head stay in the model's
// dtype.
struct LoadQuantized {
  Quantization kind = Quantization::kNone;
  // A file that holds this model's linears quantized so (stored_quantization.h), or that is written with
  // them; empty: none.
  std::filesystem::path cache;
};

// A Hugging Face folder: config.json and model.safetensors or shards with their index. Quantized tensor by
// tensor while it is read, so that never more than one tensor of the model is there unquantized. A folder
// that bitsandbytes quantized to nf4 is read as it is; asking for another kind is an Error.
Decoder load_model(const std::filesystem::path& folder, Dtype dtype, const LoadQuantized& quantized = {});

// A decoder with the given tensors; `source(name)` returns the tensor of that name. Used by load_model, GGUF
// import and tests.
using TensorSource = std::function<at::Tensor(const std::string& name)>;
Decoder make_decoder(const ModelConfig& config, Dtype dtype, const TensorSource& source,
                     Quantization kind = Quantization::kNone);

// Seeded random weights of the given standard deviation (norms 1, biases 0): tests and tiny recipes.
Decoder random_decoder(const ModelConfig& config, Dtype dtype, uint64_t seed, double deviation = 0.02);

// config.json and model.safetensors (sharded above max_shard_bytes), weights in `dtype`; atomically. Error
// for a quantized model.
void save_model(const Decoder& model, const std::filesystem::path& folder, Dtype dtype,
                int64_t max_shard_bytes = 5'000'000'000);

// The student of a teacher: the given layers, in order, renumbered; everything else shared by value (cloned).
Decoder keep_layers(const Decoder& teacher, const std::vector<int64_t>& layers);

// A GGUF model (llama or qwen2 architecture) as a Hugging Face folder: weights dequantized to `dtype`,
// llama's q/k rows permuted back, config.json from the metadata. Tokenizer files are written by
// data_pipeline/tokenizer_files.h.
Decoder import_gguf(const std::filesystem::path& gguf, Dtype dtype);

}  // namespace decant
