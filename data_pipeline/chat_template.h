// Conversations to text with origin: which bytes the template wrote and which a person did, so that special
// tokens are only matched where the template wrote them, and the loss falls on assistant turns with their
// end of turn, whatever the template.
//
// The text is transformers' apply_chat_template's byte for byte. What the template sees of a message:
// thinking (an older name of the next), role, content, tool_calls, reasoning_content, name, tool_call_id,
// each only where there is one (content always). The arguments of a tool call may be a JSON object or, as
// OpenAI writes it, a text that holds one: the template is given the object, or the text when it can only
// join texts (DeepSeek's original templates); which of the two is tried out when the template is loaded.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "data_pipeline/conversation.h"
#include "data_pipeline/tokenizer.h"

namespace decant {

// Where bytes of a rendering come from.
enum class Origin : uint8_t {
  kTemplate,   // also roles (when they are plain names) and the special tokens that the model's files name
  kRole,       // of a message
  kContent,    //
  kReasoning,  //
  kToolCalls,  //
  kOther,      // name, tool_call_id or another key of a message
  kTools,      // the tools that the assistant was given
  kVariable,   // anything else that the caller passed
};

struct RenderedPiece {
  uint32_t begin = 0, end = 0;  // bytes of the text
  Origin origin = Origin::kTemplate;
  int32_t message = -1;  // whose field it is; -1: of none
  int32_t offset = -1;   // where in the content or reasoning it stands; -1: it was rewritten (or is neither)
  int32_t turn = -1;     // on behalf of which message it was written: the loop over the messages was there
  float loss_weight = 0;
  bool from_template() const { return origin == Origin::kTemplate; }
};

struct Span {
  size_t begin = 0, end = 0;  // bytes
  bool operator==(const Span&) const = default;
};

struct Rendered {
  std::string text;
  std::vector<RenderedPiece> pieces;  // in order, without gaps
  // What the assistant said: where the template has {% generation %}, exactly these blocks, as transformers'
  // assistant mask has them; else every assistant turn from its first to its last byte and on to its end of
  // turn, with the markup of reasoning and tool calls but without the turn's header.
  std::vector<Span> assistant_spans;
};

// What becomes of the reasoning of assistant turns (reasoning_content, or <think>...</think> in the content)
// that a template would leave out of the training text. R1-distill's cuts it from every turn, Qwen3's from
// all but the last: nothing a model should learn may vanish unnoticed.
enum class Reasoning : uint8_t {
  kRefuse,      // an Error when a turn under loss would lose some of its content or reasoning
  kKeep,        // what was left out is put back before the answer, as it was written (<think> LF ... LF
                // </think> LF LF around a reasoning_content); an empty think block there makes room for it
  kDrop,        // taken out of every turn before the template sees it
  kAsTemplate,  // as the template has it: transformers' text
};

struct RenderOptions {
  bool add_generation_prompt = false;
  Reasoning reasoning = Reasoning::kRefuse;  // with a generation prompt nothing is a target: as kAsTemplate
  Json tools;                                // null: none
  Json variables;  // more of the template's names (enable_thinking, documents ...), or null
  std::string
      date;  // what strftime_now sees, "YYYY-MM-DD" or with " HH:MM"; empty: a template that asks fails
};

class ChatTemplate {
 public:
  virtual ~ChatTemplate() = default;
  // Message::weight is the loss weight of a turn. Error (without customer text) when the template fails, when
  // no end of turn can be found after a turn under loss, and as the policy for reasoning says. Thread-safe.
  virtual Rendered render(const std::vector<Message>& messages, const RenderOptions& options) const = 0;
  Rendered render(const std::vector<Message>& messages, bool add_generation_prompt) const {
    RenderOptions options;
    options.add_generation_prompt = add_generation_prompt;
    return render(messages, options);
  }
  // One request as a JSON object: `messages` and any other variable, given to the template as they stand
  // (reasoning as kAsTemplate). Assistant turns are the messages of that role.
  virtual Rendered render_json(const Json& request, const std::string& date) const = 0;

  virtual const std::string& sha256() const = 0;  // of the Jinja text
  virtual std::string name() const = 0;           // "jinja" or "plain"
};

// From a model folder's template, with the special tokens of its tokenizer_config.json; `name` "plain" needs
// no template. Error with file and line for what is not a template.
std::unique_ptr<ChatTemplate> load_chat_template(const std::filesystem::path& model_folder);
// `special_tokens`: {"bos_token": "<s>", ...}, which the template sees under these names.
std::unique_ptr<ChatTemplate> chat_template_from_text(const std::string& jinja, const std::string& where,
                                                      const Json& special_tokens = Json());
// A .jinja file, a tokenizer_config.json, a chat_template.json or a model folder. `with_tools`: of several
// named templates the one called tool_use, where there is one.
std::unique_ptr<ChatTemplate> open_template_file(const std::filesystem::path& path, bool with_tools = false);
// No markup: every message's content and a LF, whatever its role. The LF after an answer is its end of turn
// and has its loss.
std::unique_ptr<ChatTemplate> plain_template();
// The ChatML template that Hugging Face's documentation gives: no default system message. For models made
// here.
const std::string& chatml_template_text();

struct TokenizedDocument {
  std::vector<int64_t> tokens;
  std::vector<uint8_t> loss_weight;  // 255 = 1.0; of predicting token t; [0] is 0
  int64_t lost_bytes = 0;            // what the vocabulary could not represent
  int64_t target_bytes = 0;  // bytes of people's text under loss, markup not counted (for bits per byte)
};

// Text to ids. Special tokens are matched where the template wrote them, never in people's text:
// "<|im_end|>" from a customer is ordinary text. Between two special tokens everything is encoded as one
// string, so the ids equal apply_chat_template's for every conversation without special-token text in it. A
// token that holds bytes of two pieces ("\n" of the markup and the answer's first line feed) has the larger
// of their weights, as transformers' assistant mask has it.
TokenizedDocument tokenize_rendered(const Rendered& rendered, const Tokenizer& tokenizer);

}  // namespace decant
