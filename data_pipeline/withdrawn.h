// Answers that were right once: policies that no longer hold are not learned, neither from the month
// nor replayed.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/config.h"
#include "core/json.h"
#include "data_pipeline/conversation.h"

namespace decant {

struct WithdrawnConfig {
  std::string name, tenant, valid_until, text, regex;
  std::vector<std::string> ids;
  std::map<std::string, std::string> meta;

  static void visit(auto& c, auto&& field) {
    field("name", c.name, "of the rule, for the ledger");
    field("tenant", c.tenant, "whose documents; empty: everybody's");
    field("valid_until", c.valid_until, "YYYY-MM: it held up to and with this month; empty: never again");
    field("text", c.text, "a document that says this (whatever its spacing, punctuation, case and digits)");
    field("regex", c.regex, "a document with a message in which this Perl regular expression is found");
    field("ids", c.ids, "these documents");
    field("meta", c.meta, "documents with these values in 'meta'");
  }
  bool operator==(const WithdrawnConfig&) const = default;
};

// Rules, ready for matching. A rule applies to mixes of months after its `valid_until`, and to the
// documents for which everything that it names holds: one of `ids`, all of `meta` (numbers and booleans
// as JSON writes them), `text` in a message or its reasoning as a run of matching tokens
// (matching_tokens.h), `regex` likewise. A text on which the expression gives up (a match limit bounds
// its time) counts as found: what cannot be judged is not learned.
class WithdrawnRules {
 public:
  // Error for a rule without a name or without a condition, a bad month, or an expression that PCRE2 refuses.
  explicit WithdrawnRules(const std::vector<WithdrawnConfig>& rules);
  ~WithdrawnRules();
  WithdrawnRules(WithdrawnRules&&) noexcept;

  static constexpr int kNone = -1;
  // The first rule that withdraws the document from a mix of `period`, or kNone. May be shared by threads.
  int find(const Conversation& conversation, const std::string& period) const;
  const std::string& name(int rule) const;

 private:
  struct Rule;
  std::vector<Rule> rules_;
};

}  // namespace decant
