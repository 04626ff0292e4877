#include "train/probe.h"

#include <cmath>

#include "core/error.h"

namespace decant {

void ProbeConfig::validate(const Place& place) const {
  check(every >= 0, place("every"), ": must not be negative, found ", every);
  check(tokens >= 1, place("tokens"), ": must be at least 1, found ", tokens);
  check(patience >= 0, place("patience"), ": must not be negative, found ", patience);
  check(std::isfinite(min_delta) && min_delta >= 0, place("min_delta"), ": must not be negative, found ",
        min_delta);
  check(every > 0 || (patience == 0 && !keep_best), place(patience > 0 ? "patience" : "keep_best"),
        ": needs measurements, but 'every' is 0");
}

void SampleConfig::validate(const Place& place) const {
  check(questions >= 0 && questions <= 64, place("questions"), ": must lie in 0 .. 64, found ", questions);
  check(tokens >= 1 && tokens <= 4096, place("tokens"), ": must lie in 1 .. 4096, found ", tokens);
}

bool ProbeState::note(const ProbeConfig& config, int64_t step, double loss) {
  check(std::isfinite(loss), "train: the held-out loss after step ", step, " is not finite (", loss, ")");
  last_step = step;
  if (best_loss && !(loss < *best_loss - config.min_delta)) {
    ++since_best;
    return false;
  }
  best_loss = loss;
  best_step = step;
  since_best = 0;
  return true;
}

Json ProbeState::to_json() const {
  Json json{{"best_step", best_step}, {"since_best", since_best}, {"last_step", last_step}};
  json["best_loss"] = best_loss ? Json(*best_loss) : Json(nullptr);
  return json;
}

ProbeState ProbeState::from_json(const Json& json) {
  const auto number = [&](const char* key) {
    check(json.is_object() && json.contains(key) && json[key].is_number_integer(), "state.json: 'probe.", key,
          "' must be a whole number");
    return json[key].get<int64_t>();
  };
  ProbeState state;
  state.best_step = number("best_step");
  state.since_best = number("since_best");
  state.last_step = number("last_step");
  check(json.contains("best_loss") && (json["best_loss"].is_null() || json["best_loss"].is_number()),
        "state.json: 'probe.best_loss' must be a number or null");
  if (json["best_loss"].is_number()) state.best_loss = json["best_loss"].get<double>();
  return state;
}

}  // namespace decant
