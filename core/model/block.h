// One block of the decoder, as forward and backward of its own; the attention is given, because training
// reads whole documents and generation reads a cache.
//
//   x2 = x + o_proj(attention(rope(qkv_proj(norm(x)))));   y = x2 + down_proj(swiglu(gate_up_proj(norm(x2))))
//
// gemma2 norms what each half adds, too, and has geglu; deepseek_v3 has latent attention and experts.
//
// Legend: T tokens, D width, H heads, G key/value heads, K head width.
#pragma once

#include <functional>
#include <span>

#include "core/model/decoder.h"

namespace decant {

// q [T, H, K], k and v [T, G, K] after norm and rope -> [T, H, K]. (Latent attention: G = H, K =
// key_width().)
using Attend = std::function<at::Tensor(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v)>;

// x [T, D] -> y [T, D]. `saved` may be null; its `attention` is left to `attend`. `training` as project().
at::Tensor block_forward(const ModelConfig& config, const DecoderLayer& layer, const at::Tensor& x,
                         const at::Tensor& positions, const RopeTable& rope, Panel panel,
                         const Attend& attend, LayerSaved* saved,
                         std::span<const TrainingRows> training = {});

// attention(), backward and cached, with the config's scale and cap.
at::Tensor attend_rows(const ModelConfig& config, const at::Tensor& q, const at::Tensor& k,
                       const at::Tensor& v, const at::Tensor& document_starts, int64_t window,
                       AttentionSaved* saved);
at::Tensor attend_cache(const ModelConfig& config, const at::Tensor& q, const at::Tensor& cache_k,
                        const at::Tensor& cache_v, const at::Tensor& query_starts,
                        const at::Tensor& key_lengths, const at::Tensor& block_table, int64_t window);

// The final norm, or any other of the family's: x [.., D] -> [.., D]. `saved` may be null.
at::Tensor family_norm(const ModelConfig& config, const at::Tensor& x, const Parameter& norm,
                       RmsNormSaved* saved);
// Returns dx; adds to the norm's gradient when it trains.
at::Tensor family_norm_backward(const ModelConfig& config, const at::Tensor& dy, Parameter& norm,
                                const RmsNormSaved& saved);

// Whether a weight, bias, norm or term of the layer is trainable.
bool trains(const DecoderLayer& layer);

// dy [T, D] -> dx [T, D], or undefined unless `need_dx`. Adds to the gradients of what trains.
at::Tensor block_backward(const ModelConfig& config, DecoderLayer& layer, const LayerSaved& saved,
                          const Batch& batch, int64_t window, const RopeTable& rope, const at::Tensor& dy,
                          bool need_dx);

// 1 / sqrt(K), or what the family has in its place.
double attention_scale(const ModelConfig& config);

}  // namespace decant
