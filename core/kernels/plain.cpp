#include "core/kernels/plain.h"

#include <ATen/ATen.h>

namespace decant::plain {

at::Tensor wide(const at::Tensor& x) { return x.scalar_type() == at::kDouble ? x : x.to(at::kFloat); }

at::Tensor linear(const at::Tensor& x, const at::Tensor& w, const at::Tensor& bias) {
  return bias.defined() ? at::linear(x, w, bias) : at::linear(x, w);
}

at::Tensor linear_input_grad(const at::Tensor& dy, const at::Tensor& w) { return at::mm(dy, w); }

void add_weight_grad(at::Tensor& grad, const at::Tensor& dy, const at::Tensor& x) {
  grad.add_(at::mm(wide(dy).t(), wide(x)));
}

void add_bias_grad(at::Tensor& grad, const at::Tensor& dy) { grad.add_(wide(dy).sum(0)); }

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps, RmsNormSaved* saved) {
  const auto xw = wide(x);
  const auto inverse = at::rsqrt(xw.square().mean(-1, /*keepdim=*/true) + eps);
  if (saved != nullptr) *saved = {x, inverse.squeeze(-1)};
  return weight * (xw * inverse).to(x.scalar_type());
}

// With n = x / r and g = dy w:  dx = (g - n mean(g n)) / r,  dw = sum over rows of dy n.
at::Tensor rms_norm_backward(const at::Tensor& dy, const at::Tensor& weight, const RmsNormSaved& saved,
                             at::Tensor& weight_grad) {
  const auto inverse = saved.inverse.unsqueeze(-1);
  const auto n = wide(saved.x) * inverse;
  const auto g = wide(dy) * wide(weight);
  if (weight_grad.defined()) {
    const auto rounded = wide(n.to(saved.x.scalar_type()));
    weight_grad.add_((wide(dy) * rounded).reshape({-1, weight.size(0)}).sum(0));
  }
  return (inverse * (g - n * (g * n).mean(-1, /*keepdim=*/true))).to(saved.x.scalar_type());
}

at::Tensor rope(const at::Tensor& x, const at::Tensor& positions, const RopeTable& table, double sign) {
  const auto half = x.size(2) / 2;
  const auto xw = wide(x);
  const auto cos = table.cos.index_select(0, positions).unsqueeze(1).to(xw.scalar_type());  // [T, 1, K/2]
  const auto sin = table.sin.index_select(0, positions).unsqueeze(1).to(xw.scalar_type()) * sign;
  const auto a = xw.narrow(2, 0, half), b = xw.narrow(2, half, half);
  return at::cat({a * cos - b * sin, b * cos + a * sin}, 2).to(x.scalar_type());
}

at::Tensor swiglu(const at::Tensor& gate_up) {
  const auto width = gate_up.size(1) / 2;
  const auto gate = wide(gate_up.narrow(1, 0, width));
  return (gate * at::sigmoid(gate)).to(gate_up.scalar_type()) * gate_up.narrow(1, width, width);
}

at::Tensor swiglu_backward(const at::Tensor& dh, const at::Tensor& gate_up) {
  const auto width = gate_up.size(1) / 2;
  const auto gate = wide(gate_up.narrow(1, 0, width)), up = wide(gate_up.narrow(1, width, width));
  const auto d = wide(dh);
  const auto sigmoid = at::sigmoid(gate);
  const auto silu = wide((gate * sigmoid).to(gate_up.scalar_type()));
  const auto d_gate = d * up * sigmoid * (1 + gate * (1 - sigmoid));
  return at::cat({d_gate, d * silu}, 1).to(gate_up.scalar_type());
}

at::Tensor dequantize(const QuantizedWeight& w, at::ScalarType dtype) {
  const int64_t count = w.outputs * w.inputs;
  if (w.kind == Quantization::kInt8)
    return (w.codes.to(at::kFloat) * (w.absmax * (1.0f / 127.0f)).unsqueeze(1)).to(dtype);
  at::Tensor absmax = w.absmax;
  if (w.kind == Quantization::kNf4Dq) {
    const auto nested = w.nested_absmax.repeat_interleave(256).narrow(0, 0, absmax.numel());
    absmax = w.nested_map.index_select(0, absmax.to(at::kLong)) * nested + w.offset;
  }
  const auto codes = at::stack({w.codes.bitwise_right_shift(4), w.codes.bitwise_and(15)}, 1).flatten();
  const auto levels = nf4_levels().index_select(0, codes.narrow(0, 0, count).to(at::kLong));
  return (levels * absmax.repeat_interleave(w.block).narrow(0, 0, count))
      .to(dtype)
      .view({w.outputs, w.inputs});
}

void add_embedding_gradient(at::Tensor& grad, const at::Tensor& tokens, const at::Tensor& dx) {
  grad.index_add_(0, tokens, dx.to(grad.scalar_type()));
}

at::Tensor cross_entropy(const at::Tensor& logits, const at::Tensor& targets) {
  const auto z = wide(logits);
  return at::logsumexp(z, {1}) - z.gather(1, targets.unsqueeze(1)).squeeze(1);
}

