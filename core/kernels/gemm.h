// Matrix products over token rows, in panels of one fixed number of rows: bf16 in tiles of 64
// (tile_linear.h), with what low-rank terms add; fp32, and bf16 where the machine cannot multiply it, through
// ATen.
//
// Why panels: oneDNN picks another kernel, and so another summation order, for another number of rows, but
// for one fixed number a row's bits depend neither on its place nor on its neighbours (DESIGN 5,
// Determinism). So a row's result is the same bits whatever else is in the batch: grouped = solo, split =
// unsplit, and generation does not depend on its batch.
//
// Legend: T tokens, N outputs, K inputs, R rank.
#pragma once

#include <ATen/core/Tensor.h>

#include "core/kernels/low_rank.h"

namespace decant {

// kExpert: an expert's own rows in training and prefill, few of them. (Tiles of bf16 have 64 rows for
// training as well.)
enum class Panel : int64_t { kTraining = 256, kExpert = 64, kDecode = 16 };

// y = x w^T (+ bias). x [T, K], w [N, K] (PyTorch's Linear), bias [N] or undefined; all bf16 or all fp32.
// Returns [T, N] in x's dtype. T may be 0. The last panel is padded with zero rows in scratch. `adds` (none
// with plain kernels) do not overlap in what they add to.
at::Tensor linear(const at::Tensor& x, const at::Tensor& w, const at::Tensor& bias,
                  Panel panel = Panel::kTraining, LowRankAdds adds = {});

// dx = dy w. dy [T, N], w [N, K] -> [T, K], in panels.
at::Tensor linear_input_grad(const at::Tensor& dy, const at::Tensor& w, Panel panel = Panel::kTraining,
                             LowRankAdds adds = {});

// grad += factor dy^T x, fp32, summed over fixed slices of rows in fixed order. dy [T, N], x [T, K], grad [N,
// K] fp32.
void add_weight_grad(at::Tensor& grad, const at::Tensor& dy, const at::Tensor& x, double factor = 1);

// grad += column sums of dy, fp32, fixed order. dy [T, N], grad [N] fp32.
void add_bias_grad(at::Tensor& grad, const at::Tensor& dy);

// DECANT_KERNELS=plain in the environment: every kernel runs its plain ATen form (the test oracle, and the
// CUDA path). Tensors off the CPU take the plain form always.
bool use_plain_kernels(const at::Tensor& x);
void set_plain_kernels(bool plain);  // tests: overrides the environment

}  // namespace decant
