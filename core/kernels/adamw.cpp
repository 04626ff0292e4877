#include "core/kernels/adamw.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "core/kernels/block_codes.h"
#include "core/kernels/gemm.h"
#include "core/kernels/plain.h"
#include "core/kernels/tensor_rows.h"
#include "core/random.h"

namespace decant {
namespace {

constexpr int64_t kSlice = 1 << 16;  // elements that one partial sum covers
constexpr int64_t kPiece = 1 << 14;  // elements that a thread takes at once: whole draws, whole coded blocks
constexpr int64_t kDraws = 1024;     // elements whose noise is drawn at one time
static_assert(kPiece % kDraws == 0 && kDraws % kCodeBlock == 0);

// Elements [begin, begin + count) of tensor number `tensor`.
struct Piece {
  size_t tensor;
  int64_t begin, count;
};

template <class Tensors, class Size>
std::vector<Piece> cut(const Tensors& tensors, int64_t size, const Size& size_of) {
  std::vector<Piece> pieces;
  for (size_t i = 0; i < tensors.size(); ++i)
    for (int64_t begin = 0, n = size_of(tensors[i]); begin < n; begin += size)
      pieces.push_back({i, begin, std::min(size, n - begin)});
  return pieces;
}

AdamwNumbers numbers(const AdamwStep& step) {
  const auto n = static_cast<double>(step.step);
  const double c1 = 1 - std::pow(step.beta1, n), c2 = 1 - std::pow(step.beta2, n);
  const auto f = [](double x) { return static_cast<float>(x); };
  return {f(step.gradient_scale),
          f(1 - step.learning_rate * step.weight_decay),
          f(step.beta1),
          f(step.beta2),
          f(1 - step.beta1),
          f(1 - step.beta2),
          f(step.learning_rate / c1),
          f(1 / std::sqrt(c2)),
          f(step.epsilon)};
}

void check_tensor(const AdamwTensor& one) {
  const int64_t n = one.master.numel();
  for (const auto* x : {&one.master, &one.grad, &one.moments.m, &one.moments.v})
    TORCH_INTERNAL_ASSERT(x->is_contiguous() && x->numel() == n,
                          "AdamW needs contiguous tensors of one shape");
}

CodedMoments coded(const Moments& moments, int64_t first) {
  const auto block = first / kCodeBlock;
  return {moments.m.data_ptr<uint8_t>() + first,
          moments.v.data_ptr<uint8_t>() + first,
          moments.m_absmax.data_ptr<float>() + block,
          moments.v_absmax.data_ptr<float>() + block,
          &code_table(CodeMap::kSigned),
          &code_table(CodeMap::kUnsigned)};
}

bool receives_rounded(const AdamwTensor& one) {
  return one.compute.defined() && one.compute.scalar_type() == at::kBFloat16 && one.compute.is_contiguous();
}

void update_rounded(const AdamwTensor& one, const Piece& piece) {
  const auto k = numbers(one.step);
  const auto first = piece.begin;
  auto* w = one.master.data_ptr<float>() + first;
  const auto* grad = one.grad.const_data_ptr<float>() + first;
  auto* compute = receives_rounded(one) ? words(one.compute) + first : nullptr;
  if (one.moments.coded())
    loops()->adamw_coded(w, coded(one.moments, first), grad, compute, piece.count, k);
  else
    loops()->adamw(w, one.moments.m.data_ptr<float>() + first, one.moments.v.data_ptr<float>() + first, grad,
                   compute, piece.count, k);
}

void update_stochastic(const AdamwTensor& one, const Piece& piece) {
  const auto k = numbers(one.step);
  uint16_t noise[kDraws];
  for (auto first = piece.begin, end = piece.begin + piece.count; first < end; first += kDraws) {
    const auto count = std::min(kDraws, end - first);
    // One draw serves eight elements.
    loops()->draw_words(one.seed, one.stream, static_cast<uint64_t>(first / 8), (count + 7) / 8, noise);
    auto* w = words(one.master) + first;
    const auto* grad = one.grad.const_data_ptr<float>() + first;
    if (one.moments.coded())
      loops()->adamw_stochastic_coded(w, coded(one.moments, first), grad, noise, count, k);
    else
      loops()->adamw_stochastic(w, one.moments.m.data_ptr<float>() + first,
                                one.moments.v.data_ptr<float>() + first, grad, noise, count, k);
  }
}

}  // namespace

Moments zero_moments(at::IntArrayRef shape, bool coded) {
  if (!coded) return {at::zeros(shape, at::kFloat), at::zeros(shape, at::kFloat), {}, {}};
  const auto m = zero_codes(shape, CodeMap::kSigned), v = zero_codes(shape, CodeMap::kUnsigned);
  return {m.codes, v.codes, m.absmax, v.absmax};
}

void adamw(const std::vector<AdamwTensor>& tensors) {
  for (const auto& one : tensors) {
    check_tensor(one);
    if (use_plain_kernels(one.master)) plain::adamw(one);
  }
  const auto pieces = cut(tensors, kPiece, [](const AdamwTensor& one) {
    return use_plain_kernels(one.master) ? 0 : one.master.numel();
  });
  at::parallel_for(0, static_cast<int64_t>(pieces.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Piece& piece = pieces[static_cast<size_t>(i)];
      const AdamwTensor& one = tensors[piece.tensor];
      if (one.master.scalar_type() == at::kBFloat16)
        update_stochastic(one, piece);
      else
        update_rounded(one, piece);
    }
  });
  for (const auto& one : tensors)
    if (one.compute.defined() && one.master.scalar_type() != at::kBFloat16 && !receives_rounded(one) &&
        one.compute.data_ptr() != one.master.data_ptr())
      at::Tensor(one.compute).copy_(one.master);
}

double sum_of_squares(const std::vector<at::Tensor>& tensors) {
  const auto by_plain = [](const at::Tensor& x) {
    return use_plain_kernels(x) || x.scalar_type() != at::kFloat || !x.is_contiguous();
  };
  const auto pieces = cut(tensors, kSlice, [&](const at::Tensor& x) { return by_plain(x) ? 0 : x.numel(); });
  std::vector<double> of_piece(pieces.size());
  at::parallel_for(0, static_cast<int64_t>(pieces.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Piece& piece = pieces[static_cast<size_t>(i)];
      of_piece[static_cast<size_t>(i)] =
          loops()->sum_of_squares(tensors[piece.tensor].const_data_ptr<float>() + piece.begin, piece.count);
    }
  });
  std::vector<double> of_tensor(tensors.size());
  for (size_t i = 0; i < pieces.size(); ++i) of_tensor[pieces[i].tensor] += of_piece[i];
  double total = 0;
  for (size_t i = 0; i < tensors.size(); ++i)
    total += by_plain(tensors[i]) ? plain::sum_of_squares(tensors[i]) : of_tensor[i];
  return total;
}

}  // namespace decant
