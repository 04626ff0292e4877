// What a template leaves out of assistant turns, and putting it back.
#pragma once

#include <string>
#include <vector>

#include "data_pipeline/chat_template.h"
#include "data_pipeline/jinja/state.h"

namespace decant {

// Without reasoning_content, and without <think> ... </think> at the start of assistants' contents.
std::vector<Message> without_reasoning(const std::vector<Message>& messages);

// Refuse: Error when an assistant turn with weight does not show all of its content, reasoning and tool calls
// (white space and the think tags themselves aside). Keep: reasoning that is missing goes back in front of
// the answer, in `pieces`; what else is missing is an Error.
void mend_turns(const std::vector<Message>& messages, bool keep, std::vector<jinja::Written>& pieces);

}  // namespace decant
