// Every kernel's written backward against differences of its forward, in float64 and element by element. (The
// fast loops' backward against autograd of the same forms: pointwise_test, attention_test, projection_test.)
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "core/kernels/attention.h"
#include "core/kernels/capped_attention.h"
#include "core/kernels/geglu.h"
#include "core/kernels/head_cross_entropy.h"
#include "core/kernels/offset_norm.h"
#include "core/kernels/projection.h"
#include "core/kernels/rms_norm.h"
#include "core/kernels/rope.h"
#include "core/kernels/swiglu.h"

namespace decant {
namespace {

at::Tensor random(at::IntArrayRef shape) { return at::randn(shape, at::kDouble); }

// Changes each element of `x` in place and expects `gradient` to be the slope of `loss`.
void expect_slopes(const at::Tensor& x, const at::Tensor& gradient, const std::function<double()>& loss,
                   const std::string& what) {
  constexpr double kStep = 1e-5;
  ASSERT_EQ(x.sizes(), gradient.sizes()) << what;
  ASSERT_EQ(gradient.scalar_type(), at::kDouble) << what;
  ASSERT_GT(gradient.abs().max().item<double>(), 0) << what;
  auto flat = x.view(-1);
  const auto written = gradient.contiguous().view(-1);
  const double size = gradient.abs().max().item<double>();
  for (int64_t i = 0; i < flat.numel(); ++i) {
    const double value = flat[i].item<double>();
    flat[i].fill_(value + kStep);
    const double above = loss();
    flat[i].fill_(value - kStep);
    const double below = loss();
    flat[i].fill_(value);
    ASSERT_NEAR(written[i].item<double>(), (above - below) / (2 * kStep), 1e-8 * (1 + size))
        << what << " " << i;
  }
}

double weighted_sum(const at::Tensor& y, const at::Tensor& dy) { return (y * dy).sum().item<double>(); }

at::Tensor starts_of(std::initializer_list<int32_t> starts) {
  return at::tensor(std::vector<int32_t>(starts), at::kInt);
}

TEST(NumericGradients, Norms) {
  at::manual_seed(1);
  for (const int64_t rows : {1, 4}) {
    const auto x = random({rows, 7}), weight = random({7}), dy = random({rows, 7});
    RmsNormSaved saved;
    auto grad = at::zeros({7}, at::kDouble), offset_grad = at::zeros({7}, at::kDouble);
    const auto plain = [&] { return weighted_sum(rms_norm(x, weight, 1e-5, nullptr), dy); };
    rms_norm(x, weight, 1e-5, &saved);
    expect_slopes(x, rms_norm_backward(dy, weight, saved, grad), plain, "rms_norm x");
    expect_slopes(weight, grad, plain, "rms_norm weight");
    const auto offset = [&] { return weighted_sum(offset_rms_norm(x, weight, 1e-5, nullptr), dy); };
    offset_rms_norm(x, weight, 1e-5, &saved);
    expect_slopes(x, offset_rms_norm_backward(dy, weight, saved, offset_grad), offset, "offset_rms_norm x");
    expect_slopes(weight, offset_grad, offset, "offset_rms_norm weight");
  }
}

TEST(NumericGradients, GatesAndRope) {
  at::manual_seed(2);
  const auto x = random({3, 10}), dh = random({3, 5});
  expect_slopes(
      x, swiglu_backward(dh, x), [&] { return weighted_sum(swiglu(x), dh); }, "swiglu");
  expect_slopes(
      x, geglu_backward(dh, x), [&] { return weighted_sum(geglu(x), dh); }, "geglu");
  const auto heads = random({3, 2, 6}), turned = random({3, 2, 6}), angles = at::rand({9, 3}) * 6;
  const RopeTable table{at::cos(angles), at::sin(angles)};
  const auto positions = at::tensor({0, 8, 3}, at::kLong);
  auto back = turned.clone();
  rope_backward_(back, positions, table);
  const auto loss = [&] {
    auto y = heads.clone();
    rope_(y, positions, table);
    return weighted_sum(y, turned);
  };
  expect_slopes(heads, back, loss, "rope");
}

TEST(NumericGradients, Attention) {
  at::manual_seed(3);
  struct Case {
    at::Tensor starts;
    int64_t window;
    double cap;
  };
  // One token; documents of one token; a window; capped scores.
  for (const auto& c : {Case{starts_of({0, 1}), 0, 0}, Case{starts_of({0, 1, 2, 3}), 0, 0},
                        Case{starts_of({0, 5, 6, 9}), 0, 0}, Case{starts_of({0, 7, 9}), 3, 0},
                        Case{starts_of({0, 5, 6, 9}), 0, 2.0}, Case{starts_of({0, 7, 9}), 3, 2.0}}) {
    const int64_t tokens = c.starts[-1].item<int32_t>();
    const auto q = random({tokens, 4, 3}), k = random({tokens, 2, 3}), v = random({tokens, 2, 3}),
               dout = random({tokens, 4, 3});
    const auto run = [&](AttentionSaved* saved) {
      return c.cap > 0 ? capped_attention(q, k, v, c.starts, 0.6, c.window, c.cap, saved)
                       : attention(q, k, v, c.starts, 0.6, c.window, saved);
    };
    AttentionSaved saved;
    run(&saved);
    auto dq = at::empty_like(q), dk = at::empty_like(k), dv = at::empty_like(v);
    if (c.cap > 0)
      capped_attention_backward(dout, saved, c.starts, 0.6, c.window, c.cap, dq, dk, dv);
    else
      attention_backward(dout, saved, c.starts, 0.6, c.window, dq, dk, dv);
    const auto loss = [&] { return weighted_sum(run(nullptr), dout); };
    expect_slopes(v, dv, loss, "attention v");
    if (c.starts.numel() - 1 == tokens) {  // each row sees itself alone: scores do not matter
      EXPECT_LT(dq.abs().max().item<double>() + dk.abs().max().item<double>(), 1e-14);
      continue;
    }
    expect_slopes(q, dq, loss, "attention q");
    expect_slopes(k, dk, loss, "attention k");
  }
}

Parameter parameter(const std::string& name, const at::Tensor& value) {
  return {name, value, at::zeros_like(value), true};
}

TEST(NumericGradients, Projections) {
  at::manual_seed(4);
  for (const bool dora : {false, true})
    for (const int64_t rows : {1, 5}) {
      std::vector<Linear> linears;
      for (const int64_t outputs : {4, 3}) {
        Linear& one = linears.emplace_back();
        one.name = "linear";
        one.weight = parameter("weight", random({outputs, 6}));
        one.bias = parameter("bias", random({outputs}));
        LowRankTerm& term = one.terms.emplace_back();
        term.lora_a = parameter("lora_A", random({2, 6}));
        term.lora_b = parameter("lora_B", random({outputs, 2}));
        term.scale = 0.5;
        if (dora) term.magnitude = parameter("magnitude", at::rand({outputs}, at::kDouble) + 0.5);
      }
      auto p = make_projection(std::move(linears));
      const auto x = random({rows, 6}), dy = random({rows, 7});
      ProjectionSaved saved;
      project(x, p, &saved);
      const auto dx = project_backward(dy, p, saved, true);
      const auto loss = [&] { return weighted_sum(project(x, p, nullptr), dy); };
      expect_slopes(x, dx, loss, "projection x");
      for (auto& one : p.linears) {
        expect_slopes(one.bias.value, one.bias.grad, loss, "bias");
        LowRankTerm& term = one.terms[0];
        if (dora) {
          // The norm is a constant of the backward (as in peft), so weights and factors are held to it.
          expect_slopes(term.magnitude.value, term.magnitude.grad, loss, "magnitude");
          term.gain = term.magnitude.value / dora_norm(one, term);
        }
        expect_slopes(one.weight.value, one.weight.grad, loss, "weight");
        expect_slopes(term.lora_a.value, term.lora_a.grad, loss, "lora_A");
        expect_slopes(term.lora_b.value, term.lora_b.grad, loss, "lora_B");
        term.gain.reset();
      }
    }
}

TEST(NumericGradients, HeadCrossEntropy) {
  at::manual_seed(5);
  for (const double cap : {0.0, 3.0})
    for (const int64_t rows : {1, 6}) {
      const auto hidden = random({rows, 5});
      auto head = parameter("lm_head", random({9, 5}));
      const auto targets = at::randint(9, {rows}, at::kLong);
      auto weights = at::ones({rows});
      if (rows > 1) {
        weights[1].fill_(0);
        weights[2].fill_(-0.5);  // an answer to unlearn
      }
      const auto loss = [&] {
        return 0.7 * head_cross_entropy(hidden, head, targets, weights, 0.7, false, cap).sum;
      };
      const auto with = head_cross_entropy(hidden, head, targets, weights, 0.7, true, cap);
      expect_slopes(hidden, with.d_hidden, loss, "head hidden");
      expect_slopes(head.value, head.grad, loss, "head weight");
    }
}

}  // namespace
}  // namespace decant
