// The distillation loss chunk by chunk, against whole logits and libtorch's autograd.
#include "distill/distill_loss.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/support/expect_error.h"
#include "tests/support/shared.h"
#include "tests/train/tiny_training.h"

namespace decant {
namespace {

// Longer than one chunk of the head, with weights of all kinds.
Batch long_batch() {
  std::vector<std::vector<int64_t>> documents;
  std::vector<std::vector<float>> weights;
  for (uint64_t d = 0; d < 11; ++d) {
    documents.emplace_back();
    weights.emplace_back();
    for (uint64_t t = 0; t < 30 + d; ++t) {
      documents.back().push_back(static_cast<int64_t>(64 * uniform(2, purpose_stream(Purpose::kTest, d), t)));
      weights.back().push_back(t == 0 ? 0.0F : static_cast<float>(t % 3) * 0.5F);
    }
  }
  return make_batch(documents, weights);
}

TEST(DistillLoss, OfATeacherOnItselfIsCrossEntropyAlone) {
  Decoder model = random_decoder(test::tiny_model_config(), Dtype::kFp32, 1, 0.2);
  const Decoder teacher = random_decoder(test::tiny_model_config(), Dtype::kFp32, 1, 0.2);
  make_trainable(model);
  const Batch batch = long_batch();
  const at::Tensor hidden = forward(model, batch);
  DistillLossConfig config;
  const auto part = distill_loss(teacher, config, model, batch, hidden, 1, false);
  EXPECT_EQ(part.kl, 0.0);
  EXPECT_FALSE(part.d_hidden.defined());
  const auto plain = next_token_loss(model, batch, hidden, 1, false);
  EXPECT_NEAR(part.cross_entropy, plain.loss.sum, 1e-6 * plain.loss.sum);
  EXPECT_NEAR(part.weight, plain.loss.weight, 1e-6);
  config.cross_entropy = 0;
  config.kl = 1;
  EXPECT_EQ(distill_loss(teacher, config, model, batch, hidden, 1, true).d_hidden.abs().max().item<double>(),
            0.0);
}

TEST(DistillLoss, EqualsAutogradOverWholeLogits) {
  for (const double tau : {1.0, 2.0})
    for (const double a : {0.0, 0.3, 1.0}) {
      Decoder student = random_decoder(test::tiny_model_config(), Dtype::kFp32, 1, 0.2);
      const Decoder teacher = random_decoder(test::tiny_model_config(), Dtype::kFp32, 2, 0.2);
      make_trainable(student);
      const Batch batch = long_batch();
      ASSERT_GT(batch.size(), kHeadChunk);
      const at::Tensor hidden = forward(student, batch);
      const DistillLossConfig config{a, 1 - a, tau};
      const double scale = 0.01;
      const auto part = distill_loss(teacher, config, student, batch, hidden, scale, true);

      const Targets targets = next_token_targets(batch);
      const at::Tensor h = hidden.detach().to(at::kDouble).requires_grad_();
      const at::Tensor w = student.head().value.detach().to(at::kDouble).requires_grad_();
      const at::Tensor s = at::matmul(h, w.t());
      const at::Tensor t =
          at::matmul(forward(teacher, batch).to(at::kDouble), teacher.head().value.to(at::kDouble).t());
      const at::Tensor p = at::softmax(t / tau, 1);
      const at::Tensor kl = (p * (p.log() - at::log_softmax(s / tau, 1))).sum(1) * (tau * tau);
      const at::Tensor ce =
          -at::log_softmax(s, 1).gather(1, targets.targets.clamp_min(0).unsqueeze(1)).squeeze(1);
      const at::Tensor sum = ((a * ce + (1 - a) * kl) * targets.weights).sum();
      (sum * scale).backward();
      const double expected = sum.item<double>();
      EXPECT_NEAR(part.sum, expected, 1e-5 * expected);
      const auto near = [](const at::Tensor& x, const at::Tensor& y) {
        return (x.to(at::kDouble) - y).norm().item<double>() <= 1e-5 * y.norm().item<double>();
      };
      EXPECT_TRUE(near(part.d_hidden, h.grad()));
      EXPECT_TRUE(near(student.head().grad, w.grad()));
    }
}

TEST(DistillLoss, TrainsAStudentTowardsItsTeacher) {
  const Decoder teacher = random_decoder(test::tiny_model_config(), Dtype::kFp32, 2, 0.2);
  Decoder student = keep_layers(teacher, {1});
  make_trainable(student);
  DistillLossConfig config{0, 1, 1};
  const Objective objective = [&](Decoder& model, const Batch& batch, const at::Tensor& hidden, double scale,
                                  bool gradients) {
    DistillPart part = distill_loss(teacher, config, model, batch, hidden, scale, gradients);
    return ObjectiveResult{{part.sum, part.weight, part.d_hidden}, {{"kl", part.kl}}};
  };
  TrainConfig train_config = test::tiny_config();
  train_config.steps = 60;
  train_config.checkpoint_every = 0;
  const auto result = train(student, student.parameters(), test::tiny_batches(), objective, train_config,
                            test::scratch_folder());
  EXPECT_LT(result.last_loss, 0.5 * result.first_loss);
}

TEST(DistillLoss, RefusesAnotherVocabularyAndBadSettings) {
  Decoder student = random_decoder(test::tiny_model_config(), Dtype::kFp32, 1);
  ModelConfig wide = test::tiny_model_config();
  wide.vocab_size = 72;
  const Decoder teacher = random_decoder(wide, Dtype::kFp32, 1);
  const Batch batch = make_batch({{1, 2, 3}});
  EXPECT_ERROR(distill_loss(teacher, {}, student, batch, forward(student, batch), 1, true),
               "the teacher's vocabulary has 72 tokens, the student's 64");
  const Setting section;
  const Place place(&section, "distill.loss");
  EXPECT_ERROR((DistillLossConfig{0, 0, 1}.validate(place)), "must not both be 0");
  EXPECT_ERROR((DistillLossConfig{1, 1, 0}.validate(place)), "must be above 0, found 0");
}

}  // namespace
}  // namespace decant
