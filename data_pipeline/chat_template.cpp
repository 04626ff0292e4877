#include "data_pipeline/chat_template.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "core/hash.h"
#include "data_pipeline/chat_context.h"
#include "data_pipeline/jinja/template.h"
#include "data_pipeline/reasoning.h"
#include "data_pipeline/turn_spans.h"

namespace decant {

namespace {

using jinja::Value;
using jinja::Written;

// What a render works in; kept by each thread.
struct Workplace {
  jinja::Arena arena;
  std::vector<Value> variables;
  std::vector<Written> mended;
  std::vector<RenderedPiece> pieces;
  std::vector<TurnSpan> spans;
  std::vector<float> weights;
  std::vector<uint8_t> shown;  // of each message: kContentShown and the others
  std::vector<uint8_t> is_assistant;
  std::vector<std::string_view> contents, reasonings;
};
Workplace& workplace() {
  static thread_local Workplace place;
  return place;
}

enum Shown : uint8_t { kContentShown = 1, kReasoningShown = 2, kCallsShown = 4 };

// The weight of each piece from the turns' spans, pieces cut where a span begins or ends.
void weigh(const std::vector<RenderedPiece>& pieces, const std::vector<Span>& spans,
           const std::vector<float>& weights, std::vector<RenderedPiece>& out) {
  out.resize(pieces.size() + 2 * spans.size());
  RenderedPiece* to = out.data();
  size_t s = 0;
  for (const RenderedPiece& whole : pieces) {
    uint32_t begin = whole.begin;
    while (begin < whole.end) {
      while (s < spans.size() && spans[s].end <= begin) ++s;
      const bool inside = s < spans.size() && spans[s].begin <= begin;
      const size_t border = s == spans.size() ? whole.end : inside ? spans[s].end : spans[s].begin;
      RenderedPiece& piece = *to++;
      piece = whole;
      piece.begin = begin;
      piece.end = static_cast<uint32_t>(std::min<size_t>(whole.end, border));
      piece.loss_weight = inside ? weights[s] : 0;
      if (whole.offset >= 0) piece.offset += static_cast<int32_t>(begin - whole.begin);
      begin = piece.end;
    }
  }
  out.resize(static_cast<size_t>(to - out.data()));
}

class JinjaTemplate : public ChatTemplate {
 public:
  JinjaTemplate(const std::string& text, const std::string& where, const Json& special_tokens)
      : template_(text, where), sha256_(sha256_hex(text)), special_tokens_(special_tokens) {
    messages_ = template_.variable("messages");
    tools_ = template_.variable("tools");
    documents_ = template_.variable("documents");
    prompt_ = template_.variable("add_generation_prompt");
    asks_date_ = template_.variable("strftime_now") >= 0;
    if (special_tokens_.is_object())
      for (const auto& [name, token] : special_tokens_.items())
        if (token.is_string() && template_.variable(name) >= 0)
          named_.emplace_back(template_.variable(name), &token.get_ref<const std::string&>());
    if (special_tokens_.is_object() && special_tokens_.contains("eos_token") &&
        special_tokens_["eos_token"].is_string())
      eos_ = special_tokens_["eos_token"].get<std::string>();
    learn();
  }

  Rendered render(const std::vector<Message>& messages, const RenderOptions& options) const override {
    check(!messages.empty(), "a conversation without messages cannot be rendered");
    std::vector<Message> changed;
    const Reasoning policy = options.add_generation_prompt && options.reasoning == Reasoning::kRefuse
                                 ? Reasoning::kAsTemplate
                                 : options.reasoning;
    if (policy == Reasoning::kDrop) changed = without_reasoning(messages);
    return run(changed.empty() ? messages : changed, options, policy, form_, true);
  }

  Rendered render_json(const Json& request, const std::string& date) const override {
    check(request.is_object(), "expected a JSON object with 'messages'");
    Workplace& w = workplace();
    start(w, Json(nullptr), false);
    const auto set = [&](int64_t variable, const Value& value) {
      if (variable >= 0) w.variables[static_cast<size_t>(variable)] = value;
    };
    std::string eos = eos_;
    for (const auto& [name, value] : request.items()) {
      if (name == "eos_token" && value.is_string()) eos = value.get<std::string>();
      if (name == "messages") continue;
      const bool token = name.ends_with("_token") && value.is_string();
      set(template_.variable(name),
          from_json(w.arena, value,
                    token ? jinja::kTemplate
                          : source_of(name == "tools" ? Origin::kTools : Origin::kVariable, -1)));
    }
    const auto list = request.find("messages");
    if (list != request.end() && list->is_array()) {
      auto* values = w.arena.array<Value>(list->size());
      for (size_t i = 0; i < list->size(); ++i) {
        const Json& m = (*list)[i];
        values[i] = message_value(w.arena, m, static_cast<int64_t>(i));
        const auto text_of = [&](const char* key) {
          const auto found = m.is_object() ? m.find(key) : m.end();
          const bool text = m.is_object() && found != m.end() && found->is_string();
          return text ? std::string_view(found->get_ref<const std::string&>()) : std::string_view();
        };
        w.is_assistant.push_back(text_of("role") == "assistant" || text_of("role") == "model" ? 1 : 0);
        w.contents.push_back(text_of("content"));
        w.reasonings.push_back(text_of("reasoning_content"));
      }
      set(messages_, jinja::list_value(jinja::make_list(w.arena, values, list->size())));
    } else if (list != request.end()) {
      set(messages_, from_json(w.arena, *list, source_of(Origin::kVariable, -1)));
    }
    const auto prompt = request.find("add_generation_prompt");
    const bool with_prompt = prompt != request.end() && prompt->is_boolean() && prompt->get<bool>();
    return finish(w, date, with_prompt, eos, nullptr, Reasoning::kAsTemplate, false);
  }

