#include "train/guard.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace decant {

namespace {

// Standard deviations of `value` above the mean of `window`. A window without spread takes its rounding as
// one, so that a flat loss does not make a spike of nothing.
double z_score(const std::deque<double>& window, double value) {
  double sum = 0, squares = 0;
  for (const double x : window) sum += x;
  const double mean = sum / static_cast<double>(window.size());
  for (const double x : window) squares += (x - mean) * (x - mean);
  const double deviation = std::sqrt(squares / static_cast<double>(window.size()));
  return (value - mean) / std::max(deviation, 1e-3 * std::max(1.0, std::abs(mean)));
}

std::deque<double> numbers(const Json& state, const char* key) {
  check(state.contains(key) && state[key].is_array(), "state.json: 'guard.", key,
        "' must be a list of numbers");
  std::deque<double> values;
  for (const auto& value : state[key]) {
    check(value.is_number(), "state.json: 'guard.", key, "' must be a list of numbers");
    values.push_back(value.get<double>());
  }
  return values;
}

}  // namespace

void GuardConfig::validate(const Place& place) const {
  for (const auto& [key, value] : {std::pair{"loss_spike", loss_spike}, {"gradient_spike", gradient_spike}})
    check(std::isfinite(value) && value >= 0, place(key), ": must not be negative, found ", value);
  check(window >= 8 && window <= 100000, place("window"), ": must lie in 8 .. 100000, found ", window);
  check(most >= 1, place("most"), ": must be at least 1, found ", most);
}

Guard::Finding Guard::judge(double loss, double norm) const {
  if (!std::isfinite(loss)) return {"the loss is not finite"};
  if (!std::isfinite(norm)) return {"the gradient norm is not finite"};
  // A window that is half empty says little.
  if (static_cast<int64_t>(losses_.size()) < config_.window / 2) return {};
  if (config_.loss_spike > 0)
    if (const double z = z_score(losses_, loss); z > config_.loss_spike)
      return {concat("the loss ", loss, " lies ", z, " standard deviations above the last ", losses_.size(),
                     " steps (guard.loss_spike is ", config_.loss_spike, ")"),
              true};
  if (config_.gradient_spike > 0 && norm > 0)
    if (const double z = z_score(norms_, std::log(norm)); z > config_.gradient_spike)
      return {concat("the gradient norm ", norm, " lies ", z, " standard deviations above the last ",
                     norms_.size(), " steps (guard.gradient_spike is ", config_.gradient_spike, ")"),
              true};
  return {};
}

void Guard::accept(double loss, double norm) {
  in_a_row_ = 0;
  losses_.push_back(loss);
  norms_.push_back(std::log(std::max(norm, 1e-30)));
  for (auto* window : {&losses_, &norms_})
    if (static_cast<int64_t>(window->size()) > config_.window) window->pop_front();
}

bool Guard::refuse() { return ++in_a_row_ <= config_.most; }

Json Guard::state() const {
  return Json{{"losses", std::vector<double>(losses_.begin(), losses_.end())},
              {"log_norms", std::vector<double>(norms_.begin(), norms_.end())},
              {"in_a_row", in_a_row_}};
}

void Guard::load(const Json& state) {
  check(state.is_object() && state.contains("in_a_row") && state["in_a_row"].is_number_integer(),
        "state.json: 'guard.in_a_row' must be a whole number");
  losses_ = numbers(state, "losses");
  norms_ = numbers(state, "log_norms");
  check(losses_.size() == norms_.size(),
        "state.json: 'guard.losses' and 'guard.log_norms' must be equally long");
  in_a_row_ = state["in_a_row"].get<int64_t>();
}

}  // namespace decant
