// Measurements on held-out text while a model trains, and what follows from them: which checkpoint is the
// best, and when to stop early.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "core/config.h"
#include "core/json.h"

namespace decant {

// Measures the model as it is. The result must hold "held_out_loss" (nats per unit of weight, lower is
// better); its other numbers, also in objects within, are written down beside it. `step`: steps done.
using Probe = std::function<Json(int64_t step)>;

struct ProbeConfig {
  int64_t every = 0;
  int64_t tokens = 4096;
  int64_t patience = 0;
  double min_delta = 0;
  bool keep_best = false;

  static void visit(auto& c, auto&& field) {
    field("every", c.every, "steps between measurements on held-out text; 0: none");
    field("tokens", c.tokens, "that are measured of each tenant, in whole rows");
    field("patience", c.patience,
          "measurements in a row without a new lowest loss after which training stops early; 0: never");
    field("min_delta", c.min_delta, "nats by which a loss must be lower to count as a new lowest");
    field("keep_best", c.keep_best, "the result is the step with the lowest held-out loss, not the last one");
  }
  void validate(const Place& place) const;
};

// Greedy answers to held-out questions that people look at (recipes/training_samples.h).
struct SampleConfig {
  int64_t questions = 2;
  int64_t tokens = 48;
  bool at_probes = false;

  static void visit(auto& c, auto&& field) {
    field("questions", c.questions,
          "held-out questions that are answered before the training and after it; they stay in the step's "
          "folder; 0: none");
    field("tokens", c.tokens, "of an answer, at most");
    field("at_probes", c.at_probes, "answer them at every measurement, too");
  }
  void validate(const Place& place) const;
};

// The best measurement so far.
struct ProbeState {
  std::optional<double> best_loss;
  int64_t best_step = 0, since_best = 0, last_step = 0;

  // Notes a measurement; true when it is the best so far.
  bool note(const ProbeConfig& config, int64_t step, double loss);
  bool out_of_patience(const ProbeConfig& config) const {
    return config.patience > 0 && since_best >= config.patience;
  }
  Json to_json() const;
  static ProbeState from_json(const Json& json);
};

}  // namespace decant