  const std::string& sha256() const override { return sha256_; }
  std::string name() const override { return "jinja"; }

 private:
  // Variables that every rendering has.
  void start(Workplace& w, const Json& tools, bool prompt) const {
    w.arena.reset(jinja::Limits().memory_bytes);
    w.variables.assign(template_.variables().size(), jinja::missing());
    w.is_assistant.clear();
    w.contents.clear();
    w.reasonings.clear();
    const auto set = [&](int64_t variable, const Value& value) {
      if (variable >= 0) w.variables[static_cast<size_t>(variable)] = value;
    };
    set(tools_, tools.is_null() ? jinja::none() : from_json(w.arena, tools, source_of(Origin::kTools, -1)));
    set(documents_, jinja::none());
    set(prompt_, jinja::boolean(prompt));
    for (const auto& [variable, token] : named_)
      set(variable, jinja::text(jinja::make_text(w.arena, *token)));
  }

  Rendered run(const std::vector<Message>& messages, const RenderOptions& options, Reasoning policy,
               ArgumentForm form, bool must_close) const {
    Workplace& w = workplace();
    start(w, options.tools, options.add_generation_prompt);
    if (options.variables.is_object())
      for (const auto& [name, value] : options.variables.items()) {
        const int64_t variable = template_.variable(name);
        if (variable >= 0)
          w.variables[static_cast<size_t>(variable)] =
              from_json(w.arena, value, source_of(Origin::kVariable, -1));
      }
    std::vector<Json> kept;
    auto* values = w.arena.array<Value>(messages.size());
    for (size_t i = 0; i < messages.size(); ++i) {
      values[i] = message_value(w.arena, keys_, messages[i], static_cast<int64_t>(i), form, kept);
      w.is_assistant.push_back(messages[i].role == "assistant" ? 1 : 0);
      w.contents.push_back(messages[i].content);
      w.reasonings.push_back(messages[i].reasoning);
    }
    if (messages_ >= 0)
      w.variables[static_cast<size_t>(messages_)] =
          jinja::list_value(jinja::make_list(w.arena, values, messages.size()));
    return finish(w, options.date, options.add_generation_prompt, eos_, &messages, policy, must_close);
  }

  Rendered finish(Workplace& w, const std::string& date, bool prompt, const std::string& eos,
                  const std::vector<Message>* messages, Reasoning policy, bool must_close) const {
    const jinja::Clock clock = date.empty() || !asks_date_ ? jinja::Clock() : jinja::parse_clock(date);
    jinja::Rendering rendering = template_.render(w.arena, w.variables.data(), clock);
    Rendered out;
    assemble(w, rendering.pieces, rendering.count, out.text);
    bool mended = false;
    if (messages != nullptr && policy != Reasoning::kAsTemplate && leaves_out(w, *messages)) {
      w.mended.assign(rendering.pieces, rendering.pieces + rendering.count);
      mend_turns(*messages, policy == Reasoning::kKeep, w.mended);
      mended = w.mended.size() != rendering.count;
      if (mended) assemble(w, w.mended.data(), w.mended.size(), out.text);
    }
    const auto weight_of = [&](int64_t message) {
      return messages == nullptr || message < 0
                 ? 1.0F
                 : static_cast<float>((*messages)[static_cast<size_t>(message)].weight);
    };
    w.weights.clear();
    if (template_.has_generation() && !mended) {
      for (const auto& g : rendering.generations) {
        out.assistant_spans.push_back(
            {static_cast<size_t>(g.begin), std::min(static_cast<size_t>(g.end), out.text.size())});
        w.weights.push_back(weight_of(g.turn));
      }
    } else {
      find_turn_spans(out.text, w.pieces, w.is_assistant, w.contents, marks_, eos, prompt, w.spans);
      out.assistant_spans.reserve(w.spans.size());
      for (const TurnSpan& s : w.spans) {
        if (must_close && !s.closed && !prompt && weight_of(s.message) > 0)
          fail("no end of turn follows the answer of messages[", s.message,
               "]: a model trained on it would not learn to stop");
        if (s.span.begin == s.span.end) continue;
        out.assistant_spans.push_back(s.span);
        w.weights.push_back(weight_of(s.message));
      }
    }
    weigh(w.pieces, out.assistant_spans, w.weights, out.pieces);
    return out;
  }

