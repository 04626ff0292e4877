// One object of a config.json; every error names the key with the path to it. Internal to the reading of
// model configs.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <utility>

#include "core/error.h"
#include "core/json.h"

namespace decant {

// Bounds on sizes: far above every known model, and low enough that no product of them leaves int64.
inline constexpr int64_t kMaxVocabulary = int64_t{1} << 24, kMaxWidth = int64_t{1} << 17,
                         kMaxFeedForward = int64_t{1} << 20, kMaxLayers = 4096, kMaxHeads = 4096,
                         kMaxHeadWidth = 4096, kMaxPositions = int64_t{1} << 26;

class Fields {
 public:
  Fields(const Json& json, std::string where, std::string prefix)
      : json_(json), where_(std::move(where)), prefix_(std::move(prefix)) {
    check(json.is_object(), where_, ": ", prefix_.empty() ? "the model config" : "'" + prefix_ + "'",
          " must be a JSON object, found ", json.type_name());
    if (!prefix_.empty()) prefix_ += ".";
  }

  bool has(const char* key) const { return json_.contains(key); }
  // Present and not null.
  const Json* value(const char* key) const {
    const auto found = json_.find(key);
    return found == json_.end() || found->is_null() ? nullptr : &*found;
  }
  std::string name(const char* key) const { return concat(where_, ": '", prefix_, key, "'"); }

  std::optional<int64_t> size(const char* key, int64_t most) const {
    const Json* v = value(key);
    if (v == nullptr) return std::nullopt;
    check(v->is_number_integer(), name(key), " must be a whole number, found ", v->dump());
    // An unsigned number above int64 would turn negative in get<int64_t>.
    const bool huge =
        v->is_number_unsigned() && v->get<uint64_t>() > uint64_t{std::numeric_limits<int64_t>::max()};
    check(!huge && v->get<int64_t>() >= 1 && v->get<int64_t>() <= most, name(key), " must be from 1 to ",
          most, ", found ", v->dump());
    return v->get<int64_t>();
  }
  int64_t required_size(const char* key, int64_t most) const {
    const auto found = size(key, most);
    check(found.has_value(), name(key), " is missing");
    return *found;
  }
  // From 0.
  std::optional<int64_t> count(const char* key, int64_t most) const {
    const Json* v = value(key);
    if (v == nullptr) return std::nullopt;
    check(v->is_number_integer() && *v >= 0 && *v <= most, name(key), " must be a whole number from 0 to ",
          most, ", found ", v->dump());
    return v->get<int64_t>();
  }
  std::optional<double> positive(const char* key) const {
    const Json* v = value(key);
    if (v == nullptr) return std::nullopt;
    check(v->is_number(), name(key), " must be a number, found ", v->dump());
    const auto number = v->get<double>();
    check(std::isfinite(number) && number > 0 && number < 1e15, name(key),
          " must be a positive number, found ", v->dump());
    return number;
  }
  // A number that may be 0, which then counts as absent (Python's `or`).
  double positive_or_zero(const char* key, double otherwise) const {
    const Json* v = value(key);
    if (v != nullptr && v->is_number() && v->get<double>() == 0) return otherwise;
    return positive(key).value_or(otherwise);
  }
  bool flag(const char* key, bool otherwise) const {
    const Json* v = value(key);
    if (v == nullptr) return otherwise;
    check(v->is_boolean(), name(key), " must be true or false, found ", v->dump());
    return v->get<bool>();
  }
  std::optional<std::string> text(const char* key) const {
    const Json* v = value(key);
    if (v == nullptr) return std::nullopt;
    check(v->is_string(), name(key), " must be a string, found ", v->dump());
    return v->get<std::string>();
  }

 private:
  const Json& json_;
  std::string where_, prefix_;
};

}  // namespace decant
