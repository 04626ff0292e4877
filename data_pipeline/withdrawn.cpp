#define PCRE2_CODE_UNIT_WIDTH 8
#include "data_pipeline/withdrawn.h"

#include <pcre2.h>

#include <algorithm>
#include <set>

#include "core/error.h"
#include "data_pipeline/matching_tokens.h"
#include "data_pipeline/unicode.h"

namespace decant {

namespace {

constexpr uint32_t kMatchLimit = 1000000;

struct Freed {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};
using Code = std::unique_ptr<pcre2_code, Freed>;

Code compiled(const std::string& pattern, const std::string& rule) {
  int error = 0;
  PCRE2_SIZE offset = 0;
  Code code(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                          PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &offset, nullptr));
  if (code == nullptr) {
    std::string text(200, '\0');
    const int length =
        pcre2_get_error_message(error, reinterpret_cast<PCRE2_UCHAR*>(text.data()), text.size());
    text.resize(static_cast<size_t>(std::max(length, 0)));
    fail("withdrawn rule '", rule, "': the regex is not understood at byte ", offset, ": ", text);
  }
  pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE);  // without it the interpreter runs
  return code;
}

bool finds(const pcre2_code* code, std::string_view text) {
  const std::string repaired = valid_utf8_prefix(text) == text.size() ? std::string() : repair_utf8(text);
  if (!repaired.empty()) text = repaired;
  const std::unique_ptr<pcre2_match_data, Freed> data(pcre2_match_data_create_from_pattern(code, nullptr));
  const std::unique_ptr<pcre2_match_context, Freed> context(pcre2_match_context_create(nullptr));
  pcre2_set_match_limit(context.get(), kMatchLimit);
  pcre2_set_heap_limit(context.get(), 64 << 10);  // KiB
  return pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), 0, PCRE2_NO_UTF_CHECK,
                     data.get(), context.get()) != PCRE2_ERROR_NOMATCH;
}

bool holds_run(const MatchingTokens& text, const MatchingTokens& run) {
  const size_t n = run.tokens.size();
  for (size_t at = 0; at + n <= text.tokens.size(); ++at) {
    size_t equal = 0;
    while (equal < n && text.tokens[at + equal].hash == run.tokens[equal].hash &&
           text.key_of(at + equal) == run.key_of(equal))
      ++equal;
    if (equal == n) return true;
  }
  return false;
}

bool meta_holds(const Json& meta, const std::map<std::string, std::string>& wanted) {
  return std::all_of(wanted.begin(), wanted.end(), [&](const auto& pair) {
    if (!meta.is_object()) return false;
    const auto found = meta.find(pair.first);
    if (found == meta.end()) return false;
    return found->is_string() ? found->template get_ref<const std::string&>() == pair.second
                              : found->dump() == pair.second;
  });
}

template <class Test>
bool any_text(const Conversation& conversation, const Test& test) {
  return std::any_of(conversation.messages.begin(), conversation.messages.end(), [&](const Message& message) {
    return test(message.content) || (!message.reasoning.empty() && test(message.reasoning));
  });
}

}  // namespace

struct WithdrawnRules::Rule {
  WithdrawnConfig config;
  std::set<std::string> ids;
  MatchingTokens text;
  Code regex;
};

WithdrawnRules::WithdrawnRules(const std::vector<WithdrawnConfig>& rules) {
  for (const WithdrawnConfig& config : rules) {
    check(!config.name.empty(), "a withdrawn rule has no name");
    check(config.valid_until.empty() || is_period(config.valid_until), "withdrawn rule '", config.name,
          "': 'valid_until' must be YYYY-MM");
    check(!config.ids.empty() || !config.meta.empty() || !config.text.empty() || !config.regex.empty(),
          "withdrawn rule '", config.name,
          "' names no ids, meta, text or regex: it would withdraw everything");
    Rule rule;
    rule.config = config;
    rule.ids.insert(config.ids.begin(), config.ids.end());
    if (!config.text.empty()) {
      matching_tokens(repair_utf8(config.text), rule.text);
      check(!rule.text.tokens.empty(), "withdrawn rule '", config.name, "': 'text' has no word");
    }
    if (!config.regex.empty()) rule.regex = compiled(config.regex, config.name);
    rules_.push_back(std::move(rule));
  }
}

WithdrawnRules::~WithdrawnRules() = default;
WithdrawnRules::WithdrawnRules(WithdrawnRules&&) noexcept = default;

const std::string& WithdrawnRules::name(int rule) const {
  return rules_.at(static_cast<size_t>(rule)).config.name;
}

int WithdrawnRules::find(const Conversation& conversation, const std::string& period) const {
  std::vector<MatchingTokens> texts;  // made once, when a rule needs them
  const auto tokens = [&]() -> const std::vector<MatchingTokens>& {
    if (texts.empty())
      any_text(conversation, [&](const std::string& text) {
        matching_tokens(text, texts.emplace_back());
        return false;
      });
    return texts;
  };
  for (size_t i = 0; i < rules_.size(); ++i) {
    const Rule& rule = rules_[i];
    const WithdrawnConfig& config = rule.config;
    if (!config.valid_until.empty() && period <= config.valid_until) continue;
    if (!config.tenant.empty() && config.tenant != conversation.tenant) continue;
    if (!rule.ids.empty() && rule.ids.count(conversation.id) == 0) continue;
    if (!meta_holds(conversation.meta, config.meta)) continue;
    if (!config.text.empty()) {
      const auto& all = tokens();
      if (std::none_of(all.begin(), all.end(),
                       [&](const MatchingTokens& t) { return holds_run(t, rule.text); }))
        continue;
    }
    if (rule.regex != nullptr &&
        !any_text(conversation, [&](const std::string& text) { return finds(rule.regex.get(), text); }))
      continue;
    return static_cast<int>(i);
  }
  return kNone;
}

}  // namespace decant
