#include "core/model/latent_attention.h"

#include <ATen/ATen.h>

#include <cmath>

namespace decant {

namespace {

constexpr double kInnerEps = 1e-6;  // DeepseekV3RMSNorm's default: the config's epsilon is not passed on

// [T, heads, R]: from pairs (2i, 2i + 1) to rotate-half's (i, i + R/2), and back.
at::Tensor to_halves(const at::Tensor& x) {
  return x.reshape({x.size(0), x.size(1), x.size(2) / 2, 2}).transpose(2, 3).reshape(x.sizes());
}
at::Tensor to_pairs(const at::Tensor& x) {
  return x.reshape({x.size(0), x.size(1), 2, x.size(2) / 2}).transpose(2, 3).reshape(x.sizes());
}

// In place on x [T, heads, R].
void turn(const LatentAttentionConfig& config, at::Tensor x, const at::Tensor& positions,
          const RopeTable& rope) {
  if (config.interleaved) x.copy_(to_halves(x));
  rope_(x, positions, rope);
}
void turn_back(const LatentAttentionConfig& config, at::Tensor dx, const at::Tensor& positions,
               const RopeTable& rope) {
  rope_backward_(dx, positions, rope);
  if (config.interleaved) dx.copy_(to_pairs(dx));
}

at::Tensor norm_backward(const at::Tensor& dy, Parameter& norm, const RmsNormSaved& saved) {
  at::Tensor none;
  return rms_norm_backward(dy, norm.value, saved, norm.trainable ? norm.grad : none);
}

}  // namespace

double latent_attention_scale(const ModelConfig& config) {
  double scale = 1 / std::sqrt(static_cast<double>(config.latent->qk_head_dim()));
  const auto& rope = config.rope;
  if (rope.kind != RopeConfig::Kind::kDefault && rope.mscale_all_dim != 0 && rope.factor > 1) {
    const double mscale = 0.1 * rope.mscale_all_dim * std::log(rope.factor) + 1;
    scale *= mscale * mscale;
  }
  return scale;
}

bool trains(const LatentAttention& attention) {
  return attention.q_a_layernorm.trainable || attention.kv_a_layernorm.trainable ||
         trains(attention.inputs) || trains(attention.q_b) || trains(attention.kv_b);
}

LatentHeads latent_heads(const ModelConfig& config, const LatentAttention& attention, const at::Tensor& x,
                         const at::Tensor& positions, const RopeTable& rope, Panel panel,
                         LatentAttentionSaved* saved, std::span<const TrainingRows> training) {
  const auto& latent = *config.latent;
  const auto tokens = x.size(0), heads = config.num_attention_heads, width = config.key_width(),
             nope = latent.qk_nope_head_dim, turning = latent.qk_rope_head_dim;
  const auto inputs =
      project(x, attention.inputs, saved != nullptr ? &saved->inputs : nullptr, panel, training);
  const auto for_q = attention.inputs.linears[0].weight.value.size(0);

  auto q = inputs.narrow(1, 0, for_q);
  if (attention.q_a_layernorm.defined()) {
    const auto h = rms_norm(q.contiguous(), attention.q_a_layernorm.value, kInnerEps,
                            saved != nullptr ? &saved->q_a_norm : nullptr);
    q = project(h, attention.q_b, saved != nullptr ? &saved->q_b : nullptr, panel, training);
  }
  const auto compressed = inputs.narrow(1, for_q, latent.kv_lora_rank).contiguous();
  const auto c = rms_norm(compressed, attention.kv_a_layernorm.value, kInnerEps,
                          saved != nullptr ? &saved->kv_a_norm : nullptr);
  const auto kv = project(c, attention.kv_b, saved != nullptr ? &saved->kv_b : nullptr, panel, training)
                      .view({tokens, heads, nope + latent.v_head_dim});

  LatentHeads out;
  out.q = at::zeros({tokens, heads, width}, x.options());
  out.q.narrow(2, 0, latent.qk_head_dim()).copy_(q.reshape({tokens, heads, latent.qk_head_dim()}));
  turn(latent, out.q.narrow(2, nope, turning), positions, rope);
  const auto shared =
      inputs.narrow(1, for_q + latent.kv_lora_rank, turning).reshape({tokens, 1, turning}).clone();
  turn(latent, shared, positions, rope);
  out.k = at::zeros({tokens, heads, width}, x.options());
  out.k.narrow(2, 0, nope).copy_(kv.narrow(2, 0, nope));
  out.k.narrow(2, nope, turning).copy_(shared.expand({tokens, heads, turning}));
  out.v = at::zeros({tokens, heads, width}, x.options());
  out.v.narrow(2, 0, latent.v_head_dim).copy_(kv.narrow(2, nope, latent.v_head_dim));
  return out;
}

at::Tensor latent_heads_backward(const ModelConfig& config, LatentAttention& attention,
                                 const LatentAttentionSaved& saved, LatentHeads& d,
                                 const at::Tensor& positions, const RopeTable& rope, bool need_dx) {
  const auto& latent = *config.latent;
  const auto tokens = d.q.size(0), heads = config.num_attention_heads, nope = latent.qk_nope_head_dim,
             turning = latent.qk_rope_head_dim, wide_qk = latent.qk_head_dim();
  const auto for_q = attention.inputs.linears[0].weight.value.size(0);
  const bool need_inputs = need_dx || trains(attention.inputs);

  // Rows of the inputs projection: [q or its latent | kv latent | shared rotary key].
  const auto d_inputs = at::empty({tokens, attention.inputs.outputs()}, d.q.options());
  turn_back(latent, d.q.narrow(2, nope, turning), positions, rope);
  auto d_q = d.q.narrow(2, 0, wide_qk).reshape({tokens, heads * wide_qk});
  if (attention.q_a_layernorm.defined()) {
    const bool need = need_inputs || attention.q_a_layernorm.trainable;
    d_q = project_backward(d_q, attention.q_b, saved.q_b, need);
    if (need) d_q = norm_backward(d_q, attention.q_a_layernorm, saved.q_a_norm);
  }
  const auto d_kv = at::cat({d.k.narrow(2, 0, nope), d.v.narrow(2, 0, latent.v_head_dim)}, 2)
                        .reshape({tokens, attention.kv_b.outputs()});
  const bool need_latent = need_inputs || attention.kv_a_layernorm.trainable;
  auto d_latent = project_backward(d_kv, attention.kv_b, saved.kv_b, need_latent);
  if (need_latent) d_latent = norm_backward(d_latent, attention.kv_a_layernorm, saved.kv_a_norm);
  if (!need_inputs) return {};

  // The shared key's gradient is the sum over the heads, head by head.
  const auto to = d.q.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  auto d_shared = d.k.narrow(2, nope, turning).select(1, 0).to(to, false, /*copy=*/true);
  for (int64_t head = 1; head < heads; ++head) d_shared.add_(d.k.narrow(2, nope, turning).select(1, head));
  d_shared = d_shared.to(d.q.scalar_type()).unsqueeze(1);
  turn_back(latent, d_shared, positions, rope);
  d_inputs.narrow(1, 0, for_q).copy_(d_q);
  d_inputs.narrow(1, for_q, latent.kv_lora_rank).copy_(d_latent);
  d_inputs.narrow(1, for_q + latent.kv_lora_rank, turning).copy_(d_shared.squeeze(1));
  return project_backward(d_inputs, attention.inputs, saved.inputs, need_dx);
}

}  // namespace decant
