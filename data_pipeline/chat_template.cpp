#include "data_pipeline/chat_template.h"

#include <algorithm>

#include "core/error.h"
#include "core/hash.h"

namespace decant {

namespace {

constexpr const char* kStart = "<|im_start|>";
constexpr const char* kEnd = "<|im_end|>";

RenderedPiece markup(std::string text, double loss_weight = 0) {
  return {std::move(text), true, -1, loss_weight};
}

// <|im_start|>role LF content <|im_end|> LF
class ChatMl : public ChatTemplate {
 public:
  ChatMl(std::string name, std::string sha256, std::string default_system, bool plain_tool_messages)
      : name_(std::move(name)),
        sha256_(std::move(sha256)),
        default_system_(std::move(default_system)),
        plain_tool_messages_(plain_tool_messages) {}

  std::vector<RenderedPiece> render(const std::vector<Message>& messages,
                                    bool add_generation_prompt) const override {
    std::vector<RenderedPiece> pieces;
    if (!default_system_.empty() && !messages.empty() && messages[0].role != "system")
      pieces.push_back(markup(concat(kStart, "system\n", default_system_, kEnd, "\n")));
    for (size_t i = 0; i < messages.size(); ++i) {
      const Message& message = messages[i];
      check(message.tool_calls.is_null(), "chat template '", name_, "': messages[", i,
            "] has tool calls, which the built-in form does not support yet");
      check(message.role != "tool" || plain_tool_messages_, "chat template '", name_, "': messages[", i,
            "] is a tool message, which the built-in form does not support yet");
      const double weight = message.role == "assistant" ? 1 : 0;
      pieces.push_back(markup(concat(kStart, message.role, "\n")));
      pieces.push_back({message.content, false, static_cast<int64_t>(i), weight});
      pieces.push_back(markup(kEnd, weight));
      pieces.push_back(markup("\n"));
    }
    if (add_generation_prompt) pieces.push_back(markup(concat(kStart, "assistant\n")));
    return pieces;
  }
  const std::string& sha256() const override { return sha256_; }
  std::string name() const override { return name_; }

 private:
  std::string name_, sha256_, default_system_;
  bool plain_tool_messages_;
};

class Plain : public ChatTemplate {
 public:
  std::vector<RenderedPiece> render(const std::vector<Message>& messages, bool) const override {
    std::vector<RenderedPiece> pieces;
    for (size_t i = 0; i < messages.size(); ++i) {
      check(messages[i].tool_calls.is_null(), "chat template 'plain': messages[", i,
            "] has tool calls, which it cannot show");
      const double weight = messages[i].role == "assistant" ? 1 : 0;
      pieces.push_back({messages[i].content, false, static_cast<int64_t>(i), weight});
      pieces.push_back(markup("\n", weight));
    }
    return pieces;
  }
  const std::string& sha256() const override { return sha256_; }
  std::string name() const override { return "plain"; }

