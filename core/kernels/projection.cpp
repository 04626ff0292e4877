#include "core/kernels/projection.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>

#include "core/error.h"
#include "core/kernels/plain.h"
#include "core/kernels/quantized_gemm.h"
#include "core/kernels/tensor_rows.h"

namespace decant {

int64_t Projection::outputs() const {
  int64_t sum = 0;
  for (const auto& one : linears) sum += one.outputs();
  return sum;
}
int64_t Projection::inputs() const { return linears.at(0).inputs(); }

at::Tensor Linear::weight_values(at::ScalarType dtype) const {
  return quantized.defined() ? dequantize(quantized, dtype) : weight.value.to(dtype);
}

void quantize_linear(Linear& linear, Quantization kind) {
  check(!linear.weight.trainable, linear.name, ".weight: trains, so it cannot be quantized");
  linear.quantized = quantize_weight(linear.weight.value, kind);
  linear.weight.value.reset();
}

Projection make_projection(std::vector<Linear> linears) {
  TORCH_INTERNAL_ASSERT(!linears.empty());
  Projection projection;
  const auto& first = linears[0];
  const bool biased = first.bias.defined(), quantized = first.quantized.defined();
  std::vector<at::Tensor> weights, biases;
  for (const auto& one : linears) {
    check(one.quantized.defined() == quantized, one.name, ".weight: expected it quantized exactly where ",
          first.name, ".weight is");
    check(quantized || one.weight.value.dim() == 2, one.name, ".weight: expected two dimensions");
    check(one.inputs() == first.inputs(), one.name, ".weight: expected ", first.inputs(), " inputs as in ",
          first.name, ".weight, found ", one.inputs());
    check(quantized || one.weight.value.scalar_type() == first.weight.value.scalar_type(), one.name,
          ".weight: expected the dtype of ", first.name, ".weight");
    check(one.bias.defined() == biased, one.name, ".bias: expected one exactly where ", first.name,
          " has one");
    weights.push_back(one.weight.value);
    if (biased) biases.push_back(one.bias.value);
  }
  // One linear keeps its own storage.
  if (!quantized) projection.weight = linears.size() == 1 ? weights[0].contiguous() : at::cat(weights, 0);
  if (biased) projection.bias = linears.size() == 1 ? biases[0].contiguous() : at::cat(biases, 0);
  int64_t row = 0;
  for (auto& one : linears) {
    const auto outputs = one.outputs();
    if (!quantized) one.weight.value = projection.weight.narrow(0, row, outputs);
    if (biased) one.bias.value = projection.bias.narrow(0, row, outputs);
    row += outputs;
  }
  projection.linears = std::move(linears);
  return projection;
}

namespace {

StackedWeights stacked(const Projection& projection) {
  StackedWeights weights;
  for (const auto& one : projection.linears) weights.push_back(&one.quantized);
  return weights;
}

// Terms of one segment, whose A are multiplied as one.
struct TermGroup {
  int64_t begin, end;  // rows
  struct Member {
    size_t linear, term, saved;
    int64_t column, outputs, rank_begin, rank;
  };
  std::vector<Member> members;
  at::Tensor mask;  // of its only member, which drops; undefined: nothing is dropped
  at::Tensor a;     // [sum of ranks, K]
};

std::vector<TermGroup> term_groups(const Projection& projection, int64_t rows,
                                   const std::vector<at::Tensor>& masks) {
  std::vector<TermGroup> groups;
  int64_t column = 0;
  size_t saved = 0;
  for (size_t i = 0; i < projection.linears.size(); ++i) {
    const auto& one = projection.linears[i];
    const auto outputs = one.outputs();
    for (size_t t = 0; t < one.terms.size(); ++t) {
      const auto [begin, end] = one.terms[t].segment.value_or(std::pair<int64_t, int64_t>{0, rows});
      if (!one.terms[t].takes_part(rows)) {
        ++saved;
        continue;
      }
      TORCH_INTERNAL_ASSERT(0 <= begin && begin <= end && end <= rows, "segment ", begin, " to ", end, " of ",
                            rows, " rows");
      const at::Tensor mask = masks.empty() ? at::Tensor() : masks.at(saved);
      auto found = std::find_if(groups.begin(), groups.end(), [&, b = begin, e = end](const TermGroup& g) {
        return g.begin == b && g.end == e && !g.mask.defined() && !mask.defined();
      });
      if (found == groups.end()) found = groups.insert(groups.end(), TermGroup{begin, end, {}, mask, {}});
      const auto rank = one.terms[t].lora_a.value.size(0);
      const auto rank_begin =
          found->members.empty() ? 0 : found->members.back().rank_begin + found->members.back().rank;
      found->members.push_back({i, t, saved++, column, outputs, rank_begin, rank});
    }
    column += outputs;
  }
  for (auto& group : groups) {
    std::vector<at::Tensor> parts;
    for (const auto& m : group.members)
      parts.push_back(projection.linears[m.linear].terms[m.term].lora_a.value);
    group.a = parts.size() == 1 ? parts[0] : at::cat(parts, 0);
  }
  return groups;
}

// The group's rows of x, what it drops at 0.
at::Tensor input_of(const TermGroup& group, const at::Tensor& x) {
  const auto given = x.slice(0, group.begin, group.end);
  if (!group.mask.defined()) return given;
  const auto rows = with_plain_rows(given);
  auto kept = at::empty(rows.sizes(), rows.options());
  with_loops(rows, [&](const auto& loop, auto* from) {
    auto* to = values<std::remove_pointer_t<decltype(from)>>(kept);
    at::parallel_for(0, rows.size(0), kRowGrain, [&](int64_t begin, int64_t end) {
      loop.copy_kept(from + begin * rows.stride(0), rows.stride(0),
                     group.mask.template const_data_ptr<uint8_t>() + begin * group.mask.size(1),
                     group.mask.size(1), end - begin, rows.size(1), to + begin * rows.size(1));
    });
  });
  return kept;
}

double scale_of(const TermGroup& group, const LowRankTerm& term) {
  return group.mask.defined() ? term.scale * term.dropout.scale() : term.scale;
}

// y [rows, N] = z + b -> g z + b.
void apply_magnitude(at::Tensor y, const Linear& linear, const LowRankTerm& term,
                     ProjectionSaved::Scaled* saved) {
  at::Tensor norm;
  if (!term.gain.defined()) norm = dora_norm(linear, term);
  const auto gain = term.gain.defined() ? term.gain : term.magnitude.value / norm;
  auto z = plain::wide(y);
  if (linear.bias.defined()) z = z - plain::wide(linear.bias.value);
  if (saved != nullptr) *saved = {z.to(y.scalar_type(), false, true), gain, norm};
  z = z * gain;
  if (linear.bias.defined()) z.add_(plain::wide(linear.bias.value));
  y.copy_(z);
}

// dy with the rows of terms that have a magnitude multiplied by their gains; adds to the magnitudes'
// gradients.
at::Tensor scaled_gradient(const at::Tensor& dy, Projection& projection, const ProjectionSaved& saved,
                           const std::vector<TermGroup>& groups) {
  if (saved.scaled.empty()) return dy;
  auto scaled = dy.clone();
  for (const auto& group : groups)
    for (const auto& m : group.members) {
      auto& magnitude = projection.linears[m.linear].terms[m.term].magnitude;
      if (!magnitude.defined()) continue;
      const auto& kept = saved.scaled.at(m.saved);
      auto rows = scaled.slice(0, group.begin, group.end).narrow(1, m.column, m.outputs);
      const auto dyi = plain::wide(rows);
      if (magnitude.trainable) magnitude.grad.add_((dyi * plain::wide(kept.z)).sum(0) / kept.norm);
      rows.copy_(dyi * kept.gain);
    }
  return scaled;
}

}  // namespace

at::Tensor dora_norm(const Linear& linear, const LowRankTerm& term) {
  constexpr int64_t kRows = 1024;  // of W in fp32 at one time
  const auto a = plain::wide(term.lora_a.value), b = plain::wide(term.lora_b.value);
  const auto weight = linear.quantized.defined() ? linear.weight_values(at::kFloat) : linear.weight.value;
  std::vector<at::Tensor> norms;
  for (int64_t row = 0; row < weight.size(0); row += kRows) {
    const auto rows = std::min(kRows, weight.size(0) - row);
    norms.push_back(
        at::addmm(plain::wide(weight.narrow(0, row, rows)), b.narrow(0, row, rows), a, 1, term.scale)
            .square_()
            .sum(1)
            .sqrt_());
  }
  return norms.size() == 1 ? norms[0] : at::cat(norms);
}

void fix_gain(const Linear& linear, LowRankTerm& term) {
  TORCH_INTERNAL_ASSERT(!term.magnitude.trainable && !term.lora_a.trainable && !term.lora_b.trainable);
  term.gain = term.magnitude.value / dora_norm(linear, term);
}

std::vector<at::Tensor> dropout_masks(const Projection& projection, int64_t rows,
                                      std::span<const TrainingRows> training) {
  std::vector<at::Tensor> masks;
  bool any = false;
  if (training.empty()) return masks;
  for (const auto& one : projection.linears)
    for (const auto& term : one.terms) {
      masks.emplace_back();
      if (!term.dropout.on() || !term.takes_part(rows)) continue;
      TORCH_INTERNAL_ASSERT(!term.magnitude.defined(), one.name, ": dropout beside a magnitude");
      const auto [begin, end] = term.segment.value_or(std::pair<int64_t, int64_t>{0, rows});
      masks.back() = dropout_mask(term.dropout, training, begin, end, one.inputs());
      any = true;
    }
  if (!any) masks.clear();
  return masks;
}

at::Tensor project(const at::Tensor& x, const Projection& projection, ProjectionSaved* saved, Panel panel,
                   std::span<const TrainingRows> training) {
  if (use_plain_kernels(x)) return plain::project(x, projection, saved, training);
  const auto masks = dropout_masks(projection, x.size(0), training);
  const auto groups = term_groups(projection, x.size(0), masks);
  if (saved != nullptr) {
    size_t terms = 0;
    for (const auto& one : projection.linears) terms += one.terms.size();
    *saved = {x, std::vector<at::Tensor>(terms), {}, masks};
  }
  std::vector<LowRankAdd> adds;
  for (const auto& group : groups) {
    const auto s = decant::linear(input_of(group, x), group.a, {}, panel);
    for (const auto& m : group.members) {
      const auto& term = projection.linears[m.linear].terms[m.term];
      const auto own = s.narrow(1, m.rank_begin, m.rank);
      adds.push_back({group.begin, group.end, m.column, own, term.lora_b.value, scale_of(group, term)});
      if (saved != nullptr) saved->s[m.saved] = own;
    }
  }
  auto y = projection.quantized() ? decant::linear(x, stacked(projection), projection.bias, panel, adds)
                                  : decant::linear(x, projection.weight, projection.bias, panel, adds);
  for (const auto& group : groups)
    for (const auto& m : group.members) {
      const auto& linear = projection.linears[m.linear];
      const auto& term = linear.terms[m.term];
      if (!term.magnitude.defined()) continue;
      ProjectionSaved::Scaled* keep = nullptr;
      if (saved != nullptr) {
        saved->scaled.resize(saved->s.size());
        keep = &saved->scaled[m.saved];
      }
      apply_magnitude(y.slice(0, group.begin, group.end).narrow(1, m.column, m.outputs), linear, term, keep);
    }
  return y;
}

at::Tensor project_backward(const at::Tensor& dy_out, Projection& projection, const ProjectionSaved& saved,
                            bool need_dx, Panel panel) {
  if (use_plain_kernels(dy_out)) return plain::project_backward(dy_out, projection, saved, need_dx);
  const auto groups = term_groups(projection, dy_out.size(0), saved.masks);
  const auto dy = scaled_gradient(dy_out, projection, saved, groups);
  int64_t column = 0;
  for (auto& one : projection.linears) {
    const auto outputs = one.outputs();
    if (one.weight.trainable) add_weight_grad(one.weight.grad, dy.narrow(1, column, outputs), saved.x);
    if (one.bias.defined() && one.bias.trainable)
      add_bias_grad(one.bias.grad, dy_out.narrow(1, column, outputs));
    column += outputs;
  }
  std::vector<LowRankAdd> adds;
  for (const auto& group : groups) {
    const auto rows = dy.slice(0, group.begin, group.end);
    std::vector<at::Tensor> parts;
    bool a_learns = false;
    for (const auto& m : group.members) {
      auto& term = projection.linears[m.linear].terms[m.term];
      const auto dyi = rows.narrow(1, m.column, m.outputs);
      const double scale = scale_of(group, term);
      if (term.lora_b.trainable) add_weight_grad(term.lora_b.grad, dyi, saved.s.at(m.saved), scale);
      auto ds = linear_input_grad(dyi, term.lora_b.value, panel);  // dS = scale dy B
      if (scale != 1) ds.mul_(scale);
      parts.push_back(ds);
      a_learns = a_learns || term.lora_a.trainable;
    }
    const auto ds = parts.size() == 1 ? parts[0] : at::cat(parts, 1);
    if (a_learns) {
      auto sums = at::zeros(group.a.sizes(), group.a.options().dtype(at::kFloat));
      add_weight_grad(sums, ds, input_of(group, saved.x));
      for (const auto& m : group.members) {
        auto& lora_a = projection.linears[m.linear].terms[m.term].lora_a;
        if (lora_a.trainable) lora_a.grad.add_(sums.narrow(0, m.rank_begin, m.rank));
      }
    }
    // What was dropped has no gradient.
    if (need_dx) adds.push_back({group.begin, group.end, 0, ds, group.a, 1, group.mask});
  }
  if (!need_dx) return {};
  return projection.quantized() ? linear_input_grad(dy, stacked(projection), adds)
                                : linear_input_grad(dy, projection.weight, panel, adds);
}

bool trains(const Projection& projection) {
  return std::any_of(projection.linears.begin(), projection.linears.end(), [](const Linear& one) {
    return one.weight.trainable || one.bias.trainable ||
           std::any_of(one.terms.begin(), one.terms.end(), [](const LowRankTerm& term) {
             return term.lora_a.trainable || term.lora_b.trainable || term.magnitude.trainable;
           });
  });
}

}  // namespace decant
