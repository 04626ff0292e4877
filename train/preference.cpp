#include "train/preference.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <numeric>

#include "core/file.h"
#include "core/hash.h"
#include "core/log.h"
#include "core/tensor_file.h"
#include "data_pipeline/shard.h"

namespace decant {

namespace fs = std::filesystem;

namespace {

size_t documents_of(const Batch& batch) { return static_cast<size_t>(batch.document_starts.numel() - 1); }

DocumentRole role_of(const Batch& batch, size_t document) {
  if (!batch.document_role.defined()) return DocumentRole::kPlain;
  return static_cast<DocumentRole>(batch.document_role.const_data_ptr<uint8_t>()[document]);
}

bool is_pair(const Batch& batch, size_t document) {
  return batch.document_pair.defined() && batch.document_pair.const_data_ptr<int64_t>()[document] >= 0 &&
         role_of(batch, document) == DocumentRole::kChosen;
}

// Sums of row values over the documents.
template <class T>
std::vector<double> over_documents(const Batch& batch, const T* values) {
  std::vector<double> sums(documents_of(batch));
  const auto* starts = batch.document_starts.const_data_ptr<int32_t>();
  for (size_t d = 0; d < sums.size(); ++d)
    for (int32_t t = starts[d]; t < starts[d + 1]; ++t) sums[d] += static_cast<double>(values[t]);
  return sums;
}

std::vector<double> document_weights(const Batch& batch) {
  const auto weights = next_token_targets(batch).weights.to(at::kCPU).contiguous();
  return over_documents(batch, weights.const_data_ptr<float>());
}

double log_sigmoid(double x) { return x < 0 ? x - std::log1p(std::exp(x)) : -std::log1p(std::exp(-x)); }
double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

uint64_t digest_of(const Batch& batch, size_t document) {
  const auto* starts = batch.document_starts.const_data_ptr<int32_t>();
  const auto slice = [&](const at::Tensor& x) {
    const auto part = x.slice(0, starts[document], starts[document + 1]).contiguous();
    return std::string(static_cast<const char*>(part.const_data_ptr()), part.nbytes());
  };
  return xxh3_64(slice(batch.tokens) + slice(batch.loss_weight));
}

// Adapters off while it lives. The terms stay where they are in memory: an optimizer points into them.
class WithoutTerms {
 public:
  explicit WithoutTerms(Decoder& model) : model_(model), linears_(model.linears()) {
    for (Linear* linear : linears_) terms_.push_back(std::exchange(linear->terms, {}));
    if (model.token_rows) model.token_rows->shown = false;
  }
  ~WithoutTerms() {
    for (size_t i = 0; i < linears_.size(); ++i) linears_[i]->terms = std::move(terms_[i]);
    if (model_.token_rows) model_.token_rows->shown = true;
  }
  WithoutTerms(const WithoutTerms&) = delete;
  WithoutTerms& operator=(const WithoutTerms&) = delete;

