// Quantized weights against bitsandbytes (conformance/golden/nf4) and the products against the plain form.
#include "core/kernels/quantized_weight.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "core/kernels/block_codes.h"
#include "core/kernels/plain.h"
#include "core/kernels/quantized_gemm.h"
#include "core/tensor_file.h"
#include "tests/support/panels.h"
#include "tests/support/shared.h"

namespace decant {
namespace {

double relative(const at::Tensor& got, const at::Tensor& want) {
  const auto a = got.to(at::kDouble), b = want.to(at::kDouble);
  return ((a - b).norm() / (b.norm() + 1e-30)).item<double>();
}

int64_t differences(const at::Tensor& a, const at::Tensor& b) { return (a != b).sum().item<int64_t>(); }

class Nf4Golden : public testing::Test {
 protected:
  void SetUp() override {
    DECANT_NEEDS_SHARED("conformance/golden/nf4");
    file_ = std::make_unique<TensorFile>(test::shared_folder() / "conformance/golden/nf4/nf4.safetensors");
  }
  at::Tensor load(const std::string& name) const { return file_->load(name); }
  std::unique_ptr<TensorFile> file_;
};

TEST_F(Nf4Golden, TheLevelsAndTheMapAreBitsandbytes) {
  EXPECT_TRUE(at::equal(nf4_levels(), load("code_nf4")));
  EXPECT_TRUE(at::equal(dynamic_map(CodeMap::kSigned), load("dynamic_map_8bit")));
}

TEST_F(Nf4Golden, CodesAbsmaxAndValuesAreBitsandbytesBitForBit) {
  const auto input = load("input");
  for (const auto& [name, type] : {std::pair{"float32", at::kFloat}, std::pair{"bfloat16", at::kBFloat16}}) {
    const std::string key = std::string("nf4.") + name + ".";
    const auto w = quantize_weight(input.to(type), Quantization::kNf4);
    EXPECT_EQ(differences(w.codes, load(key + "packed").flatten()), 0) << name;
    EXPECT_TRUE(at::equal(w.absmax, load(key + "absmax"))) << name;
    EXPECT_TRUE(at::equal(dequantize(w, type).to(at::kFloat), load(key + "dequant"))) << name;
    EXPECT_TRUE(at::equal(plain::dequantize(w, type).to(at::kFloat), load(key + "dequant"))) << name;
  }
}

TEST_F(Nf4Golden, NestedAbsmaxAreBitsandbytesBitForBit) {
  struct Case {
    const char* key;
    const char* input;
    at::ScalarType type;
  };
  int compared = 0;
  for (const auto& [key, input, type] :
       {Case{"nf4dq.float32.", "input", at::kFloat}, Case{"nf4dq.bfloat16.", "input", at::kBFloat16},
        Case{"nf4dq_sane.", "sane.input", at::kFloat}}) {
    const std::string at = key;
    auto w = quantize_weight(load(input).to(type), Quantization::kNf4Dq);
    EXPECT_EQ(differences(w.codes, load(at + "packed").flatten()), 0) << key;
    // The offset is a mean, whose last bit is the order of its sum.
    const float offset = load(at + "nested_offset").item<float>();
    EXPECT_FLOAT_EQ(w.offset, offset) << key;
    EXPECT_TRUE(at::equal(w.nested_map, load(at + "nested_code"))) << key;
    if (w.offset != offset) continue;
    ++compared;
    EXPECT_EQ(differences(w.absmax, load(at + "absmax_u8")), 0) << key;
    EXPECT_TRUE(at::equal(w.nested_absmax, load(at + "nested_absmax"))) << key;
    EXPECT_TRUE(at::equal(dequantize(w, type).to(at::kFloat), load(at + "dequant"))) << key;
    EXPECT_TRUE(at::equal(plain::dequantize(w, type).to(at::kFloat), load(at + "dequant"))) << key;
  }
  EXPECT_GE(compared, 1);
}

const std::vector<Quantization> kKinds = {Quantization::kInt8, Quantization::kNf4, Quantization::kNf4Dq};
// Rows that blocks divide and rows that they do not, single rows, odd numbers.
const std::vector<std::pair<int64_t, int64_t>> kShapes = {{64, 64}, {300, 576}, {1, 64},
                                                          {7, 100}, {33, 37},   {5, 1}};

TEST(QuantizedWeight, ValuesAreThoseOfThePlainForm) {
  at::manual_seed(1);
  for (const auto kind : kKinds)
    for (const auto& [outputs, inputs] : kShapes)
      for (const auto type : {at::kBFloat16, at::kFloat}) {
        const auto w = (at::randn({outputs, inputs}) * 0.1).to(type);
        const auto q = quantize_weight(w, kind);
        EXPECT_EQ(q.bytes(), quantized_bytes(outputs, inputs, kind));
        EXPECT_TRUE(at::equal(dequantize(q, type), plain::dequantize(q, type)))
            << to_string(kind) << " " << outputs << " x " << inputs;
        EXPECT_LT(relative(dequantize(q, type), w), kind == Quantization::kInt8 ? 0.012 : 0.14);
      }
}

TEST(QuantizedWeight, Int8RoundsToTheNearestOf255Levels) {
  const auto w = at::tensor({1.0F, -1.0F, 0.5F, 0.00394F, 0.0F, 0.0F}).view({2, 3});
  const auto q = quantize_weight(w, Quantization::kInt8);
  EXPECT_TRUE(
      at::equal(q.codes, at::tensor({127, -127, 64, 127, 0, 0}, at::kChar).view({2, 3})));  // 63.5 to even
  EXPECT_TRUE(at::equal(q.absmax, at::tensor({1.0F, 0.00394F})));
}

TEST(QuantizedWeight, FourBitsTakeAtMost29HundredthsOfBf16) {
  for (const auto kind : {Quantization::kNf4, Quantization::kNf4Dq})
    EXPECT_LE(static_cast<double>(quantized_bytes(3584, 3584, kind)), 0.29 * 2 * 3584 * 3584);
  EXPECT_NEAR(8.0 * static_cast<double>(quantized_bytes(3584, 3584, Quantization::kNf4Dq)) / (3584.0 * 3584),
              4.127, 0.002);
}

class QuantizedProducts : public testing::TestWithParam<at::ScalarType> {};

TEST_P(QuantizedProducts, AreThoseOfTheDequantisedWeights) {
  const auto type = GetParam();
  at::manual_seed(2);
  for (const auto kind : kKinds)
    for (const auto& [outputs, inputs] : kShapes)
      for (const int64_t rows : {0, 1, 17, 64, 300, 1100}) {
        const auto w1 = quantize_weight((at::randn({outputs, inputs}) * 0.1).to(type), kind),
                   w2 = quantize_weight((at::randn({3, inputs}) * 0.1).to(type), kind);
        const StackedWeights stack = {&w1, &w2};
        const auto w = at::cat({dequantize(w1, type), dequantize(w2, type)}).to(at::kDouble);
        const auto x = at::randn({rows, inputs}).to(type), dy = at::randn({rows, outputs + 3}).to(type),
                   bias = at::randn({outputs + 3}).to(type);
        const double tolerance = type == at::kBFloat16 ? 4e-3 : 1e-5;
        for (const auto panel : {Panel::kTraining, Panel::kDecode})
          EXPECT_LE(
              relative(linear(x, stack, bias, panel), at::linear(x.to(at::kDouble), w, bias.to(at::kDouble))),
              tolerance)
              << to_string(kind) << " " << rows << " rows, " << outputs << " x " << inputs;
        EXPECT_LE(relative(linear_input_grad(dy, stack), at::mm(dy.to(at::kDouble), w)), tolerance)
            << to_string(kind) << " " << rows << " rows, " << outputs << " x " << inputs;
      }
}

TEST_P(QuantizedProducts, ARowsBitsDependOnNoOtherRow) {
  DECANT_NEEDS_PANELS();
  at::manual_seed(3);
  const auto type = GetParam();
  const auto w = quantize_weight((at::randn({200, 576}) * 0.1).to(type), Quantization::kNf4Dq);
  const auto x = at::randn({1500, 576}).to(type), dy = at::randn({1500, 200}).to(type);
  const auto y = linear(x, StackedWeights{&w}, {}), dx = linear_input_grad(dy, StackedWeights{&w});
  for (const auto& [first, count] : std::vector<std::pair<int64_t, int64_t>>{{0, 1}, {3, 70}, {1000, 500}}) {
    EXPECT_TRUE(
        at::equal(linear(x.narrow(0, first, count), StackedWeights{&w}, {}), y.narrow(0, first, count)));
    EXPECT_TRUE(at::equal(linear_input_grad(dy.narrow(0, first, count), StackedWeights{&w}),
                          dx.narrow(0, first, count)));
  }
}

INSTANTIATE_TEST_SUITE_P(Types, QuantizedProducts, testing::Values(at::kBFloat16, at::kFloat));

}  // namespace
}  // namespace decant
