// Preference losses: values and gradients against trl's formulas
// (conformance/golden/train/*/dpo.safetensors), against differences of the losses, and whatever the split
// into micro-batches.
#include "train/preference.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "core/adapter_file.h"
#include "lora/attach.h"
#include "tests/support/expect_error.h"
#include "tests/train/tiny_training.h"
#include "tests/train/training_golden.h"

namespace decant {
namespace {

// Pairs of documents: 2 i chosen, 2 i + 1 rejected.
void mark_pairs(Batch& batch, int64_t first_pair = 0) {
  const int64_t n = batch.document_starts.numel() - 1;
  batch.document_role = (at::arange(n) % 2 + 1).to(at::kByte);
  batch.document_pair = at::div(at::arange(n), 2, "floor") + first_pair;
}

StepBatches one_step(std::vector<Batch> micro) {
  StepBatches batches;
  batches.steps_per_epoch = 1;
  batches.step = [micro = std::move(micro)](int64_t) { return micro; };
  return batches;
}

struct Step {
  double loss = 0;
  std::map<std::string, double> parts;
};

// The loss of a step, with gradients added to what trains.
Step run(Decoder& model, const TrainConfig& config, const std::vector<Batch>& micro, bool gradients = true) {
  const auto batches =
      with_references(one_step(micro), config, base_as_reference(model), model_as_policy(model)).step(0);
  const Objective objective = make_objective(config);
  double weight = 0;
  for (const Batch& batch : batches) weight += batch.total_weight();
  Step step;
  for (const Batch& batch : batches) {
    Saved saved;
    const at::Tensor hidden = forward(model, batch, &saved);
    const ObjectiveResult result = objective(model, batch, hidden, 1 / weight, gradients);
    step.loss += result.loss.sum / weight;
    for (const auto& [name, value] : result.parts) step.parts[name] += value / weight;
    if (gradients) backward(model, batch, saved, result.loss.d_hidden);
  }
  return step;
}

struct GoldenPairs {
  Decoder model;  // with the adapter that trains
  Batch batch;    // three pairs
};

GoldenPairs golden_pairs(const std::string& name, double b_factor = 1) {
  const auto folder = test::golden_folder() / "train" / name;
  const TensorFile golden(folder / "dpo.safetensors");
  GoldenPairs made{load_model(test::golden_folder() / "models" / name, Dtype::kFp32), {}};
  Adapter adapter = read_adapter(folder / "adapter_lora");
  for (auto& m : adapter.modules) m.lora_b.mul_(b_factor);
  LoraConfig lora;
  lora.rank = 8;
  lora.rslora = false;
  attach_lora(made.model, lora, &adapter);
  const at::Tensor ids = golden.load("input_ids"), attended = golden.load("attention_mask"),
                   answers = golden.load("completion_mask");
  std::vector<std::vector<int64_t>> documents;
  std::vector<std::vector<float>> weights;
  for (int64_t pair = 0; pair < 3; ++pair)
    for (const int64_t row : {pair, pair + 3}) {
      auto& document = documents.emplace_back();
      auto& weight = weights.emplace_back();
      for (int64_t t = 0; t < ids.size(1); ++t) {
        if (attended[row][t].item<int64_t>() == 0) continue;
        document.push_back(ids[row][t].item<int64_t>());
        weight.push_back(!weight.empty() && answers[row][t].item<int64_t>() != 0 ? 1.0F : 0.0F);
      }
    }
  made.batch = make_batch(documents, weights);
  mark_pairs(made.batch);
  return made;
}

class GoldenDpo : public ::testing::TestWithParam<const char*> {};

TEST_P(GoldenDpo, LossesRewardsAndGradientsEqualTrl) {
  DECANT_NEEDS_SHARED("conformance/golden/train");
  const auto folder = test::golden_folder() / "train" / GetParam();
  const TensorFile golden(folder / "dpo.safetensors");
  GoldenPairs pairs = golden_pairs(GetParam());
  Decoder& model = pairs.model;
  const Batch& batch = pairs.batch;
  TrainConfig config;
  config.objective = ObjectiveKind::kDpo;
  const Step step = run(model, config, {batch});
  EXPECT_NEAR(step.loss, golden.load("loss").item<double>(), 2e-5);
  EXPECT_NEAR(step.parts.at("reward_accuracy"), golden.load("accuracy").item<double>(), 1e-6);
  EXPECT_NEAR(step.parts.at("reward_margin"), golden.load("margins").mean().item<double>(), 2e-5);
  EXPECT_NEAR(step.parts.at("rewards_chosen"), golden.load("chosen_rewards").mean().item<double>(), 2e-5);
  int seen = 0;
  for (const Parameter* p : model.adapter_parameters()) {
    const at::Tensor expected = golden.load("grad." + p->name);
    EXPECT_LE((p->grad - expected).norm().item<double>(), 2e-4 * expected.norm().item<double>()) << p->name;
    ++seen;
  }
  EXPECT_EQ(seen, 28);
  const auto loss = [&](DpoLoss kind, double smoothing) {
    config.preference.loss = kind;
    config.preference.label_smoothing = smoothing;
    return run(model, config, {batch}, false).loss;
  };
  EXPECT_NEAR(loss(DpoLoss::kIpo, 0), golden.load("loss_ipo").item<double>(), 1e-4);
  EXPECT_NEAR(loss(DpoLoss::kHinge, 0), golden.load("loss_hinge").item<double>(), 2e-5);
  EXPECT_NEAR(loss(DpoLoss::kRobust, 0.1), golden.load("loss_robust_ls0.1").item<double>(), 2e-5);
}

INSTANTIATE_TEST_SUITE_P(Models, GoldenDpo, ::testing::Values("llama_tied", "qwen2"),
                         [](const auto& info) { return std::string(info.param); });

// Loss and gradients of trl's ORPO and KTO (tests/golden/make_preference.py).
TEST(GoldenPreference, OrpoAndKtoEqualTrl) {
  DECANT_NEEDS_SHARED("conformance/golden/train");
  const Json golden = read_json("tests/golden/preference.json");
  for (const auto& [kind, name] : {std::pair{ObjectiveKind::kOrpo, "orpo"}, {ObjectiveKind::kKto, "kto"}}) {
    const Json& expected = golden[name];
    auto [model, batch] = golden_pairs("llama_tied", golden["b_factor"].get<double>());
    TrainConfig config;
    config.objective = kind;
    config.preference.beta = golden["beta"].get<double>();
    config.preference.undesirable_weight = golden["undesirable"].get<double>();
    const Step step = run(model, config, {batch});
    EXPECT_NEAR(step.loss, expected["loss"].get<double>(), 2e-5) << name;
    for (const char* part : {"rewards_chosen", "rewards_rejected", "likelihood", "log_odds", "kl"})
      if (expected.contains(part)) {
        EXPECT_NEAR(step.parts.at(part), expected[part].get<double>(), 2e-5) << name << " " << part;
      }
    if (kind == ObjectiveKind::kKto) {
      EXPECT_GT(expected["kl"].get<double>(), 0);
    }
    int seen = 0;
    for (const Parameter* p : model.adapter_parameters()) {
      const Json& gradient = expected["gradients"][p->name];
      const double norm = gradient["norm"].get<double>();
      EXPECT_NEAR(p->grad.norm().item<double>(), norm, 2e-4 * norm) << name << " " << p->name;
      for (int64_t i = 0; i < 4; ++i)
        EXPECT_NEAR(p->grad.flatten()[i].item<double>(),
                    gradient["first"][static_cast<size_t>(i)].get<double>(), 2e-4 * norm)
            << name << " " << p->name;
      ++seen;
    }
    EXPECT_EQ(seen, 28);
  }
}

// Six documents with answers of different lengths.
std::vector<std::vector<int64_t>> documents() {
  std::vector<std::vector<int64_t>> all;
  for (uint64_t d = 0; d < 6; ++d) {
    auto& one = all.emplace_back();
    for (uint64_t t = 0; t < 7 + 2 * d; ++t)
      one.push_back(static_cast<int64_t>(64 * uniform(11, purpose_stream(Purpose::kTest, d), t)));
  }
  return all;
}

std::vector<Batch> batches_of(size_t documents_per_batch) {
  const auto all = documents();
  std::vector<Batch> result;
  for (size_t begin = 0; begin < all.size(); begin += documents_per_batch) {
    const std::vector<std::vector<int64_t>> part(
        all.begin() + static_cast<std::ptrdiff_t>(begin),
        all.begin() + static_cast<std::ptrdiff_t>(begin + documents_per_batch));
    std::vector<std::vector<float>> weights;
    for (const auto& one : part) {
      auto& w = weights.emplace_back(one.size(), 1.0F);
      std::fill(w.begin(), w.begin() + 4, 0.0F);
    }
    mark_pairs(result.emplace_back(make_batch(part, weights)), static_cast<int64_t>(begin / 2));
  }
  return result;
}

Decoder adapted() {
  Decoder model = random_decoder(test::tiny_model_config(), Dtype::kFp32, 3, 0.2);
  LoraConfig lora;
  lora.rank = 4;
  attach_lora(model, lora);
  for (Linear* linear : model.linears())
    linear->terms[0].lora_b.value.copy_(
        at::sin(at::arange(0, linear->terms[0].lora_b.value.numel(), at::kFloat) * 1.7)
            .mul_(0.1)
            .reshape(linear->terms[0].lora_b.value.sizes()));
  return model;
}

std::vector<TrainConfig> every_loss() {
  std::vector<TrainConfig> all;
  const auto add = [&](ObjectiveKind kind) -> PreferenceConfig& {
    auto& config = all.emplace_back();
    config.objective = kind;
    config.preference.beta = 0.3;
    return config.preference;
  };
  add(ObjectiveKind::kDpo).label_smoothing = 0.1;
  add(ObjectiveKind::kDpo).likelihood_weight = 0.5;
  add(ObjectiveKind::kDpo).loss = DpoLoss::kIpo;
  add(ObjectiveKind::kDpo).loss = DpoLoss::kHinge;
  auto& robust = add(ObjectiveKind::kDpo);
  robust.loss = DpoLoss::kRobust;
  robust.label_smoothing = 0.2;
  add(ObjectiveKind::kOrpo);
  add(ObjectiveKind::kKto).undesirable_weight = 1.5;
  return all;
}

TEST(Preference, TheSplitIntoMicroBatchesDoesNotMatter) {
  size_t seen = 0;
  for (const auto& config : every_loss()) {
    Decoder whole = adapted(), split = adapted();
    const Step a = run(whole, config, batches_of(6)), b = run(split, config, batches_of(2));
    EXPECT_NEAR(a.loss, b.loss, 1e-6) << seen;
    for (const auto& [name, value] : a.parts) EXPECT_NEAR(value, b.parts.at(name), 1e-5) << name;
    const auto pa = whole.adapter_parameters(), pb = split.adapter_parameters();
    for (size_t i = 0; i < pa.size(); ++i)
      EXPECT_LE((pa[i]->grad - pb[i]->grad).norm().item<double>(),
                1e-4 * pa[i]->grad.norm().item<double>() + 1e-7)
          << pa[i]->name;
    ++seen;
  }
  EXPECT_EQ(seen, 7U);
}

// d loss along the gradient, by differences: fp32, so in a direction in which much changes.
TEST(Preference, GradientsAreTheLossesSlopes) {
  size_t seen = 0;
  for (auto config : every_loss()) {
    Decoder model = adapted();
    const auto micro = batches_of(6);
    double divergence = 0;
    if (config.objective == ObjectiveKind::kKto)  // a constant of the step, so that it must not move here
      config.preference.beta = 0.05;
    divergence = run(model, config, micro).parts["kl"];
    const auto parameters = model.adapter_parameters();
    double square = 0;
    std::vector<at::Tensor> gradients, values;
    for (const Parameter* p : parameters) {
      gradients.push_back(p->grad.clone());
      values.push_back(p->value.clone());
      square += p->grad.to(at::kDouble).square().sum().item<double>();
    }
    ASSERT_GT(square, 0);
    const auto at_distance = [&](double distance) {
      for (size_t i = 0; i < parameters.size(); ++i)
        parameters[i]->value.copy_(values[i] + gradients[i] * (distance / std::sqrt(square)));
      // KTO's divergence is that of the middle.
      auto batches =
          with_references(one_step(micro), config, base_as_reference(model), model_as_policy(model)).step(0);
      double loss = 0, weight = 0;
      for (auto& batch : batches) {
        auto terms = *batch.preference;
        terms.divergence = divergence;
        batch.preference = std::make_shared<const PreferenceTerms>(terms);
        weight += batch.total_weight();
      }
      for (const auto& batch : batches)
        loss +=
            make_objective(config)(model, batch, forward(model, batch), 1 / weight, false).loss.sum / weight;
      return loss;
    };
    const double step = 0.01, slope = (at_distance(step) - at_distance(-step)) / (2 * step);
    EXPECT_NEAR(slope / std::sqrt(square), 1, 0.02) << seen;
    ++seen;
  }
  EXPECT_EQ(seen, 7U);
}

// The losses as functions of the hidden states and the head, in float64 and element by element; among the
// answers is one of a single token.
TEST(Preference, GradientsAreTheLossDifferencesInFloat64) {
  auto json = Json::parse(R"({"model_type": "llama", "vocab_size": 11, "hidden_size": 6,
    "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1,
    "max_position_embeddings": 64, "tie_word_embeddings": true})");
  std::vector<std::vector<int64_t>> ids;
  std::vector<std::vector<float>> weights;
  for (const size_t answer : {4U, 1U, 2U, 5U, 3U, 3U}) {  // three pairs
    auto& one = ids.emplace_back();
    for (uint64_t t = 0; t < 2 + answer; ++t)
      one.push_back(static_cast<int64_t>(11 * uniform(12, purpose_stream(Purpose::kTest, ids.size()), t)));
    auto& weight = weights.emplace_back(one.size(), 1.0F);
    weight[0] = weight[1] = 0;
    weight.back() = 0.5F;
  }
  Batch given = make_batch(ids, weights);
  mark_pairs(given);
  size_t seen = 0;
  for (const auto& config : every_loss()) {
    Decoder model = random_decoder(parse_model_config(json, "tiny"), Dtype::kFp32, 5, 0.4);
    auto& head = model.embed_tokens;
    head.value = head.value.to(at::kDouble);
    head.grad = at::zeros_like(head.value);
    head.trainable = true;
    const at::Tensor hidden =
        at::sin(at::arange(given.size() * 6, at::kDouble) * 0.71).view({given.size(), 6}) * 2;
    // A reference that differs from the policy, and a divergence that is a constant of the step.
    const auto nothing = [](const Batch& one) {
      return std::vector<double>(static_cast<size_t>(one.document_starts.numel() - 1));
    };
    const Reference reference = [&](const Batch& one) {
      if (one.size() != given.size()) return nothing(one);  // KTO's answers to other questions
      auto values = document_log_probabilities(model, one, hidden);
      for (size_t d = 0; d < values.size(); ++d) values[d] += 0.4 * std::sin(1.0 + static_cast<double>(d));
      return values;
    };
    Batch batch = with_references(one_step({given}), config, reference, nothing).step(0).at(0);
    auto terms = *batch.preference;
    if (config.objective == ObjectiveKind::kKto) terms.divergence = 0.2;
    batch.preference = std::make_shared<const PreferenceTerms>(terms);
    const double scale = 1 / batch.total_weight();
    const Objective objective = make_objective(config);
    const auto loss = [&] { return objective(model, batch, hidden, scale, false).loss.sum * scale; };
    const at::Tensor d_hidden = objective(model, batch, hidden, scale, true).loss.d_hidden;
    ASSERT_EQ(d_hidden.scalar_type(), at::kDouble);
    const auto expect_slopes = [&](const at::Tensor& x, const at::Tensor& gradient, const char* what) {
      const double size = gradient.abs().max().item<double>();
      ASSERT_GT(size, 0) << what;
      for (int64_t i = 0; i < x.numel(); ++i) {
        at::Tensor element = x.view(-1)[i];
        const double value = element.item<double>(), step = 1e-5;
        element.fill_(value + step);
        const double above = loss();
        element.fill_(value - step);
        const double below = loss();
        element.fill_(value);
        // Coefficients of tokens are fp32.
        EXPECT_NEAR(gradient.view(-1)[i].item<double>(), (above - below) / (2 * step), 3e-7 * size + 1e-9)
            << what << " " << i << " of loss " << seen;
      }
    };
    expect_slopes(hidden, d_hidden, "hidden");
    expect_slopes(head.value, head.grad, "head");
    ++seen;
  }
  EXPECT_EQ(seen, 7U);
}

TEST(Preference, AtTheStartNothingIsPreferred) {
  Decoder model = random_decoder(test::tiny_model_config(), Dtype::kFp32, 3, 0.2);
  attach_lora(model, {});
  TrainConfig config;
  config.objective = ObjectiveKind::kDpo;
  const Step step = run(model, config, batches_of(6));
  EXPECT_NEAR(step.loss, std::log(2.0), 1e-9);
  EXPECT_EQ(step.parts.at("reward_margin"), 0);
}

TEST(Preference, TrainingRaisesTheMarginAndResumesToTheSameBytes) {
  for (const ObjectiveKind kind : {ObjectiveKind::kDpo, ObjectiveKind::kOrpo, ObjectiveKind::kKto}) {
    const auto folder = test::scratch_folder();
    TrainConfig config = test::tiny_config();
    config.objective = kind;
    config.steps = 8;
    config.optimizer.average_decay = 0.5;
    config.noise_alpha = 1;
    const auto train_to = [&](const std::filesystem::path& where, int64_t stop) {
      Decoder model = adapted();
      auto batches =
          with_references(one_step(batches_of(2)), config, base_as_reference(model), model_as_policy(model));
      batches.step = [inner = batches.step, stop](int64_t step) {
        if (step == stop) fail("stopped");
        return inner(step);
      };
      train(model, model.adapter_parameters(), batches, make_objective(config), config, where);
      NamedTensors values;
      for (const Parameter* p : model.adapter_parameters()) values.emplace_back(p->name, p->value.clone());
      return values;
    };
    const auto whole = train_to(folder / "whole", -1);
    EXPECT_ERROR(train_to(folder / "stopped", 5), "stopped");
    const auto again = train_to(folder / "stopped", -1);
    for (size_t i = 0; i < whole.size(); ++i) EXPECT_TRUE(at::equal(whole[i].second, again[i].second));
    EXPECT_EQ(read_file(folder / "whole/metrics.jsonl"), read_file(folder / "stopped/metrics.jsonl"));
    const auto metrics = test::read_metrics(folder / "whole");
    EXPECT_GT(metrics.back()["reward_margin"].get<double>(), metrics.front()["reward_margin"].get<double>());
  }
}

TEST(Preference, AStoredReferenceIsTheModelBeforeItChanged) {
  const auto file = test::scratch_folder() / "reference.safetensors";
  Decoder model = random_decoder(test::tiny_model_config(), Dtype::kFp32, 3, 0.2);
  const StepBatches batches = one_step(batches_of(2));
  const auto micro = batches.step(0);
  const auto before = model_as_policy(model)(micro[1]);
  stored_reference(model, batches, file);
  model.norm.value.mul_(2);
  EXPECT_EQ(stored_reference(model, batches, file)(micro[1]), before);
  EXPECT_NE(model_as_policy(model)(micro[1]), before);
  Batch other = make_batch({{1, 2, 3}});
  EXPECT_ERROR(stored_reference(model, batches, file)(other), "has no measurement of a document");
}

TEST(Preference, RefusesStepsWithNothingToCompare) {
  Decoder model = adapted();
  TrainConfig config;
  config.objective = ObjectiveKind::kDpo;
  EXPECT_ERROR(run(model, config, {make_batch(documents())}), "has no pair of answers");
  config.objective = ObjectiveKind::kKto;
  EXPECT_ERROR(run(model, config, {make_batch(documents())}), "has no judged answer");
}

}  // namespace
}  // namespace decant
