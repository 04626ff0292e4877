// The feed-forward half of a block as a mixture of experts with shared experts (DeepSeek-V3, arXiv
// 2412.19437), as transformers' DeepseekV3MoE:
//
//   s = sigmoid(x W_gate^T);  chosen = the k best of s + correction within the best groups
//   weight = s / (sum of the chosen s + 1e-20) * routed_scaling_factor
//   y = sum over chosen e of weight_e expert_e(x)  +  shared_experts(x);   expert = down(silu(gate x) * up x)
//
// Routing is fp32. A group's worth is the sum of its best two experts. Tokens are sorted by expert and each
// expert multiplies its own in panels of one fixed size, so a token's result does not depend on who else
// chose the expert; the sum over a token's experts runs in fp32 by rising expert. Gradients reach x through
// the weights as well as through the experts; the choice itself has none, nor has the correction.
//
// Legend: T tokens, D width, E experts, k experts a token, n rows of one expert.
#pragma once

#include <cstdint>
#include <vector>

#include "core/kernels/parameter.h"
#include "core/kernels/projection.h"
#include "core/model/model_config.h"

namespace decant {

struct FeedForward {
  Projection gate_up, down;  // {gate,up}_proj; down_proj
};

struct MixtureOfExperts {
  Parameter router;                  // [E, D] "mlp.gate.weight"
  Parameter correction;              // fp32 [E] "mlp.gate.e_score_correction_bias"; never trained
  std::vector<FeedForward> experts;  // mlp.experts.{e}
  FeedForward shared;                // mlp.shared_experts
};

struct FeedForwardSaved {
  ProjectionSaved gate_up, down;
  at::Tensor gate_up_out, out;  // [n, 2F], [n, D]
};

// Who computes what.
struct Routing {
  at::Tensor scores;            // wide [T, E]: sigmoid
  at::Tensor chosen;            // int64 [T, k]
  at::Tensor weights;           // wide [T, k]
  at::Tensor rows;              // int64 [T k]: places in the flat [T, k], by expert and then by token
  std::vector<int64_t> starts;  // [E + 1]: each expert's part of `rows`
};

struct MixtureSaved {
  at::Tensor x;  // [T, D]
  Routing routing;
  std::vector<FeedForwardSaved> experts;
  FeedForwardSaved shared;
};

Routing route(const ExpertsConfig& config, const MixtureOfExperts& mixture, const at::Tensor& x, Panel panel);

// x [T, D] -> y [T, D]. `saved` may be null.
at::Tensor mixture_forward(const ExpertsConfig& config, const MixtureOfExperts& mixture, const at::Tensor& x,
                           Panel panel, MixtureSaved* saved);

// dy [T, D]. Adds to the gradients of what trains; returns dx [T, D] when `need_dx`, else undefined.
at::Tensor mixture_backward(const ExpertsConfig& config, MixtureOfExperts& mixture, const MixtureSaved& saved,
                            const at::Tensor& dy, bool need_dx);

bool trains(const MixtureOfExperts& mixture);

}  // namespace decant
