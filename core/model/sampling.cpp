#include "core/model/sampling.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <set>

#include "core/error.h"

namespace decant {

void apply_repetition_penalty(std::span<float> scores, std::span<const int64_t> seen, double penalty) {
  const auto by = static_cast<float>(penalty);
  const std::set<int64_t> once(seen.begin(), seen.end());
  for (const auto token : once) {
    float& score = scores[static_cast<size_t>(token)];
    score = score < 0 ? score * by : score / by;
  }
}

std::vector<Candidate> kept_candidates(std::span<const float> scores, const SamplingConfig& sampling) {
  const auto temperature = static_cast<float>(sampling.temperature);
  std::vector<Candidate> kept(scores.size());
  for (size_t i = 0; i < scores.size(); ++i) kept[i] = {static_cast<int64_t>(i), scores[i] / temperature};

  // Top-k keeps everything that ties with the k-th.
  const auto k = static_cast<size_t>(sampling.top_k);
  if (k > 0 && k < kept.size()) {
    std::vector<float> order(kept.size());
    std::transform(kept.begin(), kept.end(), order.begin(), [](const Candidate& one) { return one.score; });
    std::nth_element(order.begin(), order.begin() + static_cast<int64_t>(k) - 1, order.end(),
                     std::greater<>());
    const float least = order[k - 1];
    std::erase_if(kept, [&](const Candidate& one) { return one.score < least; });
  }

  const auto greatest = [&] {
    return std::max_element(kept.begin(), kept.end(),
                            [](const Candidate& a, const Candidate& b) { return a.score < b.score; })
        ->score;
  };
  // Top-p keeps a token while those above it sum to less than p; the most likely one always stays. A heap,
  // since few are taken as a rule.
  if (sampling.top_p < 1) {
    const double most = greatest();
    double total = 0;
    for (const auto& one : kept) total += std::exp(one.score - most);
    const auto below = [](const Candidate& a, const Candidate& b) {
      return a.score < b.score || (a.score == b.score && a.token > b.token);
    };
    std::make_heap(kept.begin(), kept.end(), below);
    auto end = kept.end();
    std::vector<Candidate> taken;
    double above = 0;
    while (end != kept.begin() && (taken.empty() || above < sampling.top_p * total)) {
      std::pop_heap(kept.begin(), end, below);
      --end;
      taken.push_back(*end);
      above += std::exp(end->score - most);
    }
    kept = std::move(taken);
    std::sort(kept.begin(), kept.end(),
              [](const Candidate& a, const Candidate& b) { return a.token < b.token; });
  }

  if (sampling.min_p > 0) {
    const double most = greatest();
    std::erase_if(kept, [&](const Candidate& one) {
      return one.score < most && std::exp(one.score - most) < sampling.min_p;
    });
  }
  return kept;
}

int64_t draw(std::span<const Candidate> candidates, double uniform) {
  double most = -std::numeric_limits<double>::infinity();
  for (const auto& one : candidates) most = std::max<double>(most, one.score);
  double total = 0;
  for (const auto& one : candidates) total += std::exp(one.score - most);
  const double wanted = uniform * total;
  double sum = 0;
  int64_t last = candidates.front().token;
  for (const auto& one : candidates) {
    const double p = std::exp(one.score - most);
    if (p > 0) last = one.token;
    sum += p;
    if (sum > wanted) return one.token;
  }
  return last;  // rounding: the sum fell short of its own total
}

int64_t most_likely(std::span<const float> scores) {
  return std::max_element(scores.begin(), scores.end()) - scores.begin();
}

double log_sum_exp(std::span<const float> scores) {
  float most = -std::numeric_limits<float>::infinity();
  for (const float score : scores) {
    if (std::isnan(score)) fail("the model's logits are not numbers (NaN)");
    most = std::max(most, score);
  }
  check(std::isfinite(most), "the model's logits are not finite");
  double total = 0;
  for (const float score : scores) total += std::exp(static_cast<double>(score) - most);
  return most + std::log(total);
}

}  // namespace decant
