// The law of core/kernels/gemm.h: a row's bits depend neither on its place nor on what else is in the batch.
#include "core/kernels/gemm.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>

#include "core/kernels/dropout.h"
#include "core/kernels/plain.h"

namespace decant {
namespace {

struct Case {
  at::ScalarType type;
  Panel panel;
};

class Gemm : public testing::TestWithParam<Case> {};

double relative(const at::Tensor& got, const at::Tensor& want) {
  const auto a = got.to(at::kDouble), b = want.to(at::kDouble);
  return ((a - b).norm() / (b.norm() + 1e-30)).item<double>();
}

TEST_P(Gemm, RowsDoNotDependOnTheirBatch) {
  const auto [type, panel] = GetParam();
  at::manual_seed(1);
  // SmolLM2's widths and tiny ones, ranks among them.
  const std::vector<std::pair<int64_t, int64_t>> shapes = {{960, 576}, {576, 1536}, {192, 576}, {320, 64},
                                                           {112, 72},  {64, 112},   {16, 64},   {4, 64},
                                                           {5, 17},    {1, 33}};
  for (const auto& [outputs, inputs] : shapes) {
    const auto w = at::randn({outputs, inputs}).to(type), bias = at::randn({outputs}).to(type);
    const auto x = at::randn({700, inputs}).to(type), dy = at::randn({700, outputs}).to(type);
    const auto y = linear(x, w, bias, panel), dx = linear_input_grad(dy, w, panel);
    ASSERT_LT(relative(y, plain::linear(x.to(at::kDouble), w.to(at::kDouble), bias.to(at::kDouble))),
              type == at::kFloat ? 1e-5 : 1e-2);
    ASSERT_LT(relative(dx, plain::linear_input_grad(dy.to(at::kDouble), w.to(at::kDouble))),
              type == at::kFloat ? 1e-5 : 1e-2);
    if (use_plain_kernels(x)) continue;  // without panels rows depend on how many there are
    for (const int64_t rows : {1, 17, 255, 257}) {
      for (const int64_t from : {700 - rows, (700 - rows) / 3}) {
        ASSERT_TRUE(at::equal(linear(x.narrow(0, from, rows), w, bias, panel), y.narrow(0, from, rows)))
            << outputs << " x " << inputs << ", rows " << rows << " from " << from;
        ASSERT_TRUE(
            at::equal(linear_input_grad(dy.narrow(0, from, rows), w, panel), dx.narrow(0, from, rows)))
            << outputs << " x " << inputs << ", rows " << rows << " from " << from;
      }
    }
    const auto order = at::randperm(700);
    ASSERT_TRUE(at::equal(linear(x.index_select(0, order), w, bias, panel), y.index_select(0, order)));
  }
}

INSTANTIATE_TEST_SUITE_P(Types, Gemm,
                         testing::Values(Case{at::kBFloat16, Panel::kTraining},
                                         Case{at::kBFloat16, Panel::kDecode},
                                         Case{at::kFloat, Panel::kTraining},
                                         Case{at::kFloat, Panel::kDecode}));

// Tenants' terms on rows of one product: each row gets what it gets alone, more than one block of 1,024 rows,
// borders inside tiles, ranks that are no multiple of 16; a NaN stays with its tenant.
TEST_P(Gemm, LowRankTermsAddToTheirRowsAlone) {
  const auto [type, panel] = GetParam();
  at::manual_seed(3);
  const std::vector<std::pair<int64_t, int64_t>> shapes = {{320, 192}, {136, 72}, {48, 96}};
  for (const auto& [outputs, inputs] : shapes) {
    const auto w = at::randn({outputs, inputs}).to(type), bias = at::randn({outputs}).to(type);
    const auto x = at::randn({1300, inputs}).to(type), dy = at::randn({1300, outputs}).to(type);
    if (use_plain_kernels(x)) return;   // projections add in plain.cpp
    const auto part = outputs / 2 + 3;  // a term of a part of the outputs
    std::vector<LowRankAdd> adds, back;
    const std::vector<std::array<int64_t, 3>> segments = {{0, 70, 16}, {70, 1100, 5}, {1100, 1299, 24}};
    for (const auto& [begin, end, rank] : segments) {
      const auto wide = at::randn({end - begin, rank + 3}).to(type);  // as a slice of a shared product
      const auto columns = begin == 70 ? outputs - part : outputs;
      adds.push_back({begin, end, outputs - columns, wide.narrow(1, 2, rank),
                      at::randn({columns, rank}).to(type), 1.75});
      back.push_back({begin, end, 0, wide.narrow(1, 1, rank), at::randn({rank, inputs}).to(type), 1});
      if (begin == 0)
        back.back().dropped = at::randint(256, {end - begin, (inputs + 7) / 8}, at::kByte)
                                  .bitwise_and_(inputs % 8 == 0 ? 255 : 0);
    }
    const auto y = linear(x, w, bias, panel, adds), dx = linear_input_grad(dy, w, panel, back);
    const auto wide = [](const at::Tensor& t) { return t.to(at::kDouble); };
    auto want = plain::linear(wide(x), wide(w), wide(bias)),
         want_dx = plain::linear_input_grad(wide(dy), wide(w));
    for (size_t i = 0; i < adds.size(); ++i) {
      const auto& add = adds[i];
      want.slice(0, add.begin, add.end)
          .narrow(1, add.column, add.b.size(0))
          .add_(at::mm(wide(add.s), wide(add.b).t()), add.factor);
      auto delta = at::mm(wide(back[i].s), wide(back[i].b));
      if (back[i].dropped.defined()) delta.masked_fill_(dropped_elements(back[i].dropped, inputs), 0);
      want_dx.slice(0, add.begin, add.end).add_(delta);
    }
    ASSERT_LT(relative(y, want), type == at::kFloat ? 1e-5 : 1e-2);
    ASSERT_LT(relative(dx, want_dx), type == at::kFloat ? 1e-5 : 1e-2);

    for (size_t i = 0; i < adds.size(); ++i) {
      auto alone = adds[i], alone_back = back[i];
      const auto begin = alone.begin, end = alone.end;
      alone.begin = alone_back.begin = 0;
      alone.end = alone_back.end = end - begin;
      ASSERT_TRUE(
          at::equal(linear(x.slice(0, begin, end), w, bias, panel, {{alone}}), y.slice(0, begin, end)));
      ASSERT_TRUE(at::equal(linear_input_grad(dy.slice(0, begin, end), w, panel, {{alone_back}}),
                            dx.slice(0, begin, end)));
    }
    adds[1].b.fill_(std::numeric_limits<double>::quiet_NaN());
    const auto spoiled = linear(x, w, bias, panel, adds);
    for (const auto& [begin, end] : {std::pair<int64_t, int64_t>{0, 70}, {1100, 1300}})
      ASSERT_TRUE(at::equal(spoiled.slice(0, begin, end), y.slice(0, begin, end)));
    ASSERT_TRUE(spoiled.slice(0, 70, 1100).isnan().any().item<bool>());
  }
}

// Where bf16 is computed by widening, a weight of more than 2^26 elements is widened in parts.
TEST(Gemm, ALargeWeightGivesWhatItsPartsGive) {
  at::manual_seed(2);
  const auto x = at::randn({3, 520}).to(at::kBFloat16), bias = at::randn({131072}).to(at::kBFloat16);
  const auto part = at::randn({1024, 520}).to(at::kBFloat16);
  const auto w = part.repeat({128, 1});
  ASSERT_GT(w.numel(), int64_t{1} << 26);
  const auto y = linear(x, w, bias, Panel::kDecode), of_part = linear(x, part, at::Tensor(), Panel::kDecode);
  for (const int64_t row : {0, 17 * 1024, 125 * 1024, 127 * 1024}) {
    const auto expected = of_part.to(at::kFloat) + bias.narrow(0, row, 1024).to(at::kFloat);
    EXPECT_LT(relative(y.narrow(1, row, 1024), expected), 1e-2) << row;
  }
  const auto dy = at::randn({3, 131072}).to(at::kBFloat16);
  const auto folded = dy.to(at::kFloat).view({3, 128, 1024}).sum(1);
  EXPECT_LT(relative(linear_input_grad(dy, w, Panel::kDecode), at::mm(folded, part.to(at::kFloat))), 1e-2);
}

TEST(Gemm, NoRowsGiveNoRows) {
  const auto w = at::randn({8, 4});
  EXPECT_EQ(decant::linear(at::empty({0, 4}), w, {}).sizes(), (std::vector<int64_t>{0, 8}));
  EXPECT_EQ(linear_input_grad(at::empty({0, 8}), w).sizes(), (std::vector<int64_t>{0, 4}));
  auto grad = at::ones({8, 4});
  add_weight_grad(grad, at::empty({0, 8}), at::empty({0, 4}));
  EXPECT_TRUE(at::equal(grad, at::ones({8, 4})));
}

TEST(Gemm, WeightGradientsKeepFp32OfTheirInputs) {
  at::manual_seed(2);
  for (const auto type : {at::kBFloat16, at::kFloat}) {
    for (const auto& [rows, outputs, inputs] : std::vector<std::array<int64_t, 3>>{{1, 3, 5},
                                                                                   {2, 16, 64},
                                                                                   {300, 192, 576},
                                                                                   {700, 576, 16},
                                                                                   {513, 48, 300},
                                                                                   {256, 64, 64},
                                                                                   {257, 70, 8}}) {
      const auto fused = at::randn({rows, outputs + 7}).to(type);
      const auto dy = fused.narrow(1, 3, outputs);  // a column slice of a fused gradient
      const auto x = at::randn({rows, inputs}).to(type);
      auto grad = at::ones({outputs, inputs});
      add_weight_grad(grad, dy, x, 0.5);
      const auto want = at::mm(dy.to(at::kDouble).t(), x.to(at::kDouble)) * 0.5 + 1;
      EXPECT_LT(relative(grad, want), 1e-6) << rows << " " << outputs << " " << inputs;
      auto again = at::ones({outputs, inputs});
      add_weight_grad(again, dy, x, 0.5);
      EXPECT_TRUE(at::equal(grad, again));
      auto bias = at::ones({outputs});
      add_bias_grad(bias, dy);
      EXPECT_LT(relative(bias, dy.to(at::kDouble).sum(0) + 1), 1e-6);
    }
  }
}

}  // namespace
}  // namespace decant
