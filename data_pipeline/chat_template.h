// Conversations to text with origin: which bytes the template wrote and which a person did, so that special
// tokens are only matched where the template wrote them, and the loss falls on assistant turns with their
// end-of-turn token.
//
// For now templates are built in, recognised by the sha256 of their Jinja text (ChatML in the variants of
// SmolLM2 and Qwen, plain); any other is an Error until the template engine takes over.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "data_pipeline/conversation.h"
#include "data_pipeline/tokenizer.h"

namespace decant {

struct RenderedPiece {
  std::string text;
  bool from_template = false;  // else: content of message `message`
  int64_t message = -1;
  double loss_weight = 0;  // 1 for an assistant's content and the end-of-turn that closes it
};

class ChatTemplate {
 public:
  virtual ~ChatTemplate() = default;
  // The text that transformers' apply_chat_template gives, in pieces. Error (without customer text) for
  // messages that the built-in form does not cover: tool calls, and tool messages where the template treats
  // them specially.
  virtual std::vector<RenderedPiece> render(const std::vector<Message>& messages,
                                            bool add_generation_prompt) const = 0;
  virtual const std::string& sha256() const = 0;  // of the Jinja text
  virtual std::string name() const = 0;
};

// From a model folder's template; `name` "plain" needs no template. Error with the sha256 when it is not
// built in.
std::unique_ptr<ChatTemplate> load_chat_template(const std::filesystem::path& model_folder);
std::unique_ptr<ChatTemplate> chat_template_from_text(const std::string& jinja, const std::string& where);
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

// Pieces to ids. Special tokens are matched where the template wrote them, never in people's text:
// "<|im_end|>" from a customer is ordinary text. Between two special tokens everything is encoded as one
// string, so the ids equal apply_chat_template's for every conversation without special-token text in it. A
// token that holds bytes of two pieces ("\n" of the markup and the answer's first line feed) has the larger
// of their weights, as transformers' assistant mask has it.
TokenizedDocument tokenize_rendered(const std::vector<RenderedPiece>& pieces, const Tokenizer& tokenizer);

}  // namespace decant
