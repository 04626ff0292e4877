#include "train/rate_search.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace decant {

void RateSearchConfig::validate() const {
  check(std::isfinite(lowest) && lowest > 0, "--lowest: must be above 0, found ", lowest);
  check(std::isfinite(highest) && highest > lowest, "--highest: must be above --lowest (", lowest,
        "), found ", highest);
  check(steps >= 15 && steps <= 10000, "--steps: must lie in 15 .. 10000, found ", steps);
  TORCH_INTERNAL_ASSERT(smoothing >= 0 && smoothing < 1 && divergence > 1);
}

std::optional<double> steepest_rate(const std::vector<RatePoint>& points) {
  constexpr size_t kBegin = 10, kEnd = 1;
  std::optional<double> rate;
  double steepest = 0;
  // Central differences, one-sided at the ends, as numpy.gradient.
  const size_t first = kBegin, end = points.size() > kEnd ? points.size() - kEnd : 0;
  for (size_t i = first; i < end && end - first >= 2; ++i) {
    const size_t below = i == first ? i : i - 1, above = i + 1 == end ? i : i + 1;
    const double slope =
        (points[above].smoothed - points[below].smoothed) / static_cast<double>(above - below);
    if (slope >= steepest) continue;
    steepest = slope;
    rate = points[i].rate;
  }
  return rate;
}

RateSearch search_rate(Decoder& model, const std::vector<Parameter*>& parameters, const StepBatches& batches,
                       const Objective& objective, const TrainConfig& config, const RateSearchConfig& search,
                       const std::function<void(const RatePoint&)>& on_point) {
  search.validate();
  check(!parameters.empty(), "lr-find: nothing is marked trainable");
  OptimizerConfig settings = config.optimizer;
  settings.average_decay = 0;
  Optimizer optimizer(parameters, settings);
  RateSearch result;
  double mean = 0, best = 0;
  for (int64_t step = 0; step < search.steps; ++step) {
    auto micro = batches.step(step);
    double weight = 0;
    for (const Batch& batch : micro) weight += batch.total_weight();
    check(weight > 0, "lr-find: step ", step + 1,
          ": no token has a loss weight; check the corpus' roles and template");
    std::erase_if(micro, [](const Batch& batch) { return batch.total_weight() == 0; });
    clear_gradients(parameters);
    double loss = 0;
    for (const Batch& batch : micro) {
      Saved saved;
      saved.checkpoint = config.checkpoint_activations == Recompute::kYes;
      const at::Tensor hidden = forward(model, batch, &saved);
      const ObjectiveResult one = objective(model, batch, hidden, 1 / weight, true);
      loss += one.loss.sum / weight;
      if (!std::isfinite(loss)) break;
      backward(model, batch, saved, one.loss.d_hidden);
    }
    const double norm = std::isfinite(loss) ? optimizer.gradient_norm() : loss;
    if (!std::isfinite(norm)) {
      check(step > 10, "lr-find: step ", step + 1,
            ": the loss or its gradient is not finite although the rate is still near --lowest (",
            search.lowest, "); start lower, or look at the data of this step");
      result.diverged = true;
      break;
    }
    const double share = static_cast<double>(step) / static_cast<double>(search.steps - 1);
    const double rate = search.lowest * std::pow(search.highest / search.lowest, share);
    mean = search.smoothing * mean + (1 - search.smoothing) * loss;
    const double smoothed = mean / (1 - std::pow(search.smoothing, static_cast<double>(step + 1)));
    result.points.push_back({step + 1, rate, loss, smoothed});
    if (on_point) on_point(result.points.back());
    // Losses of preference objectives may be negative: a multiple of the best is counted from the first.
    if (step == 0 || smoothed < best) {
      best = smoothed;
      result.lowest = rate;
    }
    const double first = std::abs(result.points.front().smoothed);
    if (smoothed > best + (search.divergence - 1) * std::max(std::abs(best), 1e-3 * first)) {
      result.diverged = true;
      break;
    }
    optimizer.step(rate, norm);
  }
  result.steepest = steepest_rate(result.points);
  return result;
}

}  // namespace decant
