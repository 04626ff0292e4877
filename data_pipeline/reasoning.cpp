#include "data_pipeline/reasoning.h"

#include <algorithm>

#include "core/error.h"
#include "data_pipeline/chat_context.h"

namespace decant {

using jinja::Written;

namespace {

constexpr std::string_view kOpen = "<think>", kClose = "</think>";

bool is_blank(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

// Something other than white space and think tags.
bool says_something(std::string_view text) {
  while (!text.empty()) {
    if (text.starts_with(kOpen))
      text.remove_prefix(kOpen.size());
    else if (text.starts_with(kClose))
      text.remove_prefix(kClose.size());
    else if (jinja::strip_range(text, true, false).begin > 0)
      text.remove_prefix(jinja::strip_range(text, true, false).begin);
    else
      return true;
  }
  return false;
}

// Parts of `field` that no piece shows. False when it was rewritten on the way: then nobody can tell.
bool missing_parts(const std::vector<Written>& pieces, jinja::Source source, std::string_view field,
                   std::vector<Span>& missing) {
  std::vector<Span> shown;
  for (const Written& w : pieces) {
    if (w.source != source) continue;
    if (w.data < field.data() || w.data + w.size > field.data() + field.size()) return false;
    const auto begin = static_cast<size_t>(w.data - field.data());
    shown.push_back({begin, begin + w.size});
  }
  std::sort(shown.begin(), shown.end(), [](const Span& a, const Span& b) { return a.begin < b.begin; });
  size_t at = 0;
  for (const Span& s : shown) {
    if (s.begin > at) missing.push_back({at, s.begin});
    at = std::max(at, s.end);
  }
  if (at < field.size()) missing.push_back({at, field.size()});
  std::erase_if(missing,
                [&](const Span& s) { return !says_something(field.substr(s.begin, s.end - s.begin)); });
  return true;
}

bool shown_whole(const std::vector<Written>& pieces, jinja::Source source, size_t size) {
  return std::any_of(pieces.begin(), pieces.end(),
                     [&](const Written& w) { return w.source == source && w.size == size; });
}

// Takes "<think> </think>", or an open "<think>", from the end of what the template wrote before `at`.
void remove_empty_block(std::vector<Written>& pieces, size_t at) {
  const auto trim = [&](size_t k) {
    std::string_view text(pieces[k].data, pieces[k].size);
    while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
    return text;
  };
  if (at == 0 || pieces[at - 1].source != jinja::kTemplate) return;
  std::string_view text = trim(at - 1);
  if (text.ends_with(kClose)) {
    text.remove_suffix(kClose.size());
    while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
    if (!text.ends_with(kOpen)) return;
  }
  if (!text.ends_with(kOpen)) return;
  pieces[at - 1].size = static_cast<uint32_t>(text.size() - kOpen.size());
}

void put_back(std::vector<Written>& pieces, size_t at, int32_t turn, std::initializer_list<Written> what) {
  const size_t before = pieces.size();
  remove_empty_block(pieces, at);
  pieces.insert(pieces.begin() + static_cast<std::ptrdiff_t>(at), what);
  for (size_t k = at; k < at + pieces.size() - before; ++k) pieces[k].turn = turn;
}

}  // namespace

std::vector<Message> without_reasoning(const std::vector<Message>& messages) {
  std::vector<Message> out = messages;
  for (Message& m : out) {
    if (m.role != "assistant") continue;
    m.reasoning.clear();
    const size_t close = m.content.find(kClose);
    if (close == std::string::npos) continue;
    const size_t open = m.content.find(kOpen);
    const bool opens_first = open == std::string::npos || open > close ||
                             !says_something(std::string_view(m.content).substr(0, open));
    if (!opens_first) continue;
    size_t at = close + kClose.size();
    while (at < m.content.size() && is_blank(m.content[at])) ++at;
    m.content.erase(0, at);
  }
  return out;
}

void mend_turns(const std::vector<Message>& messages, bool keep, std::vector<Written>& pieces) {
  static const char* kHint =
      "; 'reasoning: keep' puts it back, 'drop' trains without any reasoning, 'as_template' accepts the loss";
  for (size_t i = 0; i < messages.size(); ++i) {
    const Message& m = messages[i];
    if (m.role != "assistant" || m.weight <= 0) continue;
    const auto number = static_cast<int64_t>(i);
    const jinja::Source content = source_of(Origin::kContent, number),
                        reasoning = source_of(Origin::kReasoning, number),
                        calls = source_of(Origin::kToolCalls, number);
    const auto first_of = [&](jinja::Source source) {
      return static_cast<size_t>(
          std::find_if(pieces.begin(), pieces.end(), [&](const Written& w) { return w.source == source; }) -
          pieces.begin());
    };
    if (!m.tool_calls.is_null() && !m.tool_calls.empty() && first_of(calls) == pieces.size())
      fail("the template does not show the tool calls of messages[", i, "]");
    std::vector<Span> missing;
    if (says_something(m.content) && !shown_whole(pieces, content, m.content.size()) &&
        missing_parts(pieces, content, m.content, missing) && !missing.empty()) {
      // Reasoning stands before the answer, up to </think>.
      const size_t close = m.content.rfind(kClose, missing[0].end + kClose.size());
      const size_t first = first_of(content);
      const bool is_reasoning = missing.size() == 1 && close != std::string::npos && first < pieces.size() &&
                                !says_something(std::string_view(m.content).substr(0, missing[0].begin));
      if (!is_reasoning)
        fail("the template leaves out ", first < pieces.size() ? "part of" : "", " the content of messages[",
             i, "], which is under loss; 'reasoning: as_template' accepts that");
      if (!keep)
        fail("the template leaves out the reasoning of messages[", i, "], which is under loss", kHint);
      const auto begin = static_cast<size_t>(pieces[first].data - m.content.data());
      const Written piece{m.content.data(), static_cast<uint32_t>(begin), content, 0};
      put_back(pieces, first, pieces[first].turn, {piece});
    }
    if (!says_something(m.reasoning) || shown_whole(pieces, reasoning, m.reasoning.size())) continue;
    missing.clear();
    if (!missing_parts(pieces, reasoning, m.reasoning, missing) || missing.empty()) continue;
    if (!keep) fail("the template leaves out the reasoning of messages[", i, "], which is under loss", kHint);
    const size_t at = std::min(first_of(content), first_of(calls));
    if (at == pieces.size() || first_of(reasoning) != pieces.size())
      fail("the template leaves out the reasoning of messages[", i,
           "] and there is no answer to put it before");
    static constexpr std::string_view kBefore = "<think>\n", kAfter = "\n</think>\n\n";
    put_back(pieces, at, pieces[at].turn,
             {{kBefore.data(), kBefore.size(), jinja::kTemplate, 0},
              {m.reasoning.data(), static_cast<uint32_t>(m.reasoning.size()), reasoning, 0},
              {kAfter.data(), kAfter.size(), jinja::kTemplate, 0}});
  }
}

}  // namespace decant
