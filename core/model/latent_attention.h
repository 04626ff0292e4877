// The way into and out of multi-head latent attention (MLA; DeepSeek-V2, arXiv 2405.04434), as transformers'
// DeepseekV3Attention:
//
//   q = q_b_proj(norm(q_a_proj(x)))               [nope | rope] a head (q_proj(x) where there is no q latent)
//   c, r = kv_a_proj_with_mqa(x)                  latent [T, L] and one rotary key [T, R] for all heads
//   k_nope, v = kv_b_proj(norm(c));  k = [k_nope | rope(r)]
//
// Queries, keys and values come out W = max(qk_head_dim, v_head_dim) channels wide, padded with zeros, so
// that attention and its cache see one width (a cache holds whole keys and values, not the latent). Both
// inner norms have an epsilon of 1e-6, whatever rms_norm_eps says.
//
// Legend: T tokens, D width, H heads, L kv_lora_rank, R qk_rope_head_dim, W key width.
#pragma once

#include "core/kernels/parameter.h"
#include "core/kernels/projection.h"
#include "core/kernels/rms_norm.h"
#include "core/kernels/rope.h"
#include "core/model/model_config.h"

namespace decant {

struct LatentAttention {
  Projection inputs;        // self_attn.q_a_proj (or q_proj) and self_attn.kv_a_proj_with_mqa
  Parameter q_a_layernorm;  // [q_lora_rank]; undefined where queries have no latent, as is q_b
  Projection q_b;
  Parameter kv_a_layernorm;  // [L]
  Projection kv_b;
};

struct LatentAttentionSaved {
  ProjectionSaved inputs, q_b, kv_b;
  RmsNormSaved q_a_norm, kv_a_norm;
};

struct LatentHeads {
  at::Tensor q, k, v;  // [T, H, W]
};

// x [T, D]; `saved` may be null.
LatentHeads latent_heads(const ModelConfig& config, const LatentAttention& attention, const at::Tensor& x,
                         const at::Tensor& positions, const RopeTable& rope, Panel panel,
                         LatentAttentionSaved* saved, std::span<const TrainingRows> training = {});

// d.q, d.k and d.v [T, H, W] (overwritten). Adds to the gradients of what trains; returns dx [T, D] when
// `need_dx`, else undefined.
at::Tensor latent_heads_backward(const ModelConfig& config, LatentAttention& attention,
                                 const LatentAttentionSaved& saved, LatentHeads& d,
                                 const at::Tensor& positions, const RopeTable& rope, bool need_dx);

bool trains(const LatentAttention& attention);

// 1 / sqrt(qk_head_dim), times mscale^2 under yarn with mscale_all_dim.
double latent_attention_scale(const ModelConfig& config);

}  // namespace decant
