#include "core/model/mixture_of_experts.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>

#include "core/kernels/plain.h"
#include "core/kernels/row_map.h"
#include "core/kernels/swiglu.h"

namespace decant {

namespace {

using plain::wide;

constexpr double kLeastSum = 1e-20;  // transformers' guard of the division

bool trains(const FeedForward& one) { return decant::trains(one.gate_up) || decant::trains(one.down); }

bool has_segments(const Projection& projection) {
  return std::any_of(projection.linears.begin(), projection.linears.end(), [](const Linear& linear) {
    return std::any_of(linear.terms.begin(), linear.terms.end(),
                       [](const LowRankTerm& term) { return term.segment.has_value(); });
  });
}

// The expert for rows that are the given tokens of the batch: a term's segment of tokens becomes the segment
// of their rows. Weights and gradients are the same tensors.
FeedForward for_rows(const FeedForward& expert, const at::Tensor& tokens) {
  FeedForward local = expert;
  const auto* first = tokens.const_data_ptr<int64_t>();
  const auto* last = first + tokens.numel();
  for (auto* projection : {&local.gate_up, &local.down})
    for (auto& linear : projection->linears)
      for (auto& term : linear.terms)
        if (term.segment)
          term.segment = {std::lower_bound(first, last, term.segment->first) - first,
                          std::lower_bound(first, last, term.segment->second) - first};
  return local;
}

at::Tensor expert_forward(const FeedForward& expert, const at::Tensor& x, Panel panel,
                          FeedForwardSaved* saved) {
  const auto gate_up = project(x, expert.gate_up, saved != nullptr ? &saved->gate_up : nullptr, panel);
  auto y = project(swiglu(gate_up), expert.down, saved != nullptr ? &saved->down : nullptr, panel);
  if (saved != nullptr) saved->gate_up_out = gate_up;
  return y;
}

at::Tensor expert_backward(FeedForward& expert, const FeedForwardSaved& saved, const at::Tensor& dy,
                           bool need_dx, Panel panel) {
  const bool need = need_dx || decant::trains(expert.gate_up);
  const auto d_act = project_backward(dy, expert.down, saved.down, need, panel);
  if (!need) return {};
  return project_backward(swiglu_backward(d_act, saved.gate_up_out), expert.gate_up, saved.gate_up, need_dx,
                          panel);
}

// Experts see few rows each: a smaller panel wastes less.
Panel expert_panel(Panel panel) { return panel == Panel::kDecode ? panel : Panel::kExpert; }

// Rows of one expert: places in [T, k], and the tokens they are of.
struct Rows {
  at::Tensor places, tokens;
};
Rows rows_of(const Routing& routing, size_t expert, int64_t per_token) {
  const auto places = routing.rows.slice(0, routing.starts[expert], routing.starts[expert + 1]);
  return {places, at::floor_divide(places, per_token)};
}

}  // namespace

bool trains(const MixtureOfExperts& mixture) {
  return mixture.router.trainable || trains(mixture.shared) ||
         std::any_of(mixture.experts.begin(), mixture.experts.end(),
                     [](const FeedForward& one) { return trains(one); });
}

Routing route(const ExpertsConfig& config, const MixtureOfExperts& mixture, const at::Tensor& x,
              Panel panel) {
  const auto tokens = x.size(0);
  Routing routing;
  routing.scores = map_rows(linear(wide(x), wide(mixture.router.value), {}, panel),
                            [](at::Tensor& out, const at::Tensor& in) { at::sigmoid_out(out, in); });
  const auto in_group = config.routed / config.groups;
  auto worth = routing.scores + mixture.correction.value.to(routing.scores.scalar_type());
  const auto of_group =
      std::get<0>(worth.view({tokens, config.groups, in_group}).topk(2, -1)).sum(-1);  // [T, groups]
  const auto best = std::get<1>(of_group.topk(config.groups_per_token, -1, true, false));
  const auto open = at::zeros(of_group.sizes(), of_group.options().dtype(at::kBool)).scatter_(1, best, true);
  worth = worth.masked_fill(open.logical_not().repeat_interleave(in_group, 1),
                            -std::numeric_limits<double>::infinity());
  routing.chosen = std::get<1>(worth.topk(config.per_token, -1, true, false));
  auto weights = routing.scores.gather(1, routing.chosen);
  if (config.normalize) weights = weights / (weights.sum(-1, /*keepdim=*/true) + kLeastSum);
  routing.weights = weights * config.scale;

  // Counting sort by expert; tokens keep their order.
  const auto chosen = routing.chosen.cpu().contiguous();
  const auto* expert = chosen.const_data_ptr<int64_t>();
  routing.starts.assign(static_cast<size_t>(config.routed) + 1, 0);
  for (int64_t i = 0; i < chosen.numel(); ++i) ++routing.starts[static_cast<size_t>(expert[i]) + 1];
  for (size_t e = 0; e + 1 < routing.starts.size(); ++e) routing.starts[e + 1] += routing.starts[e];
  routing.rows = at::empty({chosen.numel()}, at::kLong);
  auto next = routing.starts;
  auto* rows = routing.rows.mutable_data_ptr<int64_t>();
  for (int64_t i = 0; i < chosen.numel(); ++i) rows[next[static_cast<size_t>(expert[i])]++] = i;
  return routing;
}

at::Tensor mixture_forward(const ExpertsConfig& config, const MixtureOfExperts& mixture, const at::Tensor& x,
                           Panel panel, MixtureSaved* saved) {
  const auto routing = route(config, mixture, x, panel);
  const auto weights = routing.weights.reshape({-1});
  auto sum = at::zeros(x.sizes(), weights.options());
  if (saved != nullptr) *saved = {x, routing, std::vector<FeedForwardSaved>(mixture.experts.size()), {}};
  for (size_t e = 0; e < mixture.experts.size(); ++e) {
    if (routing.starts[e] == routing.starts[e + 1]) continue;
    const auto& expert = mixture.experts[e];
    const auto rows = rows_of(routing, e, config.per_token);
    const auto places = rows.places.to(x.device()), tokens = rows.tokens.to(x.device());
    auto* keep = saved != nullptr ? &saved->experts[e] : nullptr;
    const auto in = x.index_select(0, tokens);
    const auto y = has_segments(expert.gate_up) || has_segments(expert.down)
                       ? expert_forward(for_rows(expert, rows.tokens), in, expert_panel(panel), keep)
                       : expert_forward(expert, in, expert_panel(panel), keep);
    if (keep != nullptr) {
      keep->out = y;
      keep->gate_up.x.reset();  // rows of x: taken again in backward
    }
    sum.index_add_(0, tokens, wide(y) * weights.index_select(0, places).unsqueeze(1));
  }
  const auto shared = expert_forward(mixture.shared, x, panel, saved != nullptr ? &saved->shared : nullptr);
  return sum.to(x.scalar_type()) + shared;
}

at::Tensor mixture_backward(const ExpertsConfig& config, MixtureOfExperts& mixture, const MixtureSaved& saved,
                            const at::Tensor& dy, bool need_dx) {
  const auto& routing = saved.routing;
  const bool need_router = need_dx || mixture.router.trainable;
  const auto weights = routing.weights.reshape({-1});
  auto d_weights = at::zeros(weights.sizes(), weights.options());  // [T k]
  at::Tensor dx;
  if (need_dx) dx = at::zeros(dy.sizes(), weights.options());
  for (size_t e = 0; e < mixture.experts.size(); ++e) {
    if (routing.starts[e] == routing.starts[e + 1]) continue;
    auto& expert = mixture.experts[e];
    if (!need_router && !trains(expert)) continue;
    const auto rows = rows_of(routing, e, config.per_token);
    const auto places = rows.places.to(dy.device()), tokens = rows.tokens.to(dy.device());
    const auto d_rows = wide(dy.index_select(0, tokens));
    FeedForwardSaved kept = saved.experts[e];
    kept.gate_up.x = saved.x.index_select(0, tokens);
    if (need_router) d_weights.index_copy_(0, places, (d_rows * wide(kept.out)).sum(1));
    if (!need_dx && !trains(expert)) continue;
    const auto d_out = (d_rows * weights.index_select(0, places).unsqueeze(1)).to(dy.scalar_type());
    auto local = for_rows(expert, rows.tokens);
    const auto d_in = expert_backward(local, kept, d_out, need_dx, Panel::kExpert);
    if (need_dx) dx.index_add_(0, tokens, wide(d_in));
  }
  const auto d_shared = expert_backward(mixture.shared, saved.shared, dy, need_dx, Panel::kTraining);
  if (!need_router) return {};

  // w = scale s / S with S the sum of the chosen:  ds = scale (dw - sum(dw s) / S) / S;  sigmoid' = s (1 -
  // s).
  auto d_chosen = d_weights.view({-1, config.per_token}) * config.scale;
  const auto s = routing.scores.gather(1, routing.chosen);
  if (config.normalize) {
    const auto total = s.sum(-1, /*keepdim=*/true) + kLeastSum;
    d_chosen = (d_chosen - (d_chosen * s).sum(-1, /*keepdim=*/true) / total) / total;
  }
  const auto d_logits = at::zeros(routing.scores.sizes(), routing.scores.options())
                            .scatter_(1, routing.chosen, d_chosen * s * (1 - s));
  if (mixture.router.trainable) add_weight_grad(mixture.router.grad, d_logits, wide(saved.x));
  if (!need_dx) return {};
  dx.add_(linear_input_grad(d_logits, wide(mixture.router.value)));
  return dx.add_(wide(d_shared)).to(dy.scalar_type());
}

}  // namespace decant
