// Norms, rotations and gates: the fast loops against the plain forms, the written backward against
// autograd over them.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/variable.h>

#include "core/kernels/plain.h"
#include "core/kernels/rms_norm.h"
#include "core/kernels/rope.h"
#include "core/kernels/swiglu.h"

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
std::vector<at::Tensor> gradients(const at::Tensor& y, const at::Tensor& dy,
                                  const std::vector<at::Tensor>& of) {
  return torch::autograd::grad({y}, of, {dy.to(at::kDouble)});
}

class Pointwise : public testing::TestWithParam<at::ScalarType> {};

TEST_P(Pointwise, RmsNorm) {
  const auto type = GetParam();
  at::manual_seed(1);
  for (const int64_t width : {16, 24, 64, 100, 576}) {
    for (const int64_t rows : {1, 5, 300}) {
      const auto x = at::randn({rows, width}).to(type), weight = at::randn({width}).to(type),
                 dy = at::randn({rows, width}).to(type);
      const auto wide_x = leaf(x), wide_weight = leaf(weight);
      const auto want = plain::rms_norm(wide_x, wide_weight, 1e-5, nullptr);
      RmsNormSaved saved;
      EXPECT_LT(relative(rms_norm(x, weight, 1e-5, &saved), want), tolerance(type));
      auto grad = at::zeros({width}, type == at::kDouble ? at::kDouble : at::kFloat);
      const auto dx = rms_norm_backward(dy, weight, saved, grad);
      const auto expected = gradients(want, dy, {wide_x, wide_weight});
      EXPECT_LT(relative(dx, expected[0]), tolerance(type));
      EXPECT_LT(relative(grad, expected[1]), tolerance(type));

      const auto delta = at::randn({rows, width}).to(type);
      at::Tensor sum;
      const auto y = add_rms_norm(x, delta, weight, 1e-5, &sum, nullptr);
      EXPECT_TRUE(at::equal(sum, x + delta));
      EXPECT_TRUE(at::equal(y, rms_norm(sum, weight, 1e-5, nullptr)));
    }
  }
}

TEST_P(Pointwise, Rope) {
  const auto type = GetParam();
  at::manual_seed(2);
  for (const int64_t width : {16, 24, 64, 128}) {
    const auto angles = at::rand({50, width / 2}) * 6;
    const RopeTable table{at::cos(angles), at::sin(angles)};
    const auto positions = at::randint(50, {33}, at::kLong);
    const auto fused = at::randn({33, 5 * width}).to(type);
    auto x = fused.clone().view({33, 5, width}).narrow(1, 1, 3);  // a slice of a fused row
    const auto before = x.clone();
    rope_(x, positions, table);
    const auto wide = leaf(before);
    const auto want = plain::rope(wide, positions, table, 1);
    EXPECT_LT(relative(x, want), tolerance(type));
    auto dx = at::randn({33, 3, width}).to(type);
    const auto expected = gradients(want, dx, {wide});
    rope_backward_(dx, positions, table);
    EXPECT_LT(relative(dx, expected[0]), tolerance(type));
  }
}

TEST_P(Pointwise, Swiglu) {
  const auto type = GetParam();
  at::manual_seed(3);
  for (const int64_t width : {8, 33, 1536}) {
    const auto x = (at::randn({37, 2 * width}) * 4).to(type), dh = at::randn({37, width}).to(type);
    const auto wide = leaf(x);
    const auto want = plain::swiglu(wide);
    EXPECT_LT(relative(swiglu(x), want), tolerance(type));
    EXPECT_LT(relative(swiglu_backward(dh, x), gradients(want, dh, {wide})[0]), tolerance(type));
  }
}

INSTANTIATE_TEST_SUITE_P(Types, Pointwise, testing::Values(at::kBFloat16, at::kFloat, at::kDouble));

TEST(Swiglu, SurvivesTheEndsOfFp32) {
  const auto x = at::tensor({-200.0F, 200.0F, 0.0F, 1.0F, 1.0F, 1.0F}).view({1, 6});
  const auto h = swiglu(x);
  EXPECT_NEAR(h[0][0].item<float>(), 0, 1e-30);
  EXPECT_EQ(h[0][1].item<float>(), 200);
  EXPECT_EQ(h[0][2].item<float>(), 0);
}

}  // namespace
}  // namespace decant
