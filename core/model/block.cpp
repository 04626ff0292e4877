#include "core/model/block.h"

#include <ATen/ATen.h>

#include <cmath>

#include "core/kernels/capped_attention.h"
#include "core/kernels/geglu.h"
#include "core/kernels/offset_norm.h"
#include "core/kernels/swiglu.h"
#include "core/model/latent_attention.h"
#include "core/model/layer_walk.h"
#include "core/model/mixture_of_experts.h"

namespace decant {

namespace {

// Adds to the norm's gradient when it trains (an undefined gradient is left alone by the kernel).
at::Tensor norm_backward(const at::Tensor& dy, Parameter& norm, const RmsNormSaved& saved) {
  at::Tensor none;
  return rms_norm_backward(dy, norm.value, saved, norm.trainable ? norm.grad : none);
}

// What a norm or swiglu made is a third of all that a layer would keep, and cheap to make again: backward
// does, with the same bits. (Not where families differ: gemma2's norms and GeGLU, experts, latent attention.)
void forget_input(at::Tensor& x, ProjectionSaved* saved) {
  x.reset();
  if (saved != nullptr) saved->x.reset();
}
template <class Make>
ProjectionSaved with_input(const ProjectionSaved& saved, const Make& make) {
  ProjectionSaved whole = saved;
  if (!whole.x.defined()) whole.x = make();
  return whole;
}

struct Heads {
  at::Tensor q, k, v;  // views of [T, (H + 2G) K] as [T, H, K] and [T, G, K]
};

Heads split_heads(const ModelConfig& config, const at::Tensor& qkv) {
  const auto heads = config.num_attention_heads, groups = config.num_key_value_heads, width = config.head_dim;
  const auto all = qkv.view({qkv.size(0), heads + 2 * groups, width});
  return {all.narrow(1, 0, heads), all.narrow(1, heads, groups), all.narrow(1, heads + groups, groups)};
}

// The channels of each head that turn: all, or the first ones (phi3).
at::Tensor turning(const ModelConfig& config, const at::Tensor& heads) {
  return config.rope.partial_rotary_factor == 1 ? heads : heads.narrow(2, 0, config.rotary_width());
}

}  // namespace

double attention_scale(const ModelConfig& config) {
  if (config.latent) return latent_attention_scale(config);
  return 1.0 /
         std::sqrt(config.query_scalar > 0 ? config.query_scalar : static_cast<double>(config.head_dim));
}

namespace {

// The rest of a gemma2 block: what attention and feed-forward add is normed before it is added.
at::Tensor sandwich_forward(const ModelConfig& config, const DecoderLayer& layer, const at::Tensor& x,
                            const at::Tensor& o, Panel panel, LayerSaved* saved,
                            std::span<const TrainingRows> training) {
  const auto keep = [&](RmsNormSaved LayerSaved::*field) {
    return saved != nullptr ? &(saved->*field) : nullptr;
  };
  const auto x2 = x + family_norm(config, o, layer.post_attention_layernorm, keep(&LayerSaved::post_norm));
  const auto h2 =
      family_norm(config, x2, layer.pre_feedforward_layernorm, keep(&LayerSaved::pre_feed_forward_norm));
  const auto gate_up =
      project(h2, layer.gate_up, saved != nullptr ? &saved->gate_up : nullptr, panel, training);
  if (saved != nullptr) saved->gate_up_out = gate_up;
  const auto down =
      project(geglu(gate_up), layer.down, saved != nullptr ? &saved->down : nullptr, panel, training);
  return x2 + family_norm(config, down, layer.post_feedforward_layernorm,
                          keep(&LayerSaved::post_feed_forward_norm));
}

// From the normed input to what o_proj reads: [T, H K].
at::Tensor attention_forward(const ModelConfig& config, const DecoderLayer& layer, at::Tensor h,
                             const at::Tensor& positions, const RopeTable& rope, Panel panel,
                             const Attend& attend, LayerSaved* saved,
                             std::span<const TrainingRows> training) {
  if (layer.latent) {
    const auto heads = latent_heads(config, *layer.latent, h, positions, rope, panel,
                                    saved != nullptr ? &saved->latent : nullptr, training);
    return attend(heads.q, heads.k, heads.v).narrow(2, 0, config.latent->v_head_dim).reshape({h.size(0), -1});
  }
  const double eps = config.rms_norm_eps;
  auto heads =
      split_heads(config, project(h, layer.qkv, saved != nullptr ? &saved->qkv : nullptr, panel, training));
  if (config.family != Family::kGemma2) forget_input(h, saved != nullptr ? &saved->qkv : nullptr);
  if (config.qk_norm) {
    heads.q =
        rms_norm(heads.q.contiguous(), layer.q_norm.value, eps, saved != nullptr ? &saved->q_norm : nullptr);
    heads.k =
        rms_norm(heads.k.contiguous(), layer.k_norm.value, eps, saved != nullptr ? &saved->k_norm : nullptr);
  }
  auto q = turning(config, heads.q), k = turning(config, heads.k);
  rope_(q, positions, rope);
  rope_(k, positions, rope);
  return attend(heads.q, heads.k, heads.v).view({positions.size(0), -1});
}

// d_mixed [T, H K]. Returns dh when `need_h`, else undefined.
at::Tensor latent_backward(const ModelConfig& config, DecoderLayer& layer, const LayerSaved& saved,
                           const Batch& batch, int64_t window, const RopeTable& rope,
                           const at::Tensor& d_mixed, bool need_h) {
  const auto tokens = d_mixed.size(0), heads = config.num_attention_heads, width = config.key_width(),
             wide_v = config.latent->v_head_dim;
  auto d_out = d_mixed.view({tokens, heads, wide_v});
  if (width > wide_v) d_out = at::constant_pad_nd(d_out, {0, width - wide_v}, 0);
  const auto empty = [&] { return at::empty({tokens, heads, width}, d_mixed.options()); };
  LatentHeads d{empty(), empty(), empty()};
  attention_backward(d_out, saved.attention, batch.document_starts, attention_scale(config), window, d.q, d.k,
                     d.v);
  return latent_heads_backward(config, *layer.latent, saved.latent, d, batch.positions, rope, need_h);
}

// As latent_backward, for q, k and v made by one projection.
at::Tensor heads_backward(const ModelConfig& config, DecoderLayer& layer, const LayerSaved& saved,
                          const Batch& batch, int64_t window, const RopeTable& rope,
                          const at::Tensor& d_mixed, bool need_h) {
  const auto d_qkv = at::empty({d_mixed.size(0), layer.qkv.outputs()}, d_mixed.options());
  auto heads = split_heads(config, d_qkv);
  const auto d_out = d_mixed.view({d_mixed.size(0), config.num_attention_heads, config.head_dim});
  if (config.attention_cap > 0)
    capped_attention_backward(d_out, saved.attention, batch.document_starts, attention_scale(config), window,
                              config.attention_cap, heads.q, heads.k, heads.v);
  else
    attention_backward(d_out, saved.attention, batch.document_starts, attention_scale(config), window,
                       heads.q, heads.k, heads.v);
  auto q = turning(config, heads.q), k = turning(config, heads.k);
  rope_backward_(q, batch.positions, rope);
  rope_backward_(k, batch.positions, rope);
  if (config.qk_norm) {
    heads.q.copy_(norm_backward(heads.q.contiguous(), layer.q_norm, saved.q_norm));
    heads.k.copy_(norm_backward(heads.k.contiguous(), layer.k_norm, saved.k_norm));
  }
  const auto normed = [&] {
    return rms_norm(saved.input_norm.x, layer.input_layernorm.value, config.rms_norm_eps, nullptr);
  };
  return project_backward(d_qkv, layer.qkv, with_input(saved.qkv, normed), need_h);
}

// Returns dh2 when `need_h2`, else undefined.
at::Tensor feed_forward_backward(const ModelConfig& config, DecoderLayer& layer, const LayerSaved& saved,
                                 const at::Tensor& dy, bool need_h2) {
  if (layer.experts) return mixture_backward(*config.experts, *layer.experts, saved.mixture, dy, need_h2);
  const bool need_gate_up = need_h2 || trains(layer.gate_up);
  auto d_act = project_backward(
      dy, layer.down, with_input(saved.down, [&] { return swiglu(saved.gate_up_out); }), need_gate_up);
  if (!need_gate_up) return {};
  const auto d_gate_up = config.family == Family::kGemma2 ? geglu_backward(d_act, saved.gate_up_out)
                                                          : swiglu_backward(d_act, saved.gate_up_out);
  d_act.reset();
  const auto normed = [&] {
    return rms_norm(saved.post_norm.x, layer.post_attention_layernorm.value, config.rms_norm_eps, nullptr);
  };
  return project_backward(d_gate_up, layer.gate_up, with_input(saved.gate_up, normed), need_h2);
}

}  // namespace

at::Tensor block_forward(const ModelConfig& config, const DecoderLayer& layer, const at::Tensor& x,
                         const at::Tensor& positions, const RopeTable& rope, Panel panel,
                         const Attend& attend, LayerSaved* saved, std::span<const TrainingRows> training) {
  const double eps = config.rms_norm_eps;
  if (saved != nullptr) saved->input = x;
  auto h = family_norm(config, x, layer.input_layernorm, saved != nullptr ? &saved->input_norm : nullptr);
  auto mixed =
      attention_forward(config, layer, std::move(h), positions, rope, panel, attend, saved, training);
  auto o = project(mixed, layer.o, saved != nullptr ? &saved->o : nullptr, panel, training);
  mixed.reset();

  if (config.family == Family::kGemma2) return sandwich_forward(config, layer, x, o, panel, saved, training);
  at::Tensor x2;
  auto h2 = add_rms_norm(x, o, layer.post_attention_layernorm.value, eps, &x2,
                         saved != nullptr ? &saved->post_norm : nullptr);
  o.reset();
  if (layer.experts)
    return x2 + mixture_forward(*config.experts, *layer.experts, h2, panel,
                                saved != nullptr ? &saved->mixture : nullptr);
  auto gate_up = project(h2, layer.gate_up, saved != nullptr ? &saved->gate_up : nullptr, panel, training);
  forget_input(h2, saved != nullptr ? &saved->gate_up : nullptr);
  auto act = swiglu(gate_up);
  if (saved != nullptr) saved->gate_up_out = gate_up;
  gate_up.reset();
  auto down = project(act, layer.down, saved != nullptr ? &saved->down : nullptr, panel, training);
  forget_input(act, saved != nullptr ? &saved->down : nullptr);
  return down.add_(x2);
}

at::Tensor attend_rows(const ModelConfig& config, const at::Tensor& q, const at::Tensor& k,
                       const at::Tensor& v, const at::Tensor& document_starts, int64_t window,
                       AttentionSaved* saved) {
  if (config.attention_cap > 0)
    return capped_attention(q, k, v, document_starts, attention_scale(config), window, config.attention_cap,
                            saved);
  return attention(q, k, v, document_starts, attention_scale(config), window, saved);
}

at::Tensor attend_cache(const ModelConfig& config, const at::Tensor& q, const at::Tensor& cache_k,
                        const at::Tensor& cache_v, const at::Tensor& query_starts,
                        const at::Tensor& key_lengths, const at::Tensor& block_table, int64_t window) {
  if (config.attention_cap > 0)
    return capped_attention_cached(q, cache_k, cache_v, query_starts, key_lengths, block_table,
                                   attention_scale(config), window, config.attention_cap);
  return attention_cached(q, cache_k, cache_v, query_starts, key_lengths, block_table,
                          attention_scale(config), window);
}

at::Tensor family_norm(const ModelConfig& config, const at::Tensor& x, const Parameter& norm,
                       RmsNormSaved* saved) {
  return config.family == Family::kGemma2 ? offset_rms_norm(x, norm.value, config.rms_norm_eps, saved)
                                          : rms_norm(x, norm.value, config.rms_norm_eps, saved);
}

at::Tensor family_norm_backward(const ModelConfig& config, const at::Tensor& dy, Parameter& norm,
                                const RmsNormSaved& saved) {
  if (config.family != Family::kGemma2) return norm_backward(dy, norm, saved);
  at::Tensor none;
  return offset_rms_norm_backward(dy, norm.value, saved, norm.trainable ? norm.grad : none);
}

bool trains(const DecoderLayer& layer) {
  bool found = false;
  walk_layer(
      layer, [&](const Projection& projection) { found = found || trains(projection); },
      [&](const Parameter& parameter) { found = found || parameter.trainable; });
  return found;
}

at::Tensor block_backward(const ModelConfig& config, DecoderLayer& layer, const LayerSaved& saved,
                          const Batch& batch, int64_t window, const RopeTable& rope, const at::Tensor& dy,
                          bool need_dx) {
  // From the input upwards: who needs a gradient from above.
  const bool need_h = need_dx || layer.input_layernorm.trainable;
  const bool need_qkv = need_h || layer.q_norm.trainable || layer.k_norm.trainable || trains(layer.qkv) ||
                        (layer.latent && trains(*layer.latent));
  const bool need_x2 = need_qkv || trains(layer.o);
  const bool need_h2 = need_x2 || layer.post_attention_layernorm.trainable;

  at::Tensor d_x2, d_o;
  if (config.family == Family::kGemma2) {
    const bool need_o = need_x2 || layer.post_attention_layernorm.trainable,
               need_pre = need_o || layer.pre_feedforward_layernorm.trainable;
    const auto d_down =
        family_norm_backward(config, dy, layer.post_feedforward_layernorm, saved.post_feed_forward_norm);
    const auto d_h2 = feed_forward_backward(config, layer, saved, d_down, need_pre);
    if (!need_pre) return {};
    d_x2 =
        family_norm_backward(config, d_h2, layer.pre_feedforward_layernorm, saved.pre_feed_forward_norm) + dy;
    if (!need_o) return {};
    d_o = family_norm_backward(config, d_x2, layer.post_attention_layernorm, saved.post_norm);
  } else {
    const auto d_h2 = feed_forward_backward(config, layer, saved, dy, need_h2);
    if (!need_h2) return {};
    d_x2 = norm_backward(d_h2, layer.post_attention_layernorm, saved.post_norm).add_(dy);
    d_o = d_x2;
  }
  if (!need_x2) return {};
  const auto d_mixed = project_backward(d_o, layer.o, saved.o, need_qkv);
  if (!need_qkv) return {};

  const auto d_h = layer.latent ? latent_backward(config, layer, saved, batch, window, rope, d_mixed, need_h)
                                : heads_backward(config, layer, saved, batch, window, rope, d_mixed, need_h);
  if (!need_h) return {};
  const auto d_norm = family_norm_backward(config, d_h, layer.input_layernorm, saved.input_norm);
  return need_dx ? d_norm + d_x2 : at::Tensor();
}

}  // namespace decant