  // The text, and its pieces with their origin.
  static void assemble(Workplace& w, const Written* written, size_t count, std::string& text) {
    uint64_t size = 0;
    for (size_t k = 0; k < count; ++k) size += written[k].size;
    text.resize(size);
    char* to = text.data();
    w.pieces.resize(count);
    RenderedPiece* pieces = w.pieces.data();
    size_t n = 0;
    uint32_t at = 0;
    w.shown.assign(w.contents.size(), 0);
    for (size_t k = 0; k < count; ++k) {
      const Written& p = written[k];
      if (p.size > 0) std::memcpy(to + at, p.data, p.size);
      if (p.source == jinja::kTemplate && n > 0 && pieces[n - 1].from_template() &&
          pieces[n - 1].turn == p.turn) {
        pieces[n - 1].end = at += p.size;
        continue;
      }
      RenderedPiece& piece = pieces[n++];
      piece = RenderedPiece();
      piece.begin = at;
      piece.end = at += p.size;
      piece.turn = p.turn;
      if (p.source != jinja::kTemplate) {
        piece.origin = origin_of(p.source);
        piece.message = static_cast<int32_t>(message_of(p.source));
        const auto i = static_cast<size_t>(piece.message);
        if (piece.origin == Origin::kContent || piece.origin == Origin::kReasoning) {
          const bool content = piece.origin == Origin::kContent;
          const std::string_view field = content ? w.contents[i] : w.reasonings[i];
          if (p.data >= field.data() && p.data + p.size <= field.data() + field.size()) {
            piece.offset = static_cast<int32_t>(p.data - field.data());
            if (p.size == field.size()) w.shown[i] |= content ? kContentShown : kReasoningShown;
          }
        } else if (piece.origin == Origin::kToolCalls) {
          w.shown[i] |= kCallsShown;
        }
      }
    }
    w.pieces.resize(n);
  }

  // Whether some turn under loss may not be shown whole.
  static bool leaves_out(const Workplace& w, const std::vector<Message>& messages) {
    for (size_t i = 0; i < messages.size(); ++i) {
      if (w.is_assistant[i] == 0 || messages[i].weight <= 0) continue;
      const Message& m = messages[i];
      if (!m.content.empty() && (w.shown[i] & kContentShown) == 0) return true;
      if (!m.reasoning.empty() && (w.shown[i] & kReasoningShown) == 0) return true;
      if (!m.tool_calls.is_null() && (w.shown[i] & kCallsShown) == 0) return true;
    }
    return false;
  }

  // Renders a few plain conversations to see what this template writes around a turn.
  void learn() {
    const Message system{"system", "decant-s", nullptr}, q0{"user", "decant-q", nullptr},
        a0{"assistant", "decant-a", nullptr}, q1{"user", "decant-r", nullptr},
        a1{"assistant", "decant-b", nullptr};
    RenderOptions options;
    options.date = "2000-01-01";
    std::vector<std::string> ends;
    const auto probe = [&](const std::vector<Message>& messages) -> std::vector<PlainTurn> {
      try {
        const Rendered r = run(messages, options, Reasoning::kAsTemplate, ArgumentForm::kObject, false);
        const Workplace& w = workplace();
        return plain_turns(r.text, w.pieces, w.is_assistant);
      } catch (const Error&) {
        return {};
      }
    };
    const auto text_of = [&](const std::vector<Message>& messages, bool prompt) -> std::string {
      try {
        options.add_generation_prompt = prompt;
        Rendered r = run(messages, options, Reasoning::kAsTemplate, ArgumentForm::kObject, false);
        options.add_generation_prompt = false;
        return std::move(r.text);
      } catch (const Error&) {
        options.add_generation_prompt = false;
        return {};
      }
    };
    for (const std::vector<Message>& head : {std::vector<Message>{q0}, {q0, a0, q1}}) {
      const std::string without = text_of(head, false), with = text_of(head, true);
      if (with.size() > without.size() && with.starts_with(without))
        marks_.generation_prompt = with.substr(without.size());
    }
    std::vector<PlainTurn> turns;
    for (const std::vector<Message>& messages : {std::vector<Message>{q0, a0},
                                                 {q0, a0, q1, a1},
                                                 {system, q0, a0},
                                                 {q0, a0, q1, a1, q0},
                                                 {q0, a0, {"tool", "decant-t", nullptr}, a1}})
      for (PlainTurn& turn : probe(messages)) turns.push_back(std::move(turn));
    for (const PlainTurn& turn : turns) {
      marks_.headers.push_back(turn.header);
      std::string_view tail = turn.tail;
      if (marks_.end.empty()) marks_.end = find_control_token(tail, eos_);
    }
    if (!marks_.generation_prompt.empty()) marks_.headers.push_back(marks_.generation_prompt);
    std::sort(marks_.headers.begin(), marks_.headers.end());
    marks_.headers.erase(std::unique(marks_.headers.begin(), marks_.headers.end()), marks_.headers.end());
    learn_arguments(q0, a1);
  }

