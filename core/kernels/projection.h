// A projection is the group of linears that read one input (q/k/v; o; gate/up; down), with the low-rank terms
// that hang on them. Adapters are data: LoRA, rsLoRA, DoRA and many tenants are the same call with other
// terms.
//
//   y_i = x W_i^T + b_i + sum over terms t of linear i:  scale_t (x A_t^T) B_t^T       (rows of segment_t
//   only)
//
// Source of the hand-written backward: references/lora 1 and 4 (as Unsloth's fast_lora): with S = x A^T,
//   dS = scale dy B;  dB += scale dy^T S;  dA += dS^T x;  dx = dy W + dS A.   Neither dW (frozen) nor B A is
//   ever formed.
//
// DoRA (arXiv 2402.09353; peft's dora.py, whose norm is a constant in backward too): with a magnitude m,
//   z = x W^T + scale S B^T;  y = g z + b,  g = m / n,  n = row norms of W + scale B A;
//   dm = sum over rows of dy z / n;  the rest as above with g dy in dy's place.
// A term with a magnitude is the only one of its rows.
//
// With dropout (dropout.h) a term reads x with its mask's elements at 0, and its scale grows by 1 / (1 - p).
// It then has a skinny product of its own; other terms share theirs as before.
//
// Legend: T tokens, K inputs, N outputs of one linear, R rank.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/kernels/dropout.h"
#include "core/kernels/gemm.h"
#include "core/kernels/parameter.h"
#include "core/kernels/quantized_weight.h"

namespace decant {

// One low-rank term of one linear. lora_a.value [R, K], lora_b.value [N, R] in the compute dtype.
struct LowRankTerm {
  Parameter lora_a, lora_b;
  double scale = 1;                                    // alpha / R, or alpha / sqrt(R) for rsLoRA
  std::optional<std::pair<int64_t, int64_t>> segment;  // rows [begin, end) of the batch; all rows when absent
  Parameter magnitude = {};                            // [N] fp32 (DoRA), or undefined
  at::Tensor gain = {};  // [N] fp32: m / n, worked out once by fix_gain(); undefined: at every forward
  Dropout dropout = {};  // not beside a magnitude

  // Whether a product with `rows` rows reads the term: a free place (no factors) and an empty segment do not.
  bool takes_part(int64_t rows) const {
    return lora_a.defined() && (segment ? segment->first < segment->second : rows > 0);
  }
};

struct Linear {
  std::string name;  // "model.layers.0.self_attn.q_proj"
  Parameter weight;  // [N, K]; a row slice of the projection's fused weight; without a value when quantized
  Parameter bias;    // [N] or undefined
  std::vector<LowRankTerm> terms;
  QuantizedWeight quantized;  // in the weight's place, frozen; undefined when the weight has its value

  int64_t outputs() const { return quantized.defined() ? quantized.outputs : weight.value.size(0); }
  int64_t inputs() const { return quantized.defined() ? quantized.inputs : weight.value.size(1); }
  at::Tensor weight_values(at::ScalarType dtype) const;  // [N, K], dequantised when it must be
};

// Replaces the weight's value by its quantization (not kNone). Error when the weight trains.
void quantize_linear(Linear& linear, Quantization kind);

struct Projection {
  std::vector<Linear> linears;
  at::Tensor weight;  // fused [sum N, K]: every linear's weight.value is a view of its rows; undefined when
                      // quantized
  at::Tensor bias;    // fused [sum N], or undefined
  int64_t outputs() const;
  int64_t inputs() const;
  bool quantized() const { return linears.at(0).quantized.defined(); }
};

// Concatenates the linears' weights (and biases: all or none) into the fused tensors and makes their values
// views of them. Quantized weights (all or none) stay the linears' own.
Projection make_projection(std::vector<Linear> linears);

struct ProjectionSaved {
  at::Tensor x;               // [T, K]
  std::vector<at::Tensor> s;  // per term in order of linears and terms: x A^T [rows, R]
  struct Scaled {
    at::Tensor z, gain, norm;  // [rows, N]; [N], [N] fp32
  };
  std::vector<Scaled> scaled;          // per term as s, where it has a magnitude; empty when none has
  std::vector<at::Tensor> masks = {};  // per term as s: what dropout_mask() drew; empty when no term drops
};

// Row norms of W + scale B A, fp32 [N] (float64 where the weight is).
at::Tensor dora_norm(const Linear& linear, const LowRankTerm& term);
// For a term whose factors and magnitude stay as they are.
void fix_gain(const Linear& linear, LowRankTerm& term);

// x [T, K] -> [T, sum N]. Terms with R of all linears that cover all rows may share one skinny product.
// `saved` may be null. `training`: what the rows are of the optimizer step; empty: nothing is dropped.
at::Tensor project(const at::Tensor& x, const Projection& projection, ProjectionSaved* saved,
                   Panel panel = Panel::kTraining, std::span<const TrainingRows> training = {});

// dy [T, sum N]. Adds to the gradients of trainable weights, biases and terms. Returns dx [T, K] when
// `need_dx`, else undefined.
at::Tensor project_backward(const at::Tensor& dy, Projection& projection, const ProjectionSaved& saved,
                            bool need_dx, Panel panel = Panel::kTraining);

// The terms' masks for `rows` rows, as ProjectionSaved::masks.
std::vector<at::Tensor> dropout_masks(const Projection& projection, int64_t rows,
                                      std::span<const TrainingRows> training);

// Whether a weight, bias or term is trainable.
bool trains(const Projection& projection);

}  // namespace decant
