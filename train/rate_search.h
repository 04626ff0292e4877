// What learning rate a training bears: the rate rises exponentially over some optimizer steps from a fresh
// start, and the loss says where learning is fastest and where it breaks (Smith, "Cyclical Learning Rates",
// arXiv 1506.01186; the rules are those of PyTorch Lightning's Tuner.lr_find, which are fastai's: a smoothed
// loss, an end where it is a multiple of its best, and the point where it falls most steeply).
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "train/trainer.h"

namespace decant {

struct RateSearchConfig {
  double lowest = 1e-7, highest = 1;  // learning rates of the first and the last step
  int64_t steps = 100;
  double smoothing = 0.98;  // share of the older mean in the smoothed loss
  double divergence = 4;    // times the lowest smoothed loss: the search ends
  void validate() const;    // Error that names the option of `decant lr-find`
};

struct RatePoint {
  int64_t step = 0;  // from 1
  double rate = 0, loss = 0, smoothed = 0;
};

struct RateSearch {
  std::vector<RatePoint> points;
  bool diverged = false;
  std::optional<double> steepest;  // the suggestion; absent where the loss fell nowhere
  double lowest = 0;               // the rate at the lowest smoothed loss
};

// Trains `parameters` with config's objective, batches, clipping and optimizer (no schedule, no average, no
// noise, no guard), so the model is spoilt afterwards. `on_point` sees each step as it ends. Error when
// nothing trains, and when the first steps have no finite loss.
RateSearch search_rate(Decoder& model, const std::vector<Parameter*>& parameters, const StepBatches& batches,
                       const Objective& objective, const TrainConfig& config, const RateSearchConfig& search,
                       const std::function<void(const RatePoint&)>& on_point = {});

// The suggestion from the smoothed losses alone: the rate where they fall most steeply a step, the first ten
// and the last one left out (they say more about the start and the end than about the rate).
std::optional<double> steepest_rate(const std::vector<RatePoint>& points);

}  // namespace decant
