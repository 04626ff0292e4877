// The embedding's gradient against autograd and differences in float64, and for repeated tokens and threads.
#include "core/kernels/embedding.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/variable.h>

namespace decant {
namespace {

class EmbeddingGradient : public testing::TestWithParam<at::ScalarType> {};

TEST_P(EmbeddingGradient, IsAutogradsInFloat64) {
  const auto type = GetParam();
  at::manual_seed(1);
  const auto wide = type == at::kDouble ? at::kDouble : at::kFloat;
  for (const int64_t width : {1, 16, 100, 576})
    for (const int64_t count : {1, 2, 33, 4097}) {
      const auto tokens = at::randint(50, {count}, at::kLong);
      const auto dx = at::randn({count, width}).to(type);
      const auto table = at::zeros({50, width}, at::kDouble).set_requires_grad(true);
      const auto want =
          torch::autograd::grad({table.index_select(0, tokens)}, {table}, {dx.to(at::kDouble)})[0];
      auto grad = at::ones({50, width}, wide);
      add_embedding_gradient(grad, tokens, dx);
      const auto error = (grad.to(at::kDouble) - 1 - want).norm() / want.norm();
      EXPECT_LT(error.item<double>(), type == at::kDouble ? 1e-14 : 1e-6) << width << " " << count;
      // Rows that no token names keep their bits.
      const auto named = at::zeros({50}, at::kBool).index_fill(0, tokens, true);
      EXPECT_TRUE(at::equal(grad.index({~named}), at::ones_like(grad).index({~named})));
    }
}

INSTANTIATE_TEST_SUITE_P(Types, EmbeddingGradient, testing::Values(at::kBFloat16, at::kFloat, at::kDouble));

TEST(EmbeddingGradient, IsTheLossDifferenceInFloat64) {
  at::manual_seed(2);
  const auto tokens = at::tensor({3, 0, 3, 3, 5}, at::kLong);
  const auto start = at::randn({6, 4}, at::kDouble), factor = at::randn({5, 4}, at::kDouble);
  const auto loss = [&](const at::Tensor& table) {
    return (at::tanh(table.index_select(0, tokens)) * factor).sum().item<double>();
  };
  const auto rows = start.index_select(0, tokens);
  auto grad = at::zeros({6, 4}, at::kDouble);
  add_embedding_gradient(grad, tokens, factor * (1 - at::tanh(rows).square()));
  for (int64_t i = 0; i < start.numel(); ++i) {
    const double step = 1e-5;
    auto up = start.clone(), down = start.clone();
    up.view(-1)[i] += step;
    down.view(-1)[i] -= step;
    EXPECT_NEAR(grad.view(-1)[i].item<double>(), (loss(up) - loss(down)) / (2 * step), 1e-9);
  }
}

// bf16 sums would stop growing at 256.
TEST(EmbeddingGradient, AThousandTimesTheSameTokenLosesNothing) {
  auto grad = at::zeros({3, 20});
  add_embedding_gradient(grad, at::ones({4097}, at::kLong), at::ones({4097, 20}, at::kBFloat16));
  EXPECT_TRUE(at::equal(grad[1], at::full({20}, 4097.0F)));
  EXPECT_EQ(grad.abs().sum().item<float>(), 20 * 4097.0F);
}

TEST(EmbeddingGradient, ThreadsChangeNoBit) {
  at::manual_seed(3);
  const auto tokens = at::randint(7, {900}, at::kLong);
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    const auto dx = at::randn({900, 2 * 321}).to(type).narrow(1, 5, 321);  // rows of a wider tensor
    std::vector<at::Tensor> grads;
    const int threads = at::get_num_threads();
    for (const int count : {1, 3}) {
      at::set_num_threads(count);
      add_embedding_gradient(grads.emplace_back(at::zeros({7, 321})), tokens, dx);
    }
    at::set_num_threads(threads);
    EXPECT_TRUE(at::equal(grads[0], grads[1]));
    // In the order of the tokens.
    auto want = at::zeros({7, 321});
    for (int64_t t = 0; t < 900; ++t) want[tokens[t].item<int64_t>()] += dx[t].to(at::kFloat);
    EXPECT_TRUE(at::equal(grads[0], want));
  }
}

}  // namespace
}  // namespace decant
