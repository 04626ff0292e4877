#include "core/model/block.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "core/kernels/swiglu.h"

namespace decant {

namespace {

bool trains(const Projection& projection) {
  return std::any_of(projection.linears.begin(), projection.linears.end(), [](const Linear& one) {
    return one.weight.trainable || one.bias.trainable ||
           std::any_of(one.terms.begin(), one.terms.end(), [](const LowRankTerm& term) {
             return term.lora_a.trainable || term.lora_b.trainable;
           });
  });
}

// Adds to the norm's gradient when it trains (an undefined gradient is left alone by the kernel).
at::Tensor norm_backward(const at::Tensor& dy, Parameter& norm, const RmsNormSaved& saved) {
  at::Tensor none;
  return rms_norm_backward(dy, norm.value, saved, norm.trainable ? norm.grad : none);
}

// What a norm or swiglu made is a third of all that a layer would keep, and cheap to make again: backward
// does, with the same bits.
void forget_input(at::Tensor& x, ProjectionSaved* saved) {
  x.reset();
  if (saved != nullptr) saved->x.reset();
}
ProjectionSaved with_input(const ProjectionSaved& saved, at::Tensor x) { return {std::move(x), saved.s}; }

struct Heads {
  at::Tensor q, k, v;  // views of [T, (H + 2G) K] as [T, H, K] and [T, G, K]
};

Heads split_heads(const ModelConfig& config, const at::Tensor& qkv) {
  const auto heads = config.num_attention_heads, groups = config.num_key_value_heads, width = config.head_dim;
  const auto all = qkv.view({qkv.size(0), heads + 2 * groups, width});
  return {all.narrow(1, 0, heads), all.narrow(1, heads, groups), all.narrow(1, heads + groups, groups)};
}

}  // namespace

double attention_scale(const ModelConfig& config) {
  return 1.0 / std::sqrt(static_cast<double>(config.head_dim));
}

at::Tensor block_forward(const ModelConfig& config, const DecoderLayer& layer, const at::Tensor& x,
                         const at::Tensor& positions, const RopeTable& rope, Panel panel,
                         const Attend& attend, LayerSaved* saved) {
  const double eps = config.rms_norm_eps;
  if (saved != nullptr) saved->input = x;
  auto h = rms_norm(x, layer.input_layernorm.value, eps, saved != nullptr ? &saved->input_norm : nullptr);
  auto heads = split_heads(config, project(h, layer.qkv, saved != nullptr ? &saved->qkv : nullptr, panel));
  forget_input(h, saved != nullptr ? &saved->qkv : nullptr);
  if (config.qk_norm) {
    heads.q =
        rms_norm(heads.q.contiguous(), layer.q_norm.value, eps, saved != nullptr ? &saved->q_norm : nullptr);
    heads.k =
        rms_norm(heads.k.contiguous(), layer.k_norm.value, eps, saved != nullptr ? &saved->k_norm : nullptr);
  }
  rope_(heads.q, positions, rope);
  rope_(heads.k, positions, rope);
  const auto mixed = attend(heads.q, heads.k, heads.v).view({x.size(0), -1});
  auto o = project(mixed, layer.o, saved != nullptr ? &saved->o : nullptr, panel);

  at::Tensor x2;
  auto h2 = add_rms_norm(x, o, layer.post_attention_layernorm.value, eps, &x2,
                         saved != nullptr ? &saved->post_norm : nullptr);
  o.reset();
  auto gate_up = project(h2, layer.gate_up, saved != nullptr ? &saved->gate_up : nullptr, panel);
  forget_input(h2, saved != nullptr ? &saved->gate_up : nullptr);
  auto act = swiglu(gate_up);
  if (saved != nullptr) saved->gate_up_out = gate_up;
  gate_up.reset();
  auto down = project(act, layer.down, saved != nullptr ? &saved->down : nullptr, panel);
  forget_input(act, saved != nullptr ? &saved->down : nullptr);
  return down.add_(x2);
}

bool trains(const DecoderLayer& layer) {
  return layer.input_layernorm.trainable || layer.post_attention_layernorm.trainable ||
         layer.q_norm.trainable || layer.k_norm.trainable || trains(layer.qkv) || trains(layer.o) ||
         trains(layer.gate_up) || trains(layer.down);
}

at::Tensor block_backward(const ModelConfig& config, DecoderLayer& layer, const LayerSaved& saved,
                          const Batch& batch, int64_t window, const RopeTable& rope, const at::Tensor& dy,
                          bool need_dx) {
  // From the input upwards: who needs a gradient from above.
  const bool need_h = need_dx || layer.input_layernorm.trainable;
  const bool need_qkv = need_h || layer.q_norm.trainable || layer.k_norm.trainable || trains(layer.qkv);
  const bool need_x2 = need_qkv || trains(layer.o);
  const bool need_h2 = need_x2 || layer.post_attention_layernorm.trainable;
  const bool need_gate_up = need_h2 || trains(layer.gate_up);

  const auto normed = [&](const RmsNormSaved& norm, const Parameter& weight) {
    return rms_norm(norm.x, weight.value, config.rms_norm_eps, nullptr);
  };
  auto d_act =
      project_backward(dy, layer.down, with_input(saved.down, swiglu(saved.gate_up_out)), need_gate_up);
  if (!need_gate_up) return {};
  auto d_gate_up = swiglu_backward(d_act, saved.gate_up_out);
  d_act.reset();
  auto d_h2 = project_backward(
      d_gate_up, layer.gate_up,
      with_input(saved.gate_up, normed(saved.post_norm, layer.post_attention_layernorm)), need_h2);
  d_gate_up.reset();
  if (!need_h2) return {};
  auto d_x2 = norm_backward(d_h2, layer.post_attention_layernorm, saved.post_norm).add_(dy);
  d_h2.reset();
  if (!need_x2) return {};
  const auto d_mixed = project_backward(d_x2, layer.o, saved.o, need_qkv);
  if (!need_qkv) return {};

  const auto d_qkv = at::empty({dy.size(0), layer.qkv.outputs()}, dy.options());
  auto heads = split_heads(config, d_qkv);
  attention_backward(d_mixed.view({dy.size(0), config.num_attention_heads, config.head_dim}), saved.attention,
                     batch.document_starts, attention_scale(config), window, heads.q, heads.k, heads.v);
  rope_backward_(heads.q, batch.positions, rope);
  rope_backward_(heads.k, batch.positions, rope);
  if (config.qk_norm) {
    heads.q.copy_(norm_backward(heads.q.contiguous(), layer.q_norm, saved.q_norm));
    heads.k.copy_(norm_backward(heads.k.contiguous(), layer.k_norm, saved.k_norm));
  }
  const auto d_h = project_backward(
      d_qkv, layer.qkv, with_input(saved.qkv, normed(saved.input_norm, layer.input_layernorm)), need_h);
  if (!need_h) return {};
  auto d_norm = norm_backward(d_h, layer.input_layernorm, saved.input_norm);
  return need_dx ? d_norm.add_(d_x2) : at::Tensor();
}

}  // namespace decant
