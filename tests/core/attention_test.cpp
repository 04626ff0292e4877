// Attention: fast against plain, the written backward against autograd over the plain form, and packed =
// separate bit for bit.
#include "core/kernels/attention.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/variable.h>

#include <cmath>

#include "core/kernels/plain.h"

namespace decant {
namespace {

double relative(const at::Tensor& got, const at::Tensor& want) {
  const auto a = got.to(at::kDouble), b = want.to(at::kDouble);
  return ((a - b).norm() / (b.norm() + 1e-30)).item<double>();
}
double tolerance(at::ScalarType type) {
  return type == at::kDouble ? 1e-10 : type == at::kFloat ? 1e-5 : 1e-2;
}
at::Tensor leaf(const at::Tensor& x) { return x.detach().to(at::kDouble).clone().set_requires_grad(true); }

at::Tensor starts_of(const std::vector<int64_t>& lengths) {
  std::vector<int32_t> starts = {0};
  for (const auto n : lengths) starts.push_back(starts.back() + static_cast<int32_t>(n));
  return at::tensor(starts, at::kInt);
}

struct Shape {
  int64_t heads, groups, width, window;
  std::vector<int64_t> documents;
};
const std::vector<Shape> kShapes = {{9, 3, 64, 0, {1, 130, 64, 200}},
                                    {4, 1, 16, 0, {65, 1, 1, 63}},
                                    {2, 2, 24, 0, {100}},
                                    {6, 2, 32, 0, {300}},
                                    {2, 1, 128, 0, {128, 33}},
                                    {4, 2, 32, 50, {200, 30, 129}},
                                    {2, 2, 16, 1, {70}},
                                    {2, 1, 64, 64, {193}}};

class Attention : public testing::TestWithParam<at::ScalarType> {};

TEST_P(Attention, ForwardAndBackward) {
  const auto type = GetParam();
  at::manual_seed(1);
  for (const auto& s : kShapes) {
    const auto starts = starts_of(s.documents);
    const int64_t tokens = starts[-1].item<int>();
    // Slices of one fused row, as a model passes them.
    const auto fused = at::randn({tokens, s.heads + 2 * s.groups, s.width}).to(type);
    const auto q = fused.narrow(1, 0, s.heads), k = fused.narrow(1, s.heads, s.groups),
               v = fused.narrow(1, s.heads + s.groups, s.groups);
    const auto dout = at::randn({tokens, s.heads, s.width}).to(type);
    const double scale = 1 / std::sqrt(static_cast<double>(s.width));
    const auto wide_q = leaf(q), wide_k = leaf(k), wide_v = leaf(v);
    AttentionSaved plain_saved, saved;
    const auto want = plain::attention(wide_q, wide_k, wide_v, starts, scale, s.window, &plain_saved);
    const auto out = attention(q, k, v, starts, scale, s.window, &saved);
    EXPECT_LT(relative(out, want), tolerance(type)) << s.heads << " x " << s.width << " window " << s.window;
    EXPECT_LT(relative(saved.log_sum, plain_saved.log_sum), 1e-3);
    EXPECT_TRUE(at::equal(out, attention(q, k, v, starts, scale, s.window, nullptr)));

    const auto expected = torch::autograd::grad({want}, {wide_q, wide_k, wide_v}, {dout.to(at::kDouble)});
    const auto gradients = at::full_like(fused, 7);
    auto dq = gradients.narrow(1, 0, s.heads), dk = gradients.narrow(1, s.heads, s.groups),
         dv = gradients.narrow(1, s.heads + s.groups, s.groups);
    attention_backward(dout, saved, starts, scale, s.window, dq, dk, dv);
    EXPECT_LT(relative(dv, expected[2]), tolerance(type))
        << s.heads << " x " << s.width << " window " << s.window;
    if (s.window == 1) continue;  // one key: the scores have no gradient
    EXPECT_LT(relative(dq, expected[0]), 2 * tolerance(type))
        << s.heads << " x " << s.width << " window " << s.window;
    EXPECT_LT(relative(dk, expected[1]), 2 * tolerance(type))
        << s.heads << " x " << s.width << " window " << s.window;
  }
}

TEST_P(Attention, ADocumentDoesNotDependOnItsNeighbours) {
  const auto type = GetParam();
  if (type == at::kDouble) GTEST_SKIP() << "the plain form promises no bits";
  at::manual_seed(2);
  const std::vector<int64_t> documents = {70, 1, 200, 64};
  const auto starts = starts_of(documents);
  const int64_t tokens = starts[-1].item<int>(), heads = 9, groups = 3, width = 64;
  const auto q = at::randn({tokens, heads, width}).to(type), k = at::randn({tokens, groups, width}).to(type),
             v = at::randn({tokens, groups, width}).to(type),
             dout = at::randn({tokens, heads, width}).to(type);
  AttentionSaved saved;
  const auto out = attention(q, k, v, starts, 0.125, 0, &saved);
  auto dq = at::empty_like(q), dk = at::empty_like(k), dv = at::empty_like(v);
  attention_backward(dout, saved, starts, 0.125, 0, dq, dk, dv);
  int64_t row = 0;
  for (const auto n : documents) {
    const auto part = [&](const at::Tensor& x) { return x.narrow(0, row, n); };
    AttentionSaved own;
    EXPECT_TRUE(at::equal(attention(part(q), part(k), part(v), starts_of({n}), 0.125, 0, &own), part(out)));
    auto own_q = at::empty({n, heads, width}, q.options()),
         own_k = at::empty({n, groups, width}, q.options()),
         own_v = at::empty({n, groups, width}, q.options());
    attention_backward(part(dout), own, starts_of({n}), 0.125, 0, own_q, own_k, own_v);
    EXPECT_TRUE(at::equal(own_q, part(dq)) && at::equal(own_k, part(dk)) && at::equal(own_v, part(dv)));
    row += n;
  }
}

TEST_P(Attention, CachedSequencesStandAlone) {
  const auto type = GetParam();
  at::manual_seed(3);
  const int64_t heads = 6, groups = 2, width = 32, blocks = 20;
  const auto cache_k = at::randn({blocks, kCacheBlockTokens, groups, width}).to(type),
             cache_v = at::randn({blocks, kCacheBlockTokens, groups, width}).to(type);
  const auto table = at::tensor({3, 7, 1, 12, 0, 0, 19, 4, 8, 5, 2, 0, 6, 0, 0}, at::kInt)
                         .view({3, 5})
                         .narrow(1, 0, 5)
                         .contiguous();
  for (const auto& queries : std::vector<std::vector<int64_t>>{{1, 1, 1}, {130, 5, 1}, {64, 200, 9}}) {
    for (const int64_t window : {0, 40}) {
      const auto starts = starts_of(queries);
      const auto lengths = at::tensor({200, 257, 9}, at::kInt);
      const auto q = at::randn({starts[-1].item<int>(), heads, width}).to(type);
      const auto out = attention_cached(q, cache_k, cache_v, starts, lengths, table, 0.2, window);
      const auto want = plain::attention_cached(q.to(at::kDouble), cache_k.to(at::kDouble),
                                                cache_v.to(at::kDouble), starts, lengths, table, 0.2, window);
      EXPECT_LT(relative(out, want), tolerance(type));
      for (int64_t n = 0; n < 3; ++n) {
        const auto row = starts[n].item<int>(), count = static_cast<int>(queries[static_cast<size_t>(n)]);
        const auto own = attention_cached(q.narrow(0, row, count), cache_k, cache_v, starts_of({count}),
                                          lengths.narrow(0, n, 1), table.narrow(0, n, 1), 0.2, window);
        EXPECT_TRUE(at::equal(own, out.narrow(0, row, count))) << n;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, Attention, testing::Values(at::kBFloat16, at::kFloat, at::kDouble));

}  // namespace
}  // namespace decant
