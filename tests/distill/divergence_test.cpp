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

TEST(ForwardKl, EqualsTrl) {
  DECANT_NEEDS_SHARED("conformance/golden/distill/distill.safetensors");
  const Golden golden(test::shared_folder() / "conformance/golden/distill");
  const auto n = static_cast<double>(golden.rows.size(0));
  ASSERT_GT(n, 10);
  int seen = 0;
  for (const char* temperature : {"1.0", "2.0"})
    for (const bool squared : {false, true}) {
      const std::string name = std::string("forward_kl_") + (squared ? "Tsq_T" : "T") + temperature;
      const double tau = std::stod(temperature);
      at::Tensor student = golden.pick(golden.student);
      const double loss =
          forward_kl(student, golden.pick(golden.teacher), golden.weights, tau, squared, true) / n;
      const double expected = golden.numbers.at(name + ".fp64").get<double>();
      EXPECT_NEAR(loss, expected, 2e-6 * expected) << name;
      golden.expect_gradient(squared ? student / (tau * tau) : student,
                             std::string("forward_kl_T") + temperature + ".grad");
      ++seen;
    }
  EXPECT_EQ(seen, 4);
}

TEST(CrossEntropyAndKl, EqualsTrl) {
  DECANT_NEEDS_SHARED("conformance/golden/distill/distill.safetensors");
  const Golden golden(test::shared_folder() / "conformance/golden/distill");
  const auto n = static_cast<double>(golden.rows.size(0));
  for (const char* temperature : {"1.0", "2.0"}) {
    const std::string name = std::string("ce_plus_kd_a0.5_T") + temperature;
    at::Tensor student = golden.pick(golden.student);
    const auto sums =
        cross_entropy_and_kl(student, golden.pick(golden.teacher), golden.labels.index_select(0, golden.rows),
                             golden.weights, 0.5, 0.5, std::stod(temperature), true);
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
  EXPECT_ERROR(forward_kl(student, wide, golden.weights, 1, false, false), "both models need one vocabulary");
  const double loss =
      forward_kl(student, wide.narrow(1, 0, 320).contiguous(), golden.weights, 1, false, false) /
      static_cast<double>(golden.rows.size(0));
  const double expected = golden.numbers.at("vocab328_sliced_forward_kl_T1.0").get<double>();
  EXPECT_NEAR(loss, expected, 2e-6 * expected);
}

TEST(ForwardKl, OfEqualDistributionsIsZero) {
  for (const double tau : {0.5, 1.0, 3.0}) {
    at::Tensor p = at::linspace(-9, 7, 6 * 50).reshape({6, 50});
    const at::Tensor teacher = p.clone();
    EXPECT_EQ(forward_kl(p, teacher, at::ones({6}), tau, true, true), 0.0);
    EXPECT_EQ(p.abs().max().item<double>(), 0.0) << "gradient";
  }
}

TEST(ForwardKl, IsThePlainSumAndItsNumericGradient) {
  const at::Tensor teacher = at::sin(at::arange(0, 30, at::kDouble) * 1.7).reshape({3, 10}) * 3;
  const at::Tensor student = at::cos(at::arange(0, 30, at::kDouble) * 2.3).reshape({3, 10}) * 2;
  const at::Tensor weights = at::tensor({1.0, 0.25, 2.0}, at::kDouble);
  for (const double tau : {1.0, 2.5}) {
    const auto plain = [&](const at::Tensor& s) {
      const at::Tensor p = at::softmax(teacher / tau, 1), q = at::softmax(s / tau, 1);
      return ((p * (p.log() - q.log())).sum(1) * weights).sum().item<double>() * tau * tau;
    };
    at::Tensor gradient = student.clone();
    EXPECT_NEAR(forward_kl(gradient, teacher, weights, tau, true, true), plain(student), 1e-12);
    at::Tensor both = student.clone();
    const at::Tensor targets = at::tensor({int64_t{3}, int64_t{0}, int64_t{9}});
    cross_entropy_and_kl(both, teacher, targets, weights, 0.3, 0.7, tau, true);
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

TEST(ForwardKl, ATokenTheTeacherRulesOutAddsNothing) {
  at::Tensor student = at::zeros({1, 3});
  const at::Tensor teacher = at::tensor({0.0F, 0.0F, -INFINITY}).unsqueeze(0);
  EXPECT_NEAR(forward_kl(student, teacher, at::ones({1}), 1, false, true), std::log(1.5), 1e-6);
  EXPECT_NEAR(student[0][2].item<float>(), 1.0 / 3, 1e-6);
}

}  // namespace
}  // namespace decant
