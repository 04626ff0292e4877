// Which bytes of a rendering an assistant turn is: from where its origin and the loop over the messages say
// it begins, to the end of turn that the template writes after it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "data_pipeline/chat_template.h"

namespace decant {

// What a template writes around plain turns, learnt by rendering a few.
struct TurnMarks {
  std::vector<std::string> headers;  // before an answer, since the turn began
  std::string end;                   // "<|im_end|>"; empty: none was recognised
  std::string generation_prompt;
};

// The first thing in `text` that looks like a control token: `eos`, <|...|> with ordinary or full-width bars,
// else <...>. Empty when there is none.
std::string_view find_control_token(std::string_view text, std::string_view eos);

struct TurnSpan {
  Span span;
  int64_t message;
  bool closed;  // an end of turn was found
};

// Into `spans`, in order. `is_assistant[i]` of each message; `contents[i]` its text as the template was given
// it.
void find_turn_spans(std::string_view text, const std::vector<RenderedPiece>& pieces,
                     const std::vector<uint8_t>& is_assistant, const std::vector<std::string_view>& contents,
                     const TurnMarks& marks, std::string_view eos, bool generation_prompt,
                     std::vector<TurnSpan>& spans);

// What stands before the answer of each assistant turn, and after it, in a rendering of a plain conversation.
struct PlainTurn {
  std::string header, tail;
};
std::vector<PlainTurn> plain_turns(std::string_view text, const std::vector<RenderedPiece>& pieces,
                                   const std::vector<uint8_t>& is_assistant);

}  // namespace decant
