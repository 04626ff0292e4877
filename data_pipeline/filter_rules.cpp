#include "data_pipeline/filter_rules.h"

#include <algorithm>
#include <array>
#include <limits>

#include "core/error.h"

namespace decant {

namespace {

FilterRule at_least(const char* attribute, double min, std::vector<std::string> languages = {}) {
  return {attribute, min, std::nullopt, std::move(languages)};
}
FilterRule at_most(const char* attribute, double max, std::vector<std::string> languages = {}) {
  return {attribute, std::nullopt, max, std::move(languages)};
}
FilterRule between(const char* attribute, double min, double max, std::vector<std::string> languages = {}) {
  return {attribute, min, max, std::move(languages)};
}

using Presets = std::map<std::string, std::vector<FilterRule>>;

// datatrove's defaults, and FineWeb-2's configuration of cmn_Hani.
Presets make_presets() {
  Presets presets;
  presets["gopher"] = {between("words", 50, 100000),
                       between("mean_word_length", 3, 10),
                       at_most("hash_ratio", 0.1),
                       at_most("ellipsis_ratio", 0.1),
                       at_most("bullet_line_fraction", 0.9),
                       at_most("ellipsis_line_fraction", 0.3),
                       at_least("alphabetic_word_fraction", 0.8),
                       at_least("stop_words_en", 2),
                       at_most("dup_paragraph_fraction", 0.3),
                       at_most("dup_paragraph_char_fraction", 0.2),
                       at_most("dup_line_fraction", 0.3),
                       at_most("dup_line_char_fraction", 0.2),
                       at_most("top_2gram", 0.2),
                       at_most("top_3gram", 0.18),
                       at_most("top_4gram", 0.16),
                       at_most("dup_5gram", 0.15),
                       at_most("dup_6gram", 0.14),
                       at_most("dup_7gram", 0.13),
                       at_most("dup_8gram", 0.12),
                       at_most("dup_9gram", 0.11),
                       at_most("dup_10gram", 0.1)};
  presets["c4"] = {at_most("lorem_ipsum", 0), at_most("curly_brackets", 0), at_least("c4_sentences", 5)};
  presets["fineweb"] = {at_least("terminal_line_fraction", 0.12), at_most("short_line_fraction", 0.67),
                        at_most("char_dup_ratio", 0.01), at_most("newline_ratio", 0.3)};
  const std::vector<std::string> zh = {"zh"};
  presets["fineweb2_zh"] = {at_least("words", 50, zh),
                            between("mean_word_length", 1, 5, zh),
                            at_most("hash_ratio", 0.1, zh),
                            at_most("ellipsis_ratio", 0.1, zh),
                            at_most("bullet_line_fraction", 0.9, zh),
                            at_most("ellipsis_line_fraction", 0.3, zh),
                            at_least("alphabetic_word_fraction", 0.735, zh),
                            at_least("stop_words_zh", 2, zh),
                            at_most("dup_line_fraction", 0.287, zh),
                            at_most("top_2gram", 0.256, zh),
                            at_most("top_3gram", 0.201, zh),
                            at_most("top_4gram", 0.171, zh),
                            at_most("dup_5gram", 0.198, zh),
                            at_most("dup_6gram", 0.182, zh),
                            at_most("dup_7gram", 0.167, zh),
                            at_most("dup_8gram", 0.154, zh),
                            at_most("dup_9gram", 0.14, zh),
                            at_most("dup_10gram", 0.127, zh),
                            at_least("terminal_line_fraction", 0.106, zh),
                            at_most("char_dup_ratio", 0.1, zh),
                            at_most("newline_ratio", 0.178, zh)};
  // Only what is broken for certain: no answer to learn from, text that is damaged, loops or was never filled
  // in. (Refusals are not: a model that lacks a tool has to say so.)
  presets["service"] = {at_least("assistant_turns", 1),
                        at_most("empty_answers", 0.5),
                        at_most("echoed_answers", 0.5),
                        at_most("mojibake", 1),
                        at_most("replacement_characters", 10),
                        at_most("lorem_ipsum", 0),
                        at_most("placeholders", 0),
                        at_most("boilerplate", 5),
                        at_most("html_tags", 100),
                        at_most("longest_word", 4000),
                        at_most("char_repetition", 0.6),
                        at_most("dup_10gram", 0.6),
                        at_least("letter_ratio", 0.1)};
  return presets;
}

const Presets& presets() {
  static const Presets all = make_presets();
  return all;
}

std::vector<std::string> names_of(const std::vector<std::pair<std::string, std::string>>& pairs) {
  std::vector<std::string> names;
  for (const auto& [name, help] : pairs) names.push_back(name);
  return names;
}

size_t attribute_index(const std::string& name) {
  const auto& all = rule_attributes();
  const auto at = std::find_if(all.begin(), all.end(), [&](const auto& pair) { return pair.first == name; });
  return at == all.end() ? SIZE_MAX : static_cast<size_t>(at - all.begin());
}

std::string hint(const std::string& name, const std::vector<std::string>& known) {
  const std::string near = nearest_name(name, known);
  return near.empty() ? "" : " (did you mean '" + near + "'?)";
}

bool has(const std::vector<std::string>& list, const std::string& item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

}  // namespace

const std::vector<std::pair<std::string, std::string>>& rule_attributes() {
  static const auto all = [] {
    std::vector<std::pair<std::string, std::string>> names;
    const Attributes none;
    Attributes::visit_numbers(
        none, [&](const char* name, const auto&, const char* help) { names.emplace_back(name, help); });
    return names;
  }();
  return all;
}

const std::vector<FilterRule>* filter_preset(const std::string& name) {
  const auto found = presets().find(name);
  return found == presets().end() ? nullptr : &found->second;
}

std::vector<std::string> filter_preset_names() {
  std::vector<std::string> names;
  for (const auto& [name, rules] : presets()) names.push_back(name);
  return names;
}

void FilterRule::validate(const Place& place) const {
  check(attribute_index(attribute) != SIZE_MAX, place("attribute"), ": no attribute '", attribute, "'",
        hint(attribute, names_of(rule_attributes())));
  check(min.has_value() || max.has_value(), place("attribute"), ": a rule needs 'min' or 'max'");
  check(!min || !max || *min <= *max, place("min"),
        ": 'min' is more than 'max', every document would be left out");
}

void FilterConfig::validate(const Place& place) const {
  for (const std::string& name : presets)
    check(filter_preset(name) != nullptr, place("presets"), ": no preset '", name, "'",
          hint(name, filter_preset_names()));
  for (const std::string& code : languages)
    check(code.size() >= 2 && code.size() <= 3 &&
              std::all_of(code.begin(), code.end(), [](char c) { return c >= 'a' && c <= 'z'; }),
          place("languages"), ": '", code, "' is not an ISO 639-1 code");
  check(min_language_score >= 0 && min_language_score <= 1, place("min_language_score"),
        ": must be between 0 and 1, found ", min_language_score);
}

Filter::Filter(const FilterConfig& config)
    : languages_(config.languages), min_language_score_(config.min_language_score) {
  const auto add = [&](const FilterRule& rule) {
    Limit limit;
    limit.attribute = attribute_index(rule.attribute);
    check(limit.attribute != SIZE_MAX, "no attribute '", rule.attribute, "'",
          hint(rule.attribute, names_of(rule_attributes())));
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    limit.min = rule.min.value_or(-kInfinity);
    limit.max = rule.max.value_or(kInfinity);
    limit.languages = rule.languages;
    limit.too_little = concat("quality:", rule.attribute, "<", limit.min);
    limit.too_much = concat("quality:", rule.attribute, ">", limit.max);
    limits_.push_back(std::move(limit));
  };
  for (const std::string& name : config.presets) {
    const auto* rules = filter_preset(name);
    check(rules != nullptr, "no preset '", name, "'", hint(name, filter_preset_names()));
    for (const FilterRule& rule : *rules) add(rule);
  }
  for (const FilterRule& rule : config.rules) add(rule);
}

std::optional<std::string> Filter::decide(const Attributes& attributes) const {
  const bool other =
      !languages_.empty() && attributes.language != "und" && !has(languages_, attributes.language);
  if (other && attributes.language_score >= min_language_score_) return "language:" + attributes.language;
  std::array<float, 128> values;
  size_t n = 0;
  Attributes::visit_numbers(attributes,
                            [&](const char*, float value, const char*) { values.at(n++) = value; });
  for (const Limit& limit : limits_) {
    if (!limit.languages.empty() && !has(limit.languages, attributes.language)) continue;
    // A limit is a decimal number, the attribute a float: 0.3 as a float is not more than 0.3.
    const float value = values[limit.attribute];
    if (value < static_cast<float>(limit.min)) return limit.too_little;
    if (value > static_cast<float>(limit.max)) return limit.too_much;
  }
  return std::nullopt;
}

std::optional<std::string> decide(const Attributes& attributes, const FilterConfig& config) {
  return Filter(config).decide(attributes);
}

}  // namespace decant
