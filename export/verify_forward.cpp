#include "export/verify_forward.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "export/verify_bytes.h"

namespace decant::verifying {
namespace {

constexpr double kTau = 6.283185307179586;

at::Tensor rms(const at::Tensor& x, const at::Tensor& weight, double eps) {
  return x * (x.square().mean(-1, true) + eps).rsqrt() * weight;
}

const at::Tensor* find(const PlainModel& model, const std::string& name) {
  const auto found = model.weights.find(name);
  return found == model.weights.end() ? nullptr : &found->second;
}

const at::Tensor& weight(const PlainModel& model, const std::string& name) {
  const at::Tensor* found = find(model, name);
  expect(found != nullptr, "tensor ", name, " is missing");
  return *found;
}

at::Tensor apply(const PlainModel& model, const std::string& name, const at::Tensor& x) {
  at::Tensor y = x.matmul(weight(model, name + ".weight").t());
  if (const at::Tensor* bias = find(model, name + ".bias")) y = y + *bias;
  return y;
}

// x [T, heads, K]; channel i turns with channel i + K/2.
at::Tensor turn(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
  const int64_t half = x.size(-1) / 2;
  const at::Tensor a = x.narrow(-1, 0, half), b = x.narrow(-1, half, half);
  return at::cat({a * cos - b * sin, b * cos + a * sin}, -1);
}

at::Tensor norm(const PlainModel& model, const std::string& name, const at::Tensor& x) {
  const at::Tensor& w = weight(model, name + ".weight");
  return rms(x, model.gemma ? w + 1 : w, model.eps);
}

struct Heads {
  at::Tensor q, k, v;  // [H, T, K]
};

Heads plain_heads(const PlainModel& model, const std::string& prefix, const at::Tensor& h,
                  const at::Tensor& cos, const at::Tensor& sin) {
  const int64_t length = h.size(0), group = model.heads / model.kv_heads;
  const auto split = [&](const at::Tensor& x) { return x.reshape({length, -1, model.head_dim}); };
  at::Tensor q, k, v;
  if (find(model, prefix + "self_attn.qkv_proj.weight") != nullptr) {
    const at::Tensor all = split(apply(model, prefix + "self_attn.qkv_proj", h));
    q = all.narrow(1, 0, model.heads);
    k = all.narrow(1, model.heads, model.kv_heads);
    v = all.narrow(1, model.heads + model.kv_heads, model.kv_heads);
  } else {
    q = split(apply(model, prefix + "self_attn.q_proj", h));
    k = split(apply(model, prefix + "self_attn.k_proj", h));
    v = split(apply(model, prefix + "self_attn.v_proj", h));
  }
  if (model.qk_norm) {
    q = rms(q, weight(model, prefix + "self_attn.q_norm.weight"), model.eps);
    k = rms(k, weight(model, prefix + "self_attn.k_norm.weight"), model.eps);
  }
  const int64_t turning = 2 * cos.size(-1);  // the head's first channels; the rest stay
  const auto turned = [&](const at::Tensor& x) {
    return at::cat({turn(x.narrow(-1, 0, turning), cos, sin), x.slice(-1, turning)}, -1);
  };
  return {turned(q).transpose(0, 1), turned(k).repeat_interleave(group, 1).transpose(0, 1),
          v.repeat_interleave(group, 1).transpose(0, 1)};
}

constexpr double kLatentEps = 1e-6;  // of the inner norms, whatever config.json says

Heads latent_heads(const PlainModel& model, const std::string& prefix, const at::Tensor& h,
                   const at::Tensor& cos, const at::Tensor& sin) {
  const PlainLatent& latent = *model.latent;
  const int64_t length = h.size(0);
  const std::string at = prefix + "self_attn.";
  const at::Tensor q_all = latent.q_rank == 0
                               ? apply(model, at + "q_proj", h)
                               : apply(model, at + "q_b_proj",
                                       rms(apply(model, at + "q_a_proj", h),
                                           weight(model, at + "q_a_layernorm.weight"), kLatentEps));
  const at::Tensor q = q_all.view({length, model.heads, latent.nope + latent.rope});
  const at::Tensor down = apply(model, at + "kv_a_proj_with_mqa", h);
  const at::Tensor kv =
      apply(model, at + "kv_b_proj",
            rms(down.narrow(1, 0, latent.kv_rank), weight(model, at + "kv_a_layernorm.weight"), kLatentEps))
          .view({length, model.heads, latent.nope + latent.v});
  const auto turned = [&](const at::Tensor& x) {
    if (!latent.interleaved) return turn(x, cos, sin);
    return turn(at::cat({x.slice(-1, 0, {}, 2), x.slice(-1, 1, {}, 2)}, -1), cos, sin);
  };
  const at::Tensor key = turned(down.narrow(1, latent.kv_rank, latent.rope).unsqueeze(1));
  return {at::cat({q.narrow(2, 0, latent.nope), turned(q.narrow(2, latent.nope, latent.rope))}, 2)
              .transpose(0, 1),
          at::cat({kv.narrow(2, 0, latent.nope), key.expand({length, model.heads, latent.rope})}, 2)
              .transpose(0, 1),
          kv.narrow(2, latent.nope, latent.v).transpose(0, 1)};
}

at::Tensor feed_forward(const PlainModel& model, const std::string& at, const at::Tensor& x) {
  at::Tensor gate, up;
  if (find(model, at + "gate_up_proj.weight") != nullptr) {
    const auto both = apply(model, at + "gate_up_proj", x).chunk(2, -1);
    gate = both[0];
    up = both[1];
  } else {
    gate = apply(model, at + "gate_proj", x);
    up = apply(model, at + "up_proj", x);
  }
  return apply(model, at + "down_proj", (model.gemma ? at::gelu(gate, "tanh") : gate * gate.sigmoid()) * up);
}

at::Tensor experts(const PlainModel& model, const std::string& at, const at::Tensor& x) {
  const PlainExperts& e = *model.experts;
  const int64_t length = x.size(0);
  const at::Tensor s = x.matmul(weight(model, at + "gate.weight").t()).sigmoid();
  at::Tensor worth = s + weight(model, at + "gate.e_score_correction_bias");
  const at::Tensor by_group = worth.view({length, e.groups, -1});
  const at::Tensor group_worth = std::get<0>(by_group.sort(-1, true)).narrow(-1, 0, 2).sum(-1);
  const at::Tensor order =
      group_worth.argsort(int64_t{-1}, true).argsort(int64_t{-1});  // 0 for the best group
  worth = by_group.masked_fill((order >= e.groups_per_token).unsqueeze(-1), -INFINITY).reshape(s.sizes());
  const at::Tensor chosen = worth.argsort(int64_t{-1}, true).argsort(int64_t{-1}) < e.per_token;
  at::Tensor weights = s * chosen;
  if (e.normalize) weights = weights / (weights.sum(-1, true) + 1e-20);
  at::Tensor out = feed_forward(model, at + "shared_experts.", x);
  for (int64_t i = 0; i < e.routed; ++i)
    out = out + feed_forward(model, at + "experts." + std::to_string(i) + ".", x) *
                    (weights.select(1, i).unsqueeze(1) * e.scale);
  return out;
}

}  // namespace

at::Tensor rope_frequencies(const PlainRope& rope, int64_t head_dim) {
  const int64_t half = head_dim / 2;
  std::vector<double> plain(static_cast<size_t>(half));
  for (int64_t i = 0; i < half; ++i)
    plain[static_cast<size_t>(i)] =
        std::pow(rope.theta, -2.0 * static_cast<double>(i) / static_cast<double>(head_dim));
  std::vector<double> out = plain;
  if (rope.kind == "linear") {
    for (double& f : out) f /= rope.factor;
  } else if (rope.kind == "llama3") {
    for (double& f : out) {
      const double turns = rope.original * f / kTau;  // over the original context
      const double mix = std::clamp((turns - rope.low) / (rope.high - rope.low), 0.0, 1.0);
      f = f / rope.factor * (1 - mix) + f * mix;
    }
  } else if (rope.kind == "yarn") {
    const auto channel_of = [&](double turns) {
      return static_cast<double>(head_dim) * std::log(rope.original / (turns * kTau)) /
             (2 * std::log(rope.theta));
    };
    double first = channel_of(rope.beta_fast), last = channel_of(rope.beta_slow);
    if (rope.truncate) {
      first = std::floor(first);
      last = std::ceil(last);
    }
    first = std::max(first, 0.0);
    last = std::min(last, static_cast<double>(head_dim) - 1);
    if (first == last) last += 0.001;
    for (int64_t i = 0; i < half; ++i) {
      const double slow = std::clamp((static_cast<double>(i) - first) / (last - first), 0.0, 1.0);
      auto& f = out[static_cast<size_t>(i)];
      f = f / rope.factor * slow + f * (1 - slow);
    }
  } else if (rope.kind == "longrope") {
    expect(rope.divisors.size() == out.size(), "longrope has ", rope.divisors.size(), " factors for ",
           out.size(), " pairs of channels");
    for (size_t i = 0; i < out.size(); ++i) out[i] /= rope.divisors[i];
  } else {
    expect(rope.kind == "default", "the rope scaling '", rope.kind, "' is not known");
  }
  at::Tensor result = at::empty({half}, at::kFloat);
  for (int64_t i = 0; i < half; ++i)
    result.data_ptr<float>()[i] = static_cast<float>(out[static_cast<size_t>(i)]);
  return result;
}

std::vector<double> plain_log_probabilities(const PlainModel& model, const std::vector<int64_t>& ids) {
  expect(ids.size() >= 2, "a golden line with fewer than two ids");
  const auto length = static_cast<int64_t>(ids.size());
  for (const int64_t id : ids)
    expect(id >= 0 && id < model.vocabulary, "id ", id, " is outside the vocabulary of ", model.vocabulary);
  const at::Tensor tokens = at::tensor(ids, at::kLong);
  const at::Tensor& embedding = weight(model, "model.embed_tokens.weight");
  at::Tensor x = embedding.index_select(0, tokens);
  if (model.gemma) x = x * std::sqrt(static_cast<double>(embedding.size(1)));
  const at::Tensor positions = at::arange(length, at::kFloat);
  const at::Tensor angles = positions.unsqueeze(1) * model.frequencies.unsqueeze(0);  // [T, K/2]
  const at::Tensor cos = (angles.cos() * model.rotation_scale).unsqueeze(1);
  const at::Tensor sin = (angles.sin() * model.rotation_scale).unsqueeze(1);
  const at::Tensor distance = positions.unsqueeze(1) - positions.unsqueeze(0);  // query - key
  const double scale =
      model.attention_scale > 0 ? model.attention_scale : 1 / std::sqrt(static_cast<double>(model.head_dim));

  for (int64_t layer = 0; layer < model.layers; ++layer) {
    const std::string prefix = "model.layers." + std::to_string(layer) + ".";
    const Heads heads =
        model.latent ? latent_heads(model, prefix, norm(model, prefix + "input_layernorm", x), cos, sin)
                     : plain_heads(model, prefix, norm(model, prefix + "input_layernorm", x), cos, sin);
    at::Tensor hidden = distance < 0;
    const int64_t window = model.windows.empty() ? 0 : model.windows[static_cast<size_t>(layer)];
    if (window > 0) hidden = hidden.logical_or(distance >= static_cast<double>(window));
    at::Tensor scores = heads.q.matmul(heads.k.transpose(1, 2)) * scale;
    if (model.attention_cap > 0) scores = (scores / model.attention_cap).tanh() * model.attention_cap;
    const at::Tensor mixed = scores.masked_fill(hidden, -INFINITY).softmax(-1).matmul(heads.v);
    at::Tensor added = apply(model, prefix + "self_attn.o_proj", mixed.transpose(0, 1).reshape({length, -1}));
    if (model.gemma) added = norm(model, prefix + "post_attention_layernorm", added);
    x = x + added;
    const at::Tensor g =
        norm(model, prefix + (model.gemma ? "pre_feedforward_layernorm" : "post_attention_layernorm"), x);
    added = model.experts && layer >= model.experts->first_layer ? experts(model, prefix + "mlp.", g)
                                                                 : feed_forward(model, prefix + "mlp.", g);
    if (model.gemma) added = norm(model, prefix + "post_feedforward_layernorm", added);
    x = x + added;
  }
  x = norm(model, "model.norm", x);
  const at::Tensor* head = find(model, "lm_head.weight");
  at::Tensor logits = x.narrow(0, 0, length - 1).matmul((head != nullptr ? *head : embedding).t());
  if (model.logit_cap > 0) logits = (logits / model.logit_cap).tanh() * model.logit_cap;
  const at::Tensor picked =
      logits.log_softmax(-1).gather(1, tokens.narrow(0, 1, length - 1).unsqueeze(1)).to(at::kDouble);
  const at::Tensor flat = picked.reshape({-1}).contiguous();
  return {flat.const_data_ptr<double>(), flat.const_data_ptr<double>() + flat.numel()};
}

}  // namespace decant::verifying
