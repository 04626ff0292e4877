#include "data_pipeline/normalize.h"

#include "core/error.h"
#include "data_pipeline/clean_text.h"
#include "data_pipeline/mojibake.h"
#include "data_pipeline/pinned_unicode.h"
#include "data_pipeline/strip_html.h"
#include "data_pipeline/strip_mail.h"
#include "data_pipeline/strip_symbols.h"
#include "data_pipeline/unicode.h"

namespace decant {

namespace {

bool joins(const Message& first, const Message& second) {
  return first.role == second.role && (first.role == "user" || first.role == "assistant") &&
         first.tool_calls.is_null() && second.tool_calls.is_null() && first.weight == second.weight &&
         first.name == second.name && second.reasoning.empty();
}

Cleaned quarantined(const char* reason, std::string text) { return {reason, std::move(text)}; }

}  // namespace

std::string normalize_text(std::string_view text) {
  std::string buffer;
  static const TextNormalizer normalizer;
  const std::string_view clean = normalizer.normalize(text, buffer);
  if (clean.data() == buffer.data() && clean.size() == buffer.size()) return buffer;
  return std::string(clean);
}

void NormalizeConfig::validate(const Place& place) const {
  check(max_repeated_punctuation >= 0 && max_repeated_punctuation <= 1000, place("max_repeated_punctuation"),
        ": must be 0 to 1000, found ", max_repeated_punctuation);
  for (const std::string& line : boilerplate) {
    check(line.find('\n') == std::string::npos, place("boilerplate"), ": each entry is one line");
    check(!boilerplate_key(line).empty(), place("boilerplate"), ": an entry is empty");
  }
}

TextNormalizer::TextNormalizer(const NormalizeConfig& config) : config_(config) {
  for (const std::string& line : config.boilerplate)
    boilerplate_keys_.push_back(boilerplate_key(normalize_text(line)));
}

bool TextNormalizer::any_steps() const {
  return config_.repair_mojibake || config_.strip_html || config_.strip_quoted_mail ||
         config_.strip_signatures || !boilerplate_keys_.empty() || config_.emoji == EmojiRule::kRemove ||
         config_.max_repeated_punctuation > 0;
}

std::string_view TextNormalizer::normalize(std::string_view text, std::string& buffer, SourceMap* map) const {
  check(text.size() < (1u << 30), "a text of ", text.size(), " bytes is too long to normalise");
  const Invisible invisible = config_.remove_invisible ? Invisible::kRemove : Invisible::kKeep;
  std::string_view now = text;  // in `buffer` once something was changed
  SourceMap source;
  source.copy(0, text.size());
  const auto step = [&](const auto& change) {
    MappedText out;
    if (!change(now, out)) return false;
    source = compose(source, out.map);
    buffer = std::move(out.text);
    now = buffer;
    return true;
  };
  const auto rules = [&](std::string_view before, MappedText& out) {
    if (clean_prefix(before) == before.size()) {
      const std::string_view kept = trim_spaces(before);
      if (kept.size() == before.size()) return false;
      out.copy(before, static_cast<size_t>(kept.data() - before.data()), kept.size());
      return true;
    }
    clean_text(before, invisible, out);
    return out.text != before;
  };
  const bool clean = clean_prefix(text) == text.size();
  if (clean) {  // only the ends can change, by the rules
    now = trim_spaces(text);
    source = {};
    source.copy(static_cast<size_t>(now.data() - text.data()), now.size());
  }
  const size_t most = static_cast<size_t>(config_.max_repeated_punctuation);
  for (int round = 0; round < kMaxRounds; ++round) {
    bool changed = false;
    // On what was read, before the rules remove the control characters that it may hang on.
    if (config_.repair_mojibake && valid_utf8_prefix(now) == now.size()) changed = step(repair_mojibake);
    if (!clean || changed || round > 0) changed = step(rules) || changed;
    if (!any_steps()) break;
    if (config_.strip_html) changed = step(strip_html) || changed;
    if (config_.strip_quoted_mail) changed = step(strip_quoted_mail) || changed;
    if (config_.strip_signatures) changed = step(strip_signatures) || changed;
    if (!boilerplate_keys_.empty())
      changed = step([&](std::string_view before, MappedText& out) {
                  return strip_boilerplate(before, boilerplate_keys_, out);
                }) ||
                changed;
    if (config_.emoji == EmojiRule::kRemove) changed = step(strip_emoji) || changed;
    if (most > 0)
      changed = step([&](std::string_view before, MappedText& out) {
                  return shorten_punctuation(before, most, out);
                }) ||
                changed;
    if (!changed) break;
  }
  if (map != nullptr) *map = std::move(source);
  return now;
}

std::string matching_text(std::string_view text) {
  std::string repaired, buffer;
  if (valid_utf8_prefix(text) < text.size()) text = repaired = repair_utf8(text);
  if (!is_ascii(text)) text = normal_form(text, PinnedForm::kNFKC, buffer);
  const uint8_t* classes = character_classes();
  std::string kept;
  kept.reserve(text.size());
  for (const char *p = text.data(), *end = p + text.size(); p < end;) {
    // A run of what is no white space, from `begin` to `last`; then the white space.
    const char *const begin = p, *last = p;
    while (p < end && (classes[next_code_point(p)] & kSpace) == 0) last = p;
    if (last == begin) continue;
    if (!kept.empty()) kept += ' ';
    kept.append(begin, last);
  }
  return kept;
}

Cleaned clean_conversation(Conversation& conversation) {
  static const TextNormalizer normalizer;
  return clean_conversation(conversation, normalizer);
}

Cleaned clean_conversation(Conversation& conversation, const TextNormalizer& normalizer) {
  std::vector<Message> kept;
  Cleaned result;
  bool user = false, weighted = false;
  size_t answered = 0;  // messages up to and with the last assistant turn
  for (size_t i = 0; i < conversation.messages.size(); ++i) {
    Message message = std::move(conversation.messages[i]);
    const bool written = message.role == "user" || message.role == "assistant";
    if (written) {
      std::string buffer;
      const std::string_view clean = normalizer.normalize(message.content, buffer);
      if (clean.size() != message.content.size() || clean.data() != message.content.data())
        message.content = std::string(clean);
    } else {
      message.content = normalize_text(message.content);
    }
    message.reasoning = normalize_text(message.reasoning);
    const std::string where = concat("messages[", i, "]");
    if (message.content.empty() && message.tool_calls.is_null())
      return quarantined("empty_message", where + " has no text");
    if (message.role == "system" && i > 0)
      return quarantined("bad_roles", where + ": a system message must be the first");
    if (message.role == "tool" &&
        (kept.empty() || (kept.back().role != "assistant" && kept.back().role != "tool")))
      return quarantined("bad_roles", where + ": a tool message must follow an assistant's or a tool's");
    user = user || message.role == "user";
    weighted = weighted || (message.role == "assistant" && message.weight > 0);
    if (!kept.empty() && joins(kept.back(), message)) {
      kept.back().content += "\n" + message.content;
      ++result.merged;
    } else {
      kept.push_back(std::move(message));
    }
    if (kept.back().role == "assistant") answered = kept.size();
  }
  if (answered == 0 || !weighted) return quarantined("no_answer", "no assistant turn to learn from");
  if (!user) return quarantined("no_question", "no user turn");
  result.trimmed = static_cast<int64_t>(kept.size() - answered);
  kept.resize(answered);
  bool question_left = false;
  for (const Message& message : kept) question_left = question_left || message.role == "user";
  if (!question_left) return quarantined("no_answer", "no assistant turn after a user turn");
  conversation.messages = std::move(kept);
  return result;
}

}  // namespace decant