 private:
  std::string sha256_ = sha256_hex("plain");
};

struct BuiltIn {
  const char* sha256;  // of the Jinja text without the final LF, which Jinja drops
  const char* name;
  const char* default_system;
  bool plain_tool_messages;
};

constexpr const char* kSmolSystem = "You are a helpful AI assistant named SmolLM, trained by Hugging Face";
constexpr const char* kQwenSystem = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.";

// Each with the line feeds of its string literals written as such and as \n: both are in circulation and mean
// the same.
constexpr BuiltIn kBuiltIn[] = {
    {"872be49dbb638044ad01b60388f48d469ff2980e5f0dccdc22ec907db54d0788", "smollm2", kSmolSystem, true},
    {"de9cde7d1b0ca0cc87459a6673e0d12fb89c070bdb24e4a30b6e4d187b226221", "smollm2", kSmolSystem, true},
    {"fcf7a096fe99a48fd9ad2b250bf9237e96e8f48bffec1c7ea4d3f225176cd40e", "chatml", "", true},
    {"153280e3ff55d19da1398bdb3914ee2a51b80429bfaedde11d7d216c39db80f3", "chatml", "", true},
    {"55b2f4a26ac9ee719330a61a0c39d9e538b0e9322212f048326318cff4f8674a", "qwen2.5", kQwenSystem, false},
};

}  // namespace

const std::string& chatml_template_text() {
  static const std::string text =
      R"({% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}})"
      R"({% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %})";
  return text;
}

std::unique_ptr<ChatTemplate> chat_template_from_text(const std::string& jinja, const std::string& where) {
  const std::string digest = sha256_hex(jinja);
  const bool final_newline = jinja.ends_with('\n');
  const std::string key =
      final_newline ? sha256_hex(std::string_view(jinja).substr(0, jinja.size() - 1)) : digest;
  for (const BuiltIn& known : kBuiltIn)
    if (key == known.sha256)
      return std::make_unique<ChatMl>(known.name, digest, known.default_system, known.plain_tool_messages);
  fail(where, ": the chat template with sha256 ", digest,
       " is not built in (built in: SmolLM2-Instruct's, ChatML, Qwen2.5-Instruct's); use the template of one "
       "of these, "
       "or 'template: plain'");
}

std::unique_ptr<ChatTemplate> plain_template() { return std::make_unique<Plain>(); }

namespace {

// Text between two special tokens, with the weight of each of its bytes.
struct Segment {
  std::string text;
  std::vector<uint8_t> weight;
};

uint8_t weight_byte(double weight) { return static_cast<uint8_t>(std::clamp(weight, 0.0, 1.0) * 255 + 0.5); }

// Weight of ids[begin ..]: the largest among the bytes that a token stands for. Tokens give their bytes one
// by one; where these do not add up to the text (a normaliser changed it, bytes were lost), the weight
// changes are placed by encoding the text before them.
void weigh(const Segment& segment, const Tokenizer& tokenizer, size_t begin, TokenizedDocument& document) {
  const auto& ids = document.tokens;
  document.loss_weight.resize(ids.size(), 0);
  const auto& w = segment.weight;
  if (std::all_of(w.begin(), w.end(), [&](uint8_t x) { return x == w[0]; })) {
    std::fill(document.loss_weight.begin() + static_cast<std::ptrdiff_t>(begin), document.loss_weight.end(),
              w[0]);
    return;
  }
  std::vector<size_t> end(ids.size() - begin);
  size_t at = 0;
  for (size_t k = 0; k < end.size(); ++k) end[k] = at += tokenizer.decode({ids[begin + k]}).size();
  std::vector<uint8_t> weight = w;
  if (at != w.size()) {
    weight.clear();
    for (size_t i = 0; i < w.size();) {  // runs of equal weight, mapped into the decoded text
      size_t j = i;
      while (j < w.size() && w[j] == w[i]) ++j;
      const auto before = tokenizer.encode(std::string_view(segment.text).substr(0, j), SpecialMode::kAsText);
      size_t length = 0;
      for (const int64_t id : before) length += tokenizer.decode({id}).size();
      weight.resize(std::clamp(j == w.size() ? at : length, weight.size(), at), w[i]);
      i = j;
    }
  }
  for (size_t k = 0, from = 0; k < end.size(); from = end[k++]) {
    uint8_t largest = 0;
    for (size_t i = from; i < end[k]; ++i) largest = std::max(largest, weight[i]);
    document.loss_weight[begin + k] = largest;
  }
}

}  // namespace

TokenizedDocument tokenize_rendered(const std::vector<RenderedPiece>& pieces, const Tokenizer& tokenizer) {
  TokenizedDocument document;
  Segment segment;
  const auto close_segment = [&] {
    if (segment.text.empty()) return;
    const size_t begin = document.tokens.size();
    document.lost_bytes += tokenizer.encode(segment.text, SpecialMode::kAsText, document.tokens);
    weigh(segment, tokenizer, begin, document);
    segment = {};
  };
  const auto add_text = [&](std::string_view text, uint8_t weight) {
    segment.text += text;
    segment.weight.resize(segment.text.size(), weight);
  };
  for (const RenderedPiece& piece : pieces) {
    const uint8_t weight = weight_byte(piece.loss_weight);
    if (!piece.from_template) {
      add_text(piece.text, weight);
      if (weight > 0) document.target_bytes += static_cast<int64_t>(piece.text.size());
      continue;
    }
    // The special tokens of the template's own text, in order.
    size_t at = 0;
    for (const int64_t id : tokenizer.encode(piece.text, SpecialMode::kMatch)) {
      if (!tokenizer.is_special(id)) continue;
      const std::string text = tokenizer.decode({id});
      const size_t place = piece.text.find(text, at);
      if (text.empty() || place == std::string::npos) continue;
      add_text(std::string_view(piece.text).substr(at, place - at), weight);
      close_segment();
      document.tokens.push_back(id);
      document.loss_weight.push_back(weight);
      at = place + text.size();
    }
    add_text(std::string_view(piece.text).substr(at), weight);
  }
  close_segment();
  if (!document.loss_weight.empty()) document.loss_weight[0] = 0;
  return document;
}

}  // namespace decant