namespace {

// The weight itself (autograd goes through it), or its dequantised values.
at::Tensor weight_of(const Linear& one, const at::Tensor& x) {
  return one.quantized.defined() ? plain::dequantize(one.quantized, x.scalar_type()) : one.weight.value;
}

at::Tensor fused_weight(const Projection& projection, const at::Tensor& x) {
  if (!projection.quantized()) return projection.weight;
  std::vector<at::Tensor> parts;
  for (const auto& one : projection.linears) parts.push_back(weight_of(one, x));
  return at::cat(parts, 0);
}

at::Tensor without_dropped(const at::Tensor& x, const at::Tensor& mask) {
  return mask.defined() ? x.masked_fill(dropped_elements(mask, x.size(1)).to(x.device()), 0) : x;
}

double scale_with(const LowRankTerm& term, const at::Tensor& mask) {
  return mask.defined() ? term.scale * term.dropout.scale() : term.scale;
}

}  // namespace

at::Tensor project(const at::Tensor& x, const Projection& projection, ProjectionSaved* saved,
                   std::span<const TrainingRows> training) {
  const auto masks = dropout_masks(projection, x.size(0), training);
  if (saved != nullptr) *saved = {x, {}, {}, masks};
  size_t at_term = 0;
  std::vector<at::Tensor> outputs;
  for (const auto& one : projection.linears) {
    auto y = plain::linear(x, weight_of(one, x), one.bias.value);
    for (const auto& term : one.terms) {
      const at::Tensor mask = masks.empty() ? at::Tensor() : masks.at(at_term);
      ++at_term;
      if (!term.takes_part(x.size(0))) {
        if (saved != nullptr) saved->s.emplace_back();
        continue;
      }
      const auto [begin, end] = term.segment.value_or(std::pair<int64_t, int64_t>{0, x.size(0)});
      const auto s = plain::linear(without_dropped(x.slice(0, begin, end), mask), term.lora_a.value, {});
      const auto delta = plain::linear(s, term.lora_b.value, {}) * scale_with(term, mask);
      auto inside = y.slice(0, begin, end) + delta;
      if (saved != nullptr) saved->s.push_back(s);
      if (term.magnitude.defined()) {
        const auto bias = one.bias.defined() ? wide(one.bias.value) : at::zeros({1}, wide(x).options());
        const auto norm = term.gain.defined() ? at::Tensor() : dora_norm(one, term).detach();
        const auto gain = term.gain.defined() ? term.gain : term.magnitude.value / norm;
        const auto z = wide(inside) - bias;
        if (saved != nullptr) {
          saved->scaled.resize(saved->s.size());
          saved->scaled.back() = {z.to(x.scalar_type()), gain, norm};
        }
        inside = (z * gain + bias).to(x.scalar_type());
      }
      y = at::cat({y.slice(0, 0, begin), inside, y.slice(0, end)}, 0);
    }
    outputs.push_back(y);
  }
  return outputs.size() == 1 ? outputs[0] : at::cat(outputs, 1);
}

namespace {

// As scaled_gradient() of projection.cpp.
at::Tensor scaled_gradient(const at::Tensor& dy, Projection& projection, const ProjectionSaved& saved) {
  if (saved.scaled.empty()) return dy;
  auto scaled = dy.clone();
  int64_t column = 0;
  size_t at_term = 0;
  for (auto& one : projection.linears) {
    const auto width = one.outputs();
    for (auto& term : one.terms) {
      const size_t i = at_term++;
      if (!term.magnitude.defined() || !term.takes_part(dy.size(0))) continue;
      const auto& kept = saved.scaled.at(i);
      const auto [begin, end] = term.segment.value_or(std::pair<int64_t, int64_t>{0, dy.size(0)});
      auto rows = scaled.slice(0, begin, end).narrow(1, column, width);
      const auto dyi = wide(rows);
      if (term.magnitude.trainable) term.magnitude.grad.add_((dyi * wide(kept.z)).sum(0) / kept.norm);
      rows.copy_(dyi * kept.gain);
    }
    column += width;
  }
  return scaled;
}

}  // namespace

at::Tensor project_backward(const at::Tensor& dy_out, Projection& projection, const ProjectionSaved& saved,
                            bool need_dx) {
  const auto dy = scaled_gradient(dy_out, projection, saved);
  at::Tensor dx;
  if (need_dx) dx = wide(linear_input_grad(dy, fused_weight(projection, dy)));
  int64_t column = 0;
  size_t at_term = 0;
  for (auto& one : projection.linears) {
    const auto width = one.outputs();
    const auto dyi = dy.narrow(1, column, width);
    if (one.weight.trainable) add_weight_grad(one.weight.grad, dyi, saved.x);
    if (one.bias.defined() && one.bias.trainable)
      add_bias_grad(one.bias.grad, dy_out.narrow(1, column, width));
    column += width;
    for (auto& term : one.terms) {
      const at::Tensor mask = saved.masks.empty() ? at::Tensor() : saved.masks.at(at_term);
      const auto& s = saved.s.at(at_term++);
      if (!term.takes_part(saved.x.size(0))) continue;
      const double scale = scale_with(term, mask);
      const auto [begin, end] = term.segment.value_or(std::pair<int64_t, int64_t>{0, saved.x.size(0)});
      const auto rows = dyi.slice(0, begin, end);
      const auto ds = linear_input_grad(rows, term.lora_b.value) * scale;
      if (term.lora_b.trainable) add_weight_grad(term.lora_b.grad, rows, s * scale);
      if (term.lora_a.trainable)
        add_weight_grad(term.lora_a.grad, ds, without_dropped(saved.x.slice(0, begin, end), mask));
      if (need_dx)
        dx.slice(0, begin, end).add_(without_dropped(linear_input_grad(ds, term.lora_a.value), mask));
    }
  }
  return need_dx ? dx.to(saved.x.scalar_type()) : dx;
}

}  // namespace decant::plain
