// Dropout of adapters' inputs: masks depend on the token's place in the step alone, the share is p, and
// projections with masks are autograd of the formula.
#include "core/kernels/dropout.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "core/kernels/gemm.h"
#include "core/kernels/loops.h"
#include "core/kernels/plain.h"
#include "core/kernels/projection.h"
#include "core/random.h"

namespace decant {
namespace {

// Sixteen counters at a time, over the end of the counter's lower word, and a part of sixteen.
TEST(Dropout, DrawsOfTheLoopsArePhiloxs) {
  if (loops() == nullptr) GTEST_SKIP() << "no AVX2";
  const uint64_t seed = 0x299f31d0a4093822, stream = 0x0370734413198a2e;
  for (const uint64_t counter : {uint64_t{0}, (uint64_t{3} << 32) - 7, ~uint64_t{0} - 4})
    for (const int64_t draws : {1, 15, 16, 37}) {
      std::vector<uint16_t> words(static_cast<size_t>(8 * draws) + 1, 7), expected;
      loops()->draw_words(seed, stream, counter, draws, words.data());
      for (int64_t i = 0; i < draws; ++i)
        for (const uint32_t word : philox(seed, stream, counter + static_cast<uint64_t>(i)))
          for (const uint32_t half : {word & 0xffff, word >> 16})
            expected.push_back(static_cast<uint16_t>(half));
      expected.push_back(7);  // not written
      EXPECT_EQ(words, expected) << counter << ", " << draws;
      for (const uint32_t limit : {uint32_t{0}, uint32_t{1}, uint32_t{30000}, uint32_t{65535}}) {
        std::vector<uint8_t> bits(static_cast<size_t>(draws) + 1, 7), bits_expected(bits);
        loops()->draw_bits(seed, stream, counter, draws, limit, bits.data());
        for (size_t i = 0; i + 1 < bits.size(); ++i) {
          bits_expected[i] = 0;
          for (size_t j = 0; j < 8; ++j)
            if (expected[8 * i + j] < limit)
              bits_expected[i] = static_cast<uint8_t>(bits_expected[i] | 1U << j);
        }
        EXPECT_EQ(bits, bits_expected) << counter << ", " << draws << ", " << limit;
      }
    }
}

TEST(Dropout, AMaskOfTheKernelIsThatOfThePlainForm) {
  const std::vector<TrainingRows> rows = {{0, 3, 5, 100}};
  for (const int64_t columns : {1, 8, 127, 128, 129, 576}) {
    const auto dropout = Dropout::of("m", 0.3, 7);
    const auto mask = dropout_mask(dropout, rows, 0, 3, columns);
    const bool plain_already = use_plain_kernels(mask);
    set_plain_kernels(true);
    const auto plain = dropout_mask(dropout, rows, 0, 3, columns);
    set_plain_kernels(plain_already);
    EXPECT_TRUE(at::equal(mask, plain)) << columns;
  }
}

TEST(Dropout, AMaskIsOfTheTokensWhateverTheBatch) {
  const auto dropout = Dropout::of("layers.0.q_proj", 0.3, 7);
  const std::vector<TrainingRows> whole = {{0, 40, 5, 100}};
  const auto mask = dropout_mask(dropout, whole, 0, 40, 21);
  ASSERT_EQ(mask.sizes(), (std::vector<int64_t>{40, 3}));
  // Two micro-batches, and a batch in which another tenant's rows stand between.
  const std::vector<TrainingRows> late = {{0, 28, 5, 112}};
  EXPECT_TRUE(at::equal(dropout_mask(dropout, late, 0, 28, 21), mask.slice(0, 12)));
  const std::vector<TrainingRows> mixed = {{0, 9, 77, 0}, {9, 49, 5, 100}};
  EXPECT_TRUE(at::equal(dropout_mask(dropout, mixed, 9, 49, 21), mask));
  const std::vector<TrainingRows> parts = {{0, 12, 5, 100}, {12, 40, 5, 112}};
  EXPECT_TRUE(at::equal(dropout_mask(dropout, parts, 0, 40, 21), mask));
  // Anything else is another mask.
  const std::vector<TrainingRows> step = {{0, 40, 6, 100}}, token = {{0, 40, 5, 101}};
  EXPECT_FALSE(at::equal(dropout_mask(dropout, step, 0, 40, 21), mask));
  EXPECT_FALSE(at::equal(dropout_mask(dropout, token, 0, 40, 21), mask));
  EXPECT_FALSE(at::equal(dropout_mask(Dropout::of("layers.0.k_proj", 0.3, 7), whole, 0, 40, 21), mask));
  EXPECT_FALSE(at::equal(dropout_mask(Dropout::of("layers.0.q_proj", 0.3, 8), whole, 0, 40, 21), mask));
  // Evaluation, and p = 0.
  EXPECT_FALSE(dropout_mask(dropout, {}, 0, 40, 21).defined());
  EXPECT_FALSE(dropout_mask(Dropout::of("layers.0.q_proj", 0, 7), whole, 0, 40, 21).defined());
}

TEST(Dropout, DropsTheShareThatItSays) {
  const std::vector<TrainingRows> rows = {{0, 500, 1, 0}};
  for (const double p : {0.05, 0.1, 0.5, 0.9}) {
    const auto dropout = Dropout::of("m", p, 1);
    const auto dropped = dropped_elements(dropout_mask(dropout, rows, 0, 500, 301), 301).to(at::kDouble);
    const double deviation = std::sqrt(p * (1 - p) / (500.0 * 301));
    EXPECT_NEAR(dropped.mean().item<double>(), p, 5 * deviation);
    EXPECT_NEAR(dropout.scale(), 1 / (1 - p), 1e-4 / (1 - p));
    // Columns and rows alike.
    EXPECT_NEAR(dropped.mean(0).std().item<double>(), std::sqrt(p * (1 - p) / 500),
                0.3 * std::sqrt(p * (1 - p) / 500));
    EXPECT_NEAR(dropped.mean(1).std().item<double>(), std::sqrt(p * (1 - p) / 301),
                0.3 * std::sqrt(p * (1 - p) / 301));
  }
  EXPECT_EQ(Dropout::of("m", 0.5, 1).scale(), 2);
}

Parameter factor(const at::Tensor& value) {
  const auto wide = value.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  return {"p", value, at::zeros(value.sizes(), value.options().dtype(wide)), true};
}

double relative(const at::Tensor& got, const at::Tensor& want) {
  const auto a = got.to(at::kDouble), b = want.to(at::kDouble);
  return ((a - b).norm() / (b.norm() + 1e-30)).item<double>();
}

class DropoutProjection : public testing::TestWithParam<at::ScalarType> {};

// y = x W^T + s / (1 - p) (x o keep) A^T B^T, each linear with a mask of its own, the first one without.
TEST_P(DropoutProjection, IsAutogradOfTheFormula) {
  const auto type = GetParam();
  const double tolerance = type == at::kDouble ? 1e-10 : type == at::kFloat ? 1e-5 : 1e-2;
  at::manual_seed(3);
  const int64_t rows = 150, inputs = 70, rank = 5;
  std::vector<Linear> linears;
  const char* names[] = {"q", "k", "v"};
  for (size_t i = 0; i < 3; ++i) {
    Linear one{names[i], {"w", (at::randn({24, inputs}) * 0.1).to(type), {}, false}, {}, {}};
    one.terms.push_back({factor((at::randn({rank, inputs}) * 0.1).to(type)),
                         factor(at::randn({24, rank}).to(type)),
                         2.0,
                         {}});
    if (i > 0) one.terms[0].dropout = Dropout::of(names[i], 0.25, 9);
    linears.push_back(one);
  }
  auto p = make_projection(linears);
  const std::vector<TrainingRows> training = {{0, rows, 4, 1000}};
  const auto x = at::randn({rows, inputs}).to(type), dy = at::randn({rows, 72}).to(type);

  const auto leaf = [](const at::Tensor& t) { return t.to(at::kDouble).clone().set_requires_grad(true); };
  const auto wide_x = leaf(x);
  std::vector<at::Tensor> outputs, leaves;
  for (size_t i = 0; i < 3; ++i) {
    const auto a = leaf(p.linears[i].terms[0].lora_a.value), b = leaf(p.linears[i].terms[0].lora_b.value);
    leaves.insert(leaves.end(), {a, b});
    auto keep = at::ones({rows, inputs}, at::kDouble);
    if (i > 0) {
      const auto mask = dropout_mask(Dropout::of(names[i], 0.25, 9), training, 0, rows, inputs);
      keep = (1 - dropped_elements(mask, inputs).to(at::kDouble)) / 0.75;
    }
    outputs.push_back(at::mm(wide_x, p.linears[i].weight.value.to(at::kDouble).t()) +
                      2.0 * at::mm(at::mm(wide_x * keep, a.t()), b.t()));
  }
  leaves.push_back(wide_x);
  const auto want = at::cat(outputs, 1);
  const auto expected = torch::autograd::grad({want}, leaves, {dy.to(at::kDouble)});

  ProjectionSaved saved;
  EXPECT_LT(relative(project(x, p, &saved, Panel::kTraining, training), want), tolerance);
  EXPECT_LT(relative(project_backward(dy, p, saved, true), expected.back()), tolerance);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_LT(relative(p.linears[i].terms[0].lora_a.grad, expected[2 * i]), tolerance) << i;
    EXPECT_LT(relative(p.linears[i].terms[0].lora_b.grad, expected[2 * i + 1]), tolerance) << i;
  }
  EXPECT_FALSE(project_backward(dy, p, saved, false).defined());
  // In evaluation nothing is dropped: the bits of terms that never drop.
  auto plain = p;
  for (auto& one : plain.linears) one.terms[0].dropout = {};
  EXPECT_TRUE(at::equal(project(x, p, nullptr), project(x, plain, nullptr)));
}

INSTANTIATE_TEST_SUITE_P(Types, DropoutProjection, testing::Values(at::kDouble, at::kFloat, at::kBFloat16));

}  // namespace
}  // namespace decant
