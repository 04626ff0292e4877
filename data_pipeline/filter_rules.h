// Decisions over attributes (attributes.h), one document at a time and without its text: which are left out,
// and why. What a rule compares is in `decant help`'s list of attributes; what a document is dropped for is
// the first rule that it breaks, in the order presets, then rules.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/config.h"
#include "data_pipeline/attributes.h"

namespace decant {

struct FilterRule {
  std::string attribute;
  std::optional<double> min, max;
  std::vector<std::string> languages;

  static void visit(auto& c, auto&& field) {
    field("attribute", c.attribute, "what is compared, for example dup_line_fraction");
    field("min", c.min, "a document with less is left out");
    field("max", c.max, "a document with more is left out");
    field("languages", c.languages, "of documents in these languages only; empty: all");
  }
  void validate(const Place& place) const;
};

struct FilterConfig {
  std::vector<std::string> languages;
  double min_language_score = 0;
  std::vector<std::string> presets = {"service"};
  std::vector<FilterRule> rules;

  static void visit(auto& c, auto&& field) {
    field("languages", c.languages,
          "ISO 639-1 codes of conversations to keep; empty: all. und is always kept");
    field("min_language_score", c.min_language_score,
          "a conversation in another language than those is left out only when it is at least this sure");
    field(
        "presets", c.presets,
        "named sets of rules: service (conversations, the default), gopher, c4, fineweb (English web pages), "
        "fineweb2_zh (Chinese web pages); empty: none");
    field("rules", c.rules, "rules of your own");
  }
  void validate(const Place& place) const;
};

// Names of attributes that rules may compare, with their meaning.
const std::vector<std::pair<std::string, std::string>>& rule_attributes();
// The rules of a preset; nullptr when there is none of that name.
const std::vector<FilterRule>* filter_preset(const std::string& name);
std::vector<std::string> filter_preset_names();

// A config with its names looked up.
class Filter {
 public:
  // Error for an unknown attribute or preset.
  explicit Filter(const FilterConfig& config);

  // Why the document is left out: "language:fr", "quality:dup_line_fraction>0.3" (the limit that it broke);
  // nothing when it is kept.
  std::optional<std::string> decide(const Attributes& attributes) const;

 private:
  struct Limit {
    size_t attribute;
    double min, max;
    std::vector<std::string> languages;
    std::string too_little, too_much;
  };
  std::vector<std::string> languages_;
  double min_language_score_;
  std::vector<Limit> limits_;
};

std::optional<std::string> decide(const Attributes& attributes, const FilterConfig& config);

}  // namespace decant
