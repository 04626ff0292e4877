// Projections and the head: the fast forms against autograd over the plain ones, grouped = solo bit for bit.
#include "core/kernels/projection.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/variable.h>

#include "core/kernels/head_cross_entropy.h"
#include "core/kernels/plain.h"
#include "tests/support/expect_error.h"

namespace decant {
namespace {

using Segment = std::optional<std::pair<int64_t, int64_t>>;

double relative(const at::Tensor& got, const at::Tensor& want) {
  const auto a = got.to(at::kDouble), b = want.to(at::kDouble);
  return ((a - b).norm() / (b.norm() + 1e-30)).item<double>();
}
double tolerance(at::ScalarType type) {
  return type == at::kDouble ? 1e-10 : type == at::kFloat ? 1e-5 : 1e-2;
}

Parameter parameter(const at::Tensor& value, bool trainable) {
  const auto wide = value.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  return {"p", value, trainable ? at::zeros(value.sizes(), value.options().dtype(wide)) : at::Tensor(),
          trainable};
}

Projection make(at::ScalarType type, const std::vector<int64_t>& outputs, int64_t inputs, bool bias,
                bool trainable, const std::vector<Segment>& segments, bool dora = false) {
  std::vector<Linear> linears;
  for (const auto n : outputs) {
    Linear one{"p", parameter((at::randn({n, inputs}) * 0.1).to(type), trainable), {}, {}};
    if (bias) one.bias = parameter(at::randn({n}).to(type), trainable);
    for (const auto& segment : segments)
      one.terms.push_back({parameter((at::randn({5, inputs}) * 0.1).to(type), true),
                           parameter(at::randn({n, 5}).to(type), true), 2.0, segment});
    const auto wide = type == at::kDouble ? at::kDouble : at::kFloat;
    if (dora)
      for (auto& term : one.terms) term.magnitude = parameter((at::rand({n}) + 0.5).to(wide), true);
    linears.push_back(one);
  }
  return make_projection(linears);
}

class Projections : public testing::TestWithParam<at::ScalarType> {};

TEST_P(Projections, BackwardIsAutogradOfThePlainForm) {
  const auto type = GetParam();
  at::manual_seed(1);
  const int64_t rows = 300;
  for (const auto& segments :
       std::vector<std::vector<Segment>>{{}, {std::nullopt}, {{{0, 100}}, {{100, 300}}}}) {
    for (const auto& [full, dora] : {std::pair{false, false}, {true, false}, {true, true}, {false, true}}) {
      auto p = make(type, {72, 24, 24}, 64, full, full, segments, dora);
      const auto x = at::randn({rows, 64}).to(type), dy = at::randn({rows, 120}).to(type);
      // The same in float64 with leaves.
      auto wide = p;
      std::vector<at::Tensor> leaves;
      std::vector<const Parameter*> of;
      const auto lift = [&](Parameter& value, const Parameter& from) {
        if (!from.defined()) return;
        value.value = from.value.to(at::kDouble).clone().set_requires_grad(from.trainable);
        if (!from.trainable) return;
        leaves.push_back(value.value);
        of.push_back(&from);
      };
      for (size_t i = 0; i < 3; ++i) {
        lift(wide.linears[i].weight, p.linears[i].weight);
        lift(wide.linears[i].bias, p.linears[i].bias);
        for (size_t t = 0; t < segments.size(); ++t) {
          lift(wide.linears[i].terms[t].lora_a, p.linears[i].terms[t].lora_a);
          lift(wide.linears[i].terms[t].lora_b, p.linears[i].terms[t].lora_b);
          lift(wide.linears[i].terms[t].magnitude, p.linears[i].terms[t].magnitude);
        }
      }
      const auto wide_x = x.to(at::kDouble).clone().set_requires_grad(true);
      leaves.push_back(wide_x);
      const auto want = plain::project(wide_x, wide, nullptr);
      const auto expected = torch::autograd::grad({want}, leaves, {dy.to(at::kDouble)});

      ProjectionSaved saved;
      EXPECT_LT(relative(project(x, p, &saved), want), tolerance(type));
      const auto dx = project_backward(dy, p, saved, true);
      EXPECT_LT(relative(dx, expected.back()), tolerance(type));
      for (size_t i = 0; i < of.size(); ++i)
        EXPECT_LT(relative(of[i]->grad, expected[i]), tolerance(type)) << i;
      EXPECT_FALSE(project_backward(dy, p, saved, false).defined());
    }
  }
}

TEST_P(Projections, GroupedIsSolo) {
  const auto type = GetParam();
  if (type == at::kDouble) GTEST_SKIP() << "the plain form promises no bits";
  at::manual_seed(2);
  for (const bool dora : {false, true}) {
    auto both = make(type, {72, 24}, 64, false, false, {{{0, 100}}, {{100, 300}}}, dora);
    auto solo = both;
    const auto zero = [](Parameter& p) { p.grad = at::zeros_like(p.grad); };
    for (auto& one : solo.linears) {
      one.terms.erase(one.terms.begin());
      one.terms[0].segment.reset();
      zero(one.terms[0].lora_a);
      zero(one.terms[0].lora_b);
      if (dora) zero(one.terms[0].magnitude);
    }
    const auto x = at::randn({300, 64}).to(type), dy = at::randn({300, 96}).to(type);
    ProjectionSaved saved, own;
    const auto y = project(x, both, &saved);
    EXPECT_TRUE(at::equal(project(x.slice(0, 100), solo, &own), y.slice(0, 100)));
    const auto dx = project_backward(dy, both, saved, true);
    EXPECT_TRUE(at::equal(project_backward(dy.slice(0, 100), solo, own, true), dx.slice(0, 100)));
    for (size_t i = 0; i < 2; ++i) {
      EXPECT_TRUE(at::equal(solo.linears[i].terms[0].lora_a.grad, both.linears[i].terms[1].lora_a.grad));
      EXPECT_TRUE(at::equal(solo.linears[i].terms[0].lora_b.grad, both.linears[i].terms[1].lora_b.grad));
      if (dora) {
        EXPECT_TRUE(
            at::equal(solo.linears[i].terms[0].magnitude.grad, both.linears[i].terms[1].magnitude.grad));
      }
    }
  }
}

TEST_P(Projections, HeadCrossEntropyIsAutogradOfThePlainForm) {
  const auto type = GetParam();
  at::manual_seed(3);
  const int64_t rows = 600, width = 64, vocabulary = 320;
  const auto hidden = at::randn({rows, width}).to(type);
  auto head = parameter(at::randn({vocabulary, width}).to(type), true);
  const auto targets = at::randint(vocabulary, {rows}, at::kLong);
  auto weights = at::rand({rows}) * (at::rand({rows}) > 0.3);
  const auto x = hidden.to(at::kDouble).clone().set_requires_grad(true),
             w = head.value.to(at::kDouble).clone().set_requires_grad(true);
  const auto sum = (plain::cross_entropy(plain::linear(x, w, {}), targets) * weights).sum();
  const auto expected = torch::autograd::grad({sum * 0.01}, {x, w});
  const auto loss = head_cross_entropy(hidden, head, targets, weights, 0.01, true);
  EXPECT_NEAR(loss.sum / sum.item<double>(), 1, type == at::kBFloat16 ? 1e-3 : 1e-6);
  EXPECT_NEAR(loss.weight, weights.sum().item<double>(), 1e-3);
  EXPECT_LT(relative(loss.d_hidden, expected[0]), tolerance(type) * 1.5);
  EXPECT_LT(relative(head.grad, expected[1]), tolerance(type) * 1.5);
  EXPECT_EQ(head_cross_entropy(hidden, head, targets, weights, 0.01, false).sum, loss.sum);

  const auto log_p = head_log_probabilities(hidden, head.value, targets, weights);
  EXPECT_NEAR(-(log_p.to(at::kDouble) * weights).sum().item<double>() / loss.sum, 1, 1e-6);
  EXPECT_TRUE(at::equal(log_p == 0, weights == 0));
}

INSTANTIATE_TEST_SUITE_P(Types, Projections, testing::Values(at::kBFloat16, at::kFloat, at::kDouble));

TEST(HeadCrossEntropy, ATargetOutsideTheVocabularyIsAnError) {
  auto head = parameter(at::randn({320, 64}), false);
  EXPECT_ERROR(
      head_cross_entropy(at::randn({2, 64}), head, at::tensor({1, 320}, at::kLong), at::ones({2}), 1, false),
      "target 320 of row 1 is outside the vocabulary of 320");
  // With capped logits the loss runs on the plain kernels.
  EXPECT_ERROR(head_cross_entropy(at::randn({2, 64}), head, at::tensor({-1, 3}, at::kLong), at::ones({2}), 1,
                                  false, 30),
               "target -1 of row 0 is outside the vocabulary of 320");
}

TEST(HeadCrossEntropy, NothingWeightedCostsNothing) {
  auto head = parameter(at::randn({320, 64}), true);
  const auto loss =
      head_cross_entropy(at::randn({3, 64}), head, at::zeros({3}, at::kLong), at::zeros({3}), 1, true);
  EXPECT_EQ(loss.sum, 0);
  EXPECT_TRUE(at::equal(loss.d_hidden, at::zeros({3, 64})));
}

}  // namespace
}  // namespace decant
