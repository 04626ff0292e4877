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
  const at::Tensor positions = at::arange(length, at::kFloat);
  const at::Tensor angles = positions.unsqueeze(1) * model.frequencies.unsqueeze(0);  // [T, K/2]
  const at::Tensor cos = (angles.cos() * model.rotation_scale).unsqueeze(1);
  const at::Tensor sin = (angles.sin() * model.rotation_scale).unsqueeze(1);
  const at::Tensor distance = positions.unsqueeze(1) - positions.unsqueeze(0);  // query - key
  const int64_t group = model.heads / model.kv_heads;

  for (int64_t layer = 0; layer < model.layers; ++layer) {
    const std::string prefix = "model.layers." + std::to_string(layer) + ".";
    const at::Tensor h = rms(x, weight(model, prefix + "input_layernorm.weight"), model.eps);
    at::Tensor q = apply(model, prefix + "self_attn.q_proj", h).view({length, model.heads, model.head_dim});
    at::Tensor k =
        apply(model, prefix + "self_attn.k_proj", h).view({length, model.kv_heads, model.head_dim});
    at::Tensor v =
        apply(model, prefix + "self_attn.v_proj", h).view({length, model.kv_heads, model.head_dim});
    if (model.qk_norm) {
      q = rms(q, weight(model, prefix + "self_attn.q_norm.weight"), model.eps);
      k = rms(k, weight(model, prefix + "self_attn.k_norm.weight"), model.eps);
    }
    q = turn(q, cos, sin).transpose(0, 1);                              // [H, T, K]
    k = turn(k, cos, sin).repeat_interleave(group, 1).transpose(0, 1);  // [H, T, K]
    v = v.repeat_interleave(group, 1).transpose(0, 1);
    at::Tensor hidden = distance < 0;
    const int64_t window = model.windows.empty() ? 0 : model.windows[static_cast<size_t>(layer)];
    if (window > 0) hidden = hidden.logical_or(distance >= static_cast<double>(window));
    const at::Tensor scores = q.matmul(k.transpose(1, 2)) / std::sqrt(static_cast<double>(model.head_dim));
    const at::Tensor mixed = scores.masked_fill(hidden, -INFINITY).softmax(-1).matmul(v);
    x = x + apply(model, prefix + "self_attn.o_proj", mixed.transpose(0, 1).reshape({length, -1}));
    const at::Tensor g = rms(x, weight(model, prefix + "post_attention_layernorm.weight"), model.eps);
    const at::Tensor gate = apply(model, prefix + "mlp.gate_proj", g);
    x = x + apply(model, prefix + "mlp.down_proj",
                  gate * gate.sigmoid() * apply(model, prefix + "mlp.up_proj", g));
  }
  x = rms(x, weight(model, "model.norm.weight"), model.eps);
  const at::Tensor* head = find(model, "lm_head.weight");
  const at::Tensor logits = x.narrow(0, 0, length - 1).matmul((head != nullptr ? *head : embedding).t());
  const at::Tensor picked =
      logits.log_softmax(-1).gather(1, tokens.narrow(0, 1, length - 1).unsqueeze(1)).to(at::kDouble);
  const at::Tensor flat = picked.reshape({-1}).contiguous();
  return {flat.const_data_ptr<double>(), flat.const_data_ptr<double>() + flat.numel()};
}

}  // namespace decant::verifying
