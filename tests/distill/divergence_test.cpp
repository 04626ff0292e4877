// Divergences against TRL's numbers (conformance/golden/distill) and against a plain float64 sum.
#include "distill/divergence.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "core/json.h"
#include "core/tensor_file.h"
#include "tests/support/expect_error.h"
#include "tests/support/shared.h"

namespace decant {
namespace {

struct Golden {
  at::Tensor student, teacher, labels, rows, weights;  // of the rows under loss
  Json numbers;
  TensorFile file;
  explicit Golden(const std::filesystem::path& folder)
      : numbers(read_json(folder / "distill.json")), file(folder / "distill.safetensors") {
    labels = file.load("labels").reshape({-1});
    rows = (labels != -100).nonzero().squeeze(1);
    student = file.load("student_logits").reshape({-1, 320});
    teacher = file.load("teacher_logits").reshape({-1, 320});
    weights = at::ones({rows.size(0)});
  }
  at::Tensor pick(const at::Tensor& x) const { return x.index_select(0, rows).clone(); }
  void expect_gradient(const at::Tensor& ours, const std::string& name) const {
    const at::Tensor golden = pick(file.load(name).reshape({-1, 320}));
    EXPECT_LE((ours / static_cast<double>(rows.size(0)) - golden).abs().max().item<double>(), 1e-7) << name;
  }
};

// Cross-entropy and KL with these weights; `student` becomes the gradient.
DistillSums sums_of(at::Tensor& student, const at::Tensor& teacher, const at::Tensor& targets,
                    const at::Tensor& weights, const DistillLossConfig& config) {
  return cross_entropy_and_kl(student, teacher, targets, weights, config, 1, true);
}
// The KL alone.
double kl_of(at::Tensor& student, const at::Tensor& teacher, const at::Tensor& weights, double temperature) {
  const auto targets = at::zeros({student.size(0)}, at::kLong);
  const auto sums = sums_of(student, teacher, targets, weights, {0, 1, temperature});
  return sums.sum;
}

TEST(ForwardKl, EqualsTrl) {
  DECANT_NEEDS_SHARED("conformance/golden/distill/distill.safetensors");
  const Golden golden(test::shared_folder() / "conformance/golden/distill");
  const auto n = static_cast<double>(golden.rows.size(0));
  ASSERT_GT(n, 10);
  for (const char* temperature : {"1.0", "2.0"}) {
    const double tau = std::stod(temperature);
    at::Tensor student = golden.pick(golden.student);
    const double loss = kl_of(student, golden.pick(golden.teacher), golden.weights, tau) / n;
    const auto expected = [&](const char* kind) {
      return golden.numbers.at(std::string("forward_kl_") + kind + temperature + ".fp64").get<double>();
    };
    EXPECT_NEAR(loss, expected("Tsq_T"), 2e-6 * expected("Tsq_T")) << tau;
    EXPECT_NEAR(loss / (tau * tau), expected("T"), 2e-6 * expected("T")) << tau;
    golden.expect_gradient(student / (tau * tau), std::string("forward_kl_T") + temperature + ".grad");
  }
}

TEST(CrossEntropyAndKl, EqualsTrl) {
  DECANT_NEEDS_SHARED("conformance/golden/distill/distill.safetensors");
  const Golden golden(test::shared_folder() / "conformance/golden/distill");
  const auto n = static_cast<double>(golden.rows.size(0));
  for (const char* temperature : {"1.0", "2.0"}) {
    const std::string name = std::string("ce_plus_kd_a0.5_T") + temperature;
    at::Tensor student = golden.pick(golden.student);
    const auto sums =
        sums_of(student, golden.pick(golden.teacher), golden.labels.index_select(0, golden.rows),
                golden.weights, {0.5, 0.5, std::stod(temperature)});
    const double expected = golden.numbers.at(name + ".fp64").get<double>();
    EXPECT_NEAR(sums.sum / n, expected, 2e-6 * expected) << name;
    EXPECT_NEAR(0.5 * sums.cross_entropy + 0.5 * sums.kl, sums.sum, 1e-9);
    golden.expect_gradient(student, name + ".grad");
  }
}

// A teacher with more tokens than the student is cut to the student's before the softmax, not after it.
TEST(ForwardKl, LargerTeacherIsSlicedBeforeTheSoftmax) {
  DECANT_NEEDS_SHARED("conformance/golden/distill/distill.safetensors");
  const Golden golden(test::shared_folder() / "conformance/golden/distill");
  at::Tensor student = golden.pick(golden.student);
  const at::Tensor wide = golden.pick(golden.file.load("teacher_logits_328").reshape({-1, 328}));
  EXPECT_ERROR(kl_of(student, wide, golden.weights, 1), "both models need one vocabulary");
  const double loss =
      kl_of(student, wide.narrow(1, 0, 320), golden.weights, 1) / static_cast<double>(golden.rows.size(0));
  const double expected = golden.numbers.at("vocab328_sliced_forward_kl_T1.0").get<double>();
  EXPECT_NEAR(loss, expected, 2e-6 * expected);
}

TEST(ForwardKl, OfEqualDistributionsIsZero) {
  for (const auto type : {at::kBFloat16, at::kFloat, at::kDouble})
    for (const double tau : {0.5, 1.0, 3.0}) {
      at::Tensor p = at::linspace(-9, 7, 6 * 50).reshape({6, 50}).to(type);
      const at::Tensor teacher = p.clone();
      EXPECT_EQ(kl_of(p, teacher, at::ones({6}), tau), 0.0);
      EXPECT_EQ(p.abs().max().item<double>(), 0.0) << "gradient";
    }
}

TEST(ForwardKl, IsThePlainSumAndItsNumericGradient) {
  const at::Tensor teacher = at::sin(at::arange(0, 30, at::kDouble) * 1.7).reshape({3, 10}) * 3;
  const at::Tensor student = at::cos(at::arange(0, 30, at::kDouble) * 2.3).reshape({3, 10}) * 2;
  const at::Tensor weights = at::tensor({1.0, 0.25, 2.0}, at::kDouble);
  const at::Tensor targets = at::tensor({int64_t{3}, int64_t{0}, int64_t{9}});
  for (const double tau : {1.0, 2.5}) {
    const auto plain = [&](const at::Tensor& s) {
      const at::Tensor p = at::softmax(teacher / tau, 1), q = at::softmax(s / tau, 1);
      return ((p * (p.log() - q.log())).sum(1) * weights).sum().item<double>() * tau * tau;
    };
    at::Tensor gradient = student.clone();
    EXPECT_NEAR(kl_of(gradient, teacher, weights, tau), plain(student), 1e-12);
    at::Tensor both = student.clone();
    sums_of(both, teacher, targets, weights, {0.3, 0.7, tau});
    const auto plain_both = [&](const at::Tensor& s) {
      const at::Tensor ce = -at::log_softmax(s, 1).gather(1, targets.unsqueeze(1)).squeeze(1);
      return 0.3 * (ce * weights).sum().item<double>() + 0.7 * plain(s);
    };
    for (int64_t i = 0; i < 30; ++i) {
      const double h = 1e-5;
      at::Tensor up = student.clone(), down = student.clone();
      up.view(-1)[i] += h;
      down.view(-1)[i] -= h;
      EXPECT_NEAR(gradient.view(-1)[i].item<double>(), (plain(up) - plain(down)) / (2 * h), 1e-8);
      EXPECT_NEAR(both.view(-1)[i].item<double>(), (plain_both(up) - plain_both(down)) / (2 * h), 1e-8);
    }
  }
}

// The kernel on logits of a real vocabulary's size, odd and even, against the plain form in float64. Its
// probabilities are as exact as the fp32 logarithms of their sums.
TEST(CrossEntropyAndKl, OfLongRowsEqualsThePlainForm) {
  const struct {
    at::ScalarType student, teacher;
    double rounding;
  } kinds[] = {{at::kFloat, at::kFloat, 3e-7},
               {at::kBFloat16, at::kBFloat16, 1.0 / 256},
               {at::kBFloat16, at::kFloat, 3e-7}};
  for (const auto& kind : kinds)
    for (const int64_t vocabulary : {1, 15, 16, 4097, 49152})
      for (const double tau : {1.0, 2.5})
        for (const double a : {0.0, 0.4}) {
          SCOPED_TRACE(testing::Message() << at::toString(kind.student) << ", " << at::toString(kind.teacher)
                                          << ", " << vocabulary << " at " << tau << ", " << a);
          at::manual_seed(7);
          const auto logits = (at::randn({5, vocabulary}) * 4).to(kind.student),
                     teacher = (logits.to(at::kFloat) + at::randn({5, vocabulary})).to(kind.teacher);
          const auto targets = at::randint(0, vocabulary, {5}, at::kLong);
          const auto weights = at::tensor({1.0F, 0.5F, -0.75F, 2.0F, 1.0F});
          const DistillLossConfig config{a, 0.6, tau};
          at::Tensor ours = logits.clone(), expected = logits.to(at::kDouble);
          const auto taught = teacher.to(at::kDouble);
          const auto sums = cross_entropy_and_kl(ours, teacher, targets, weights, config, 0.25, true);
          const auto plain =
              cross_entropy_and_kl(expected, taught, targets, weights.to(at::kDouble), config, 0.25, true);
          EXPECT_NEAR(sums.kl, plain.kl, 1e-5 * std::abs(plain.kl) + 2e-6);
          EXPECT_NEAR(sums.cross_entropy, plain.cross_entropy, 2e-6 * std::abs(plain.cross_entropy) + 2e-6);
          const auto probabilities = at::softmax(taught / tau, 1) +
                                     at::softmax(logits.to(at::kDouble) / tau, 1) +
                                     at::softmax(logits.to(at::kDouble), 1);
          const auto allowed = kind.rounding * expected.abs() + 2e-6 * probabilities + 1e-9;
          EXPECT_LE(((ours.to(at::kDouble) - expected).abs() / allowed).max().item<double>(), 1);
        }
}

TEST(ForwardKl, ATokenTheTeacherRulesOutAddsNothing) {
  at::Tensor student = at::zeros({1, 3});
  const at::Tensor teacher = at::tensor({0.0F, 0.0F, -INFINITY}).unsqueeze(0);
  EXPECT_NEAR(kl_of(student, teacher, at::ones({1}), 1), std::log(1.5), 1e-6);
  EXPECT_NEAR(student[0][2].item<float>(), 1.0 / 3, 1e-6);
}

TEST(ForwardKl, WhatIsNoNumberStaysNone) {
  for (const bool of_teacher : {false, true}) {
    at::Tensor student = at::zeros({1, 40}), teacher = at::zeros({1, 40});
    (of_teacher ? teacher : student)[0][37] = NAN;
    EXPECT_TRUE(std::isnan(kl_of(student, teacher, at::ones({1}), 2)));
    EXPECT_TRUE(student.isnan().all().item<bool>());
  }
}

TEST(CrossEntropyAndKl, RefusesATargetOutsideTheVocabulary) {
  at::Tensor student = at::zeros({1, 3});
  for (const int64_t target : {int64_t{-1}, int64_t{3}})
    EXPECT_ERROR(sums_of(student, at::zeros({1, 3}), at::full({1}, target, at::kLong), at::ones({1}), {}),
                 "a target is outside the vocabulary of 3 tokens");
}

}  // namespace
}  // namespace decant