 private:
  Decoder& model_;
  std::vector<Linear*> linears_;
  std::vector<std::vector<LowRankTerm>> terms_;
};

// Each document's question with the next document's answer, as trl makes its KL data: what the model says of
// answers to other questions.
std::vector<Batch> mismatched(const std::vector<Batch>& batches) {
  struct Document {
    std::vector<int64_t> question, answer;
    std::vector<float> weights;
  };
  std::vector<Document> documents;
  for (const Batch& batch : batches) {
    const auto* tokens = batch.tokens.const_data_ptr<int64_t>();
    const auto* weights = batch.loss_weight.const_data_ptr<float>();
    const auto* starts = batch.document_starts.const_data_ptr<int32_t>();
    for (size_t d = 0; d < documents_of(batch); ++d) {
      if (role_of(batch, d) == DocumentRole::kPlain) continue;
      const auto first = static_cast<int32_t>(
          std::find_if(weights + starts[d], weights + starts[d + 1], [](float w) { return w > 0; }) -
          weights);
      documents.push_back({{tokens + starts[d], tokens + first},
                           {tokens + first, tokens + starts[d + 1]},
                           {weights + first, weights + starts[d + 1]}});
    }
  }
  std::vector<Batch> result;
  if (documents.size() < 2) return result;
  for (size_t d = 0; d < documents.size(); ++d) {
    const Document& other = documents[(d + 1) % documents.size()];
    if (documents[d].question.empty() || other.answer.empty()) continue;
    auto ids = documents[d].question;
    std::vector<float> weights(ids.size(), 0.0F);
    ids.insert(ids.end(), other.answer.begin(), other.answer.end());
    weights.insert(weights.end(), other.weights.begin(), other.weights.end());
    result.push_back(make_batch({ids}, {weights}));
  }
  return result;
}

// mean(policy - reference) over the mismatched documents, not below 0.
double divergence_estimate(const std::vector<Batch>& batches, const Reference& policy,
                           const Reference& reference) {
  double sum = 0;
  int64_t count = 0;
  for (const Batch& batch : mismatched(batches)) {
    sum += policy(batch).at(0) - reference(batch).at(0);
    ++count;
  }
  return count == 0 ? 0 : std::max(0.0, sum / static_cast<double>(count));
}

// A document's coefficient: d loss / d log p of the document.
struct Coefficients {
  std::vector<double> of;
  double loss = 0;
  std::vector<std::pair<std::string, double>> parts;
};

struct Rewards {
  double chosen = 0, rejected = 0, margin = 0, accuracy = 0;
};

// One pair: log-probabilities of policy and reference, weights of the answers.
struct Pair {
  double chosen, rejected, reference_chosen, reference_rejected, chosen_weight, rejected_weight;
};
struct PairLoss {
  double loss, d_chosen, d_rejected;
};

PairLoss dpo(const PreferenceConfig& c, const Pair& p) {
  if (c.loss == DpoLoss::kIpo) {
    const double h = (p.chosen - p.reference_chosen) / p.chosen_weight -
                     (p.rejected - p.reference_rejected) / p.rejected_weight;
    const double off = h - 1 / (2 * c.beta);
    return {off * off, 2 * off / p.chosen_weight, -2 * off / p.rejected_weight};
  }
  const double h = c.beta * (p.chosen - p.reference_chosen - (p.rejected - p.reference_rejected));
  if (c.loss == DpoLoss::kHinge) {
    const double slope = h < 1 ? -c.beta : 0;
    return {std::max(0.0, 1 - h), slope, -slope};
  }
  const double s = c.label_smoothing;
  if (c.loss == DpoLoss::kRobust) {
    const double d = c.beta * (-(1 - s) * sigmoid(-h) - s * sigmoid(h)) / (1 - 2 * s);
    return {(-(1 - s) * log_sigmoid(h) + s * log_sigmoid(-h)) / (1 - 2 * s), d, -d};
  }
  const double d = c.beta * (-(1 - s) * sigmoid(-h) + s * sigmoid(h));
  return {-(1 - s) * log_sigmoid(h) - s * log_sigmoid(-h), d, -d};
}

// -beta log sigmoid(log odds of chosen - log odds of rejected), of mean log-probabilities l: log odds = l -
// log(1 - exp(l)), whose derivative is 1 / (1 - exp(l)).
PairLoss orpo(const PreferenceConfig& c, const Pair& p, double* log_odds) {
  const double tiny = -1e-12;  // a probability of 1 has no odds
  const double w = std::min(p.chosen / p.chosen_weight, tiny),
               l = std::min(p.rejected / p.rejected_weight, tiny);
  *log_odds = w - l - (std::log(-std::expm1(w)) - std::log(-std::expm1(l)));
  const double d = -c.beta * sigmoid(-*log_odds);
  return {-c.beta * log_sigmoid(*log_odds), d / -std::expm1(w) / p.chosen_weight,
          -d / -std::expm1(l) / p.rejected_weight};
}

Coefficients of_pairs(const TrainConfig& config, const Batch& batch, const std::vector<double>& policy) {
  const PreferenceConfig& c = config.preference;
  const PreferenceTerms& step = *batch.preference;
  const auto weights = document_weights(batch);
  const bool odds = config.objective == ObjectiveKind::kOrpo;
  const double likelihood = odds ? 1 : c.likelihood_weight;
  Coefficients result{std::vector<double>(policy.size()), 0, {}};
  Rewards rewards;
  double nats = 0, all_odds = 0;
  for (size_t d = 0; d < policy.size(); ++d) {
    if (!is_pair(batch, d)) continue;
    const Pair pair{policy[d],  policy[d + 1], odds ? 0 : step.reference[d], odds ? 0 : step.reference[d + 1],
                    weights[d], weights[d + 1]};
    double log_odds = 0;
    const PairLoss one = odds ? orpo(c, pair, &log_odds) : dpo(c, pair);
    result.loss += one.loss / step.pairs;
    result.of[d] += one.d_chosen / step.pairs - likelihood / step.chosen_weight;
    result.of[d + 1] += one.d_rejected / step.pairs;
    nats -= pair.chosen / step.chosen_weight;
    all_odds += log_odds / step.pairs;
    const double chosen =
        odds ? c.beta * pair.chosen / pair.chosen_weight : c.beta * (pair.chosen - pair.reference_chosen);
    const double rejected = odds ? c.beta * pair.rejected / pair.rejected_weight
                                 : c.beta * (pair.rejected - pair.reference_rejected);
    rewards.chosen += chosen / step.pairs;
    rewards.rejected += rejected / step.pairs;
    rewards.margin += (chosen - rejected) / step.pairs;
    rewards.accuracy += (chosen > rejected ? 1 : 0) / step.pairs;
  }
  if (likelihood > 0) result.loss += likelihood * nats;
  result.parts = {{"rewards_chosen", rewards.chosen},
                  {"rewards_rejected", rewards.rejected},
                  {"reward_margin", rewards.margin},
                  {"reward_accuracy", rewards.accuracy}};
  if (likelihood > 0) result.parts.emplace_back("likelihood", nats);
  if (odds) result.parts.emplace_back("log_odds", all_odds);
  return result;
}

// 1 - sigmoid(beta (r - kl)) of wanted answers, 1 - sigmoid(beta (kl - r)) of the others.
Coefficients of_documents(const PreferenceConfig& c, const Batch& batch, const std::vector<double>& policy) {
  const PreferenceTerms& step = *batch.preference;
  Coefficients result{std::vector<double>(policy.size()), 0, {}};
  Rewards rewards;
  double part_of_kl = 0;
  for (size_t d = 0; d < policy.size(); ++d) {
    const DocumentRole role = role_of(batch, d);
    if (role == DocumentRole::kPlain) continue;
    const bool wanted = role == DocumentRole::kChosen;
    const double ratio = policy[d] - step.reference[d];
    const double weight = (wanted ? c.desirable_weight : c.undesirable_weight) / step.judged;
    const double s = sigmoid((wanted ? 1 : -1) * c.beta * (ratio - step.divergence));
    result.loss += weight * (1 - s);
    result.of[d] = (wanted ? -1 : 1) * weight * c.beta * s * (1 - s);
    if (wanted && step.wanted > 0) rewards.chosen += c.beta * ratio / step.wanted;
    if (!wanted && step.judged > step.wanted)
      rewards.rejected += c.beta * ratio / (step.judged - step.wanted);
    part_of_kl += step.divergence / step.judged;
  }
  result.parts = {{"rewards_chosen", rewards.chosen},
                  {"rewards_rejected", rewards.rejected},
                  {"reward_margin", rewards.chosen - rewards.rejected},
                  {"kl", part_of_kl}};
  return result;
}

ObjectiveResult preference_loss(const TrainConfig& config, Decoder& model, const Batch& batch,
                                const at::Tensor& hidden, double scale, bool gradients) {
  TORCH_INTERNAL_ASSERT(batch.preference != nullptr, "a preference loss needs with_references()");
  const auto policy = document_log_probabilities(model, batch, hidden);
  const Coefficients c = config.objective == ObjectiveKind::kKto
                             ? of_documents(config.preference, batch, policy)
                             : of_pairs(config, batch, policy);
  ObjectiveResult result;
  // The caller multiplies sums by 1 / weight of the step; these are means over the step already.
  const double back = batch.preference->weight;
  if (gradients) {
    const Targets next = next_token_targets(batch);
    auto weights = next.weights.to(at::kCPU, at::kFloat, false, true).contiguous();
    const auto* starts = batch.document_starts.const_data_ptr<int32_t>();
    auto* w = weights.mutable_data_ptr<float>();
    for (size_t d = 0; d < c.of.size(); ++d)
      for (int32_t t = starts[d]; t < starts[d + 1]; ++t) w[t] *= static_cast<float>(-c.of[d]);
    result.loss = head_cross_entropy(hidden, model.head(), next.targets, weights.to(hidden.device()),
                                     scale * back, true);
  }
  result.loss.sum = c.loss * back;
  result.loss.weight = batch.total_weight();
  for (const auto& [name, value] : c.parts) result.parts.emplace_back(name, value * back);
  return result;
}

}  // namespace

std::vector<double> document_log_probabilities(const Decoder& model, const Batch& batch,
                                               const at::Tensor& hidden) {
  const c10::NoGradGuard no_grad;
  const Targets next = next_token_targets(batch);
  const auto log_p = head_log_probabilities(hidden, model.head().value, next.targets, next.weights);
  const auto weighted = (log_p * next.weights).to(at::kCPU).contiguous();
  return weighted.scalar_type() == at::kDouble ? over_documents(batch, weighted.const_data_ptr<double>())
                                               : over_documents(batch, weighted.const_data_ptr<float>());
}

Reference model_as_policy(Decoder& model) {
  return [&model](const Batch& batch) {
    return document_log_probabilities(model, batch, forward(model, batch));
  };
}

Reference base_as_reference(Decoder& model) {
  return [&model](const Batch& batch) {
    const WithoutTerms off(model);
    return document_log_probabilities(model, batch, forward(model, batch));
  };
}

Reference stored_reference(Decoder& model, const StepBatches& batches, const fs::path& file) {
  auto known = std::make_shared<std::map<int64_t, double>>();
  if (fs::exists(file)) {
    const TensorFile stored(file);
    const at::Tensor keys = stored.load("documents").contiguous(),
                     values = stored.load("log_probabilities").contiguous();
    check(keys.scalar_type() == at::kLong && values.scalar_type() == at::kDouble &&
              keys.sizes() == values.sizes() && keys.dim() == 1,
          file.string(),
          ": expected documents i64 [N] and log_probabilities f64 [N]; remove it to measure anew");
    for (int64_t i = 0; i < keys.numel(); ++i)
      known->emplace(keys.const_data_ptr<int64_t>()[i], values.const_data_ptr<double>()[i]);
  } else {
    log_info("train: measuring what the model says of every answer before it changes");
    for (int64_t step = 0; step < batches.steps_per_epoch; ++step)
      for (const Batch& batch : batches.step(step)) {
        const auto values = model_as_policy(model)(batch);
        for (size_t d = 0; d < values.size(); ++d)
          known->emplace(static_cast<int64_t>(digest_of(batch, d)), values[d]);
      }
    std::vector<int64_t> keys;
    std::vector<double> values;
    for (const auto& [key, value] : *known) {
      keys.push_back(key);
      values.push_back(value);
    }
    fs::create_directories(file.parent_path());
    write_tensors(file, {{"documents", at::tensor(keys, at::kLong)},
                         {"log_probabilities", at::tensor(values, at::kDouble)}});
  }
  return [known, file](const Batch& batch) {
    std::vector<double> values;
    for (size_t d = 0; d < documents_of(batch); ++d) {
      const auto found = known->find(static_cast<int64_t>(digest_of(batch, d)));
      check(found != known->end(), file.string(),
            ": has no measurement of a document of this corpus; remove it and start the step anew");
      values.push_back(found->second);
    }
    return values;
  };
}

StepBatches with_references(StepBatches batches, const TrainConfig& config, Reference reference,
                            Reference policy) {
  const ObjectiveKind kind = config.objective;
  if (kind == ObjectiveKind::kSft) return batches;
  batches.step = [inner = batches.step, kind, reference = std::move(reference),
                  policy = std::move(policy)](int64_t number) {
    auto micro = inner(number);
    PreferenceTerms step;
    for (const Batch& batch : micro) {
      step.weight += batch.total_weight();
      const auto weights = document_weights(batch);
      for (size_t d = 0; d < documents_of(batch); ++d) {
        const DocumentRole role = role_of(batch, d);
        if (role != DocumentRole::kPlain) step.judged += 1;
        if (role == DocumentRole::kChosen) step.wanted += 1;
        if (!is_pair(batch, d)) continue;
        check(d + 1 < documents_of(batch) && weights[d] > 0 && weights[d + 1] > 0, "train: step ", number + 1,
              ": an answer of a pair has no token with a loss weight");
        step.pairs += 1;
        step.chosen_weight += weights[d];
      }
    }
    check(kind == ObjectiveKind::kKto ? step.judged > 0 : step.pairs > 0, "train: step ", number + 1,
          ": has no ", kind == ObjectiveKind::kKto ? "judged answer" : "pair of answers",
          ", which the objective compares; raise batch.tokens_per_step, or leave plain conversations out");
    if (kind == ObjectiveKind::kKto) step.divergence = divergence_estimate(micro, policy, reference);
    for (Batch& batch : micro) {
      step.reference = kind == ObjectiveKind::kOrpo ? std::vector<double>() : reference(batch);
      batch.preference = std::make_shared<const PreferenceTerms>(step);
    }
    return micro;
  };
  return batches;
}

Objective make_objective(const TrainConfig& config) {
  if (config.objective == ObjectiveKind::kSft) return next_token_loss;
  return [config](Decoder& model, const Batch& batch, const at::Tensor& hidden, double scale,
                  bool gradients) { return preference_loss(config, model, batch, hidden, scale, gradients); };
}

}  // namespace decant