  // Objects, unless the template can only join the arguments of a tool call as text.
  void learn_arguments(const Message& question, const Message& answer) {
    Message call{"assistant", "",
                 Json::array({{{"type", "function"},
                               {"id", "decant001"},
                               {"function", {{"name", "f"}, {"arguments", {{"x", 1}}}}}}})};
    Message result{"tool", "1", nullptr};
    result.name = "f";
    result.tool_call_id = "decant001";
    const std::vector<Message> messages = {question, call, result, answer};
    RenderOptions options;
    options.date = "2000-01-01";
    const auto works = [&](ArgumentForm form) {
      try {
        run(messages, options, Reasoning::kAsTemplate, form, false);
        return true;
      } catch (const Error&) {
        return false;
      }
    };
    if (!works(ArgumentForm::kObject) && works(ArgumentForm::kText)) form_ = ArgumentForm::kText;
  }

  jinja::Template template_;
  std::string sha256_;
  Json special_tokens_;
  std::string eos_;
  int64_t messages_ = -1, tools_ = -1, documents_ = -1, prompt_ = -1;
  bool asks_date_ = false;
  std::vector<std::pair<int64_t, const std::string*>> named_;
  MessageKeys keys_;
  TurnMarks marks_;
  ArgumentForm form_ = ArgumentForm::kObject;
};

class Plain : public ChatTemplate {
 public:
  Rendered render(const std::vector<Message>& given, const RenderOptions& options) const override {
    Rendered out;
    std::vector<Message> changed;
    if (options.reasoning == Reasoning::kDrop) changed = without_reasoning(given);
    const std::vector<Message>& messages = changed.empty() ? given : changed;
    for (size_t i = 0; i < messages.size(); ++i) {
      const Message& m = messages[i];
      check(m.tool_calls.is_null(), "chat template 'plain': messages[", i,
            "] has tool calls, which it cannot show");
      const bool answer = m.role == "assistant";
      check(
          m.reasoning.empty() || options.reasoning == Reasoning::kAsTemplate || options.add_generation_prompt,
          "chat template 'plain': messages[", i, "] has reasoning, which it cannot show");
      const double weight = answer ? m.weight : 0;
      const size_t begin = out.text.size();
      const auto add = [&](std::string_view text, Origin origin) {
        if (text.empty()) return;
        const size_t at = out.text.size();
        out.text += text;
        const bool markup = origin == Origin::kTemplate;
        out.pieces.push_back({static_cast<uint32_t>(at), static_cast<uint32_t>(out.text.size()), origin,
                              markup ? -1 : static_cast<int32_t>(i), markup ? -1 : 0, static_cast<int32_t>(i),
                              static_cast<float>(weight)});
      };
      add(m.content, Origin::kContent);
      add("\n", Origin::kTemplate);
      if (answer) out.assistant_spans.push_back({begin, out.text.size()});
    }
    return out;
  }
  Rendered render_json(const Json& request, const std::string&) const override {
    check(request.is_object() && request.contains("messages") && request["messages"].is_array(),
          "expected a JSON object with 'messages'");
    std::vector<Message> messages;
    for (const Json& m : request["messages"]) {
      check(m.is_object() && m.contains("role") && m.contains("content") && m["role"].is_string() &&
                m["content"].is_string(),
            "chat template 'plain': every message needs the texts 'role' and 'content'");
      messages.push_back({m["role"], m["content"], nullptr});
    }
    return render(messages, RenderOptions());
  }
  const std::string& sha256() const override { return sha256_; }
  std::string name() const override { return "plain"; }

 private:
  std::string sha256_ = sha256_hex("plain");
};

}  // namespace

const std::string& chatml_template_text() {
  static const std::string text =
      R"({% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}})"
      R"({% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %})";
  return text;
}

std::unique_ptr<ChatTemplate> chat_template_from_text(const std::string& jinja, const std::string& where,
                                                      const Json& special_tokens) {
  return std::make_unique<JinjaTemplate>(jinja, where, special_tokens);
}

std::unique_ptr<ChatTemplate> plain_template() { return std::make_unique<Plain>(); }

}  // namespace decant
