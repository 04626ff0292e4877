// Turns of a conversation, as the different formats write them. Errors have no prefix and no text of the
// record, only places such as messages[3].
#pragma once

#include <string_view>
#include <vector>

#include "data_pipeline/conversation.h"
#include "data_pipeline/record_fields.h"

namespace decant {

// OpenAI's list: role system, developer (system), user, assistant, tool or function (tool); content text,
// null or a list of {"type": "text"} parts; tool_calls (and the older function_call) as they are;
// reasoning_content or reasoning; name, tool_call_id, weight 0 to 1. An empty value may have any key; another
// key that is not known is an Error, since leaving it out could change what is learned.
void append_messages(JsonValue list, std::string_view key, std::vector<Message>& messages);

// ShareGPT's list of {"from", "value"}: human, user; gpt, assistant, chatgpt, bing, bard, model; system;
// observation, tool, function_response; function_call (its value is JSON text {"name", "arguments"} or a list
// of them). A list of {"role", "content"} is read as OpenAI's.
void append_sharegpt(JsonValue list, std::string_view key, NestedJson& nested,
                     std::vector<Message>& messages);

// Text (a turn of `role`), one message, or a list of messages of either kind.
void append_turns(JsonValue value, std::string_view key, std::string_view role, NestedJson& nested,
                  std::vector<Message>& messages);

// Tool definitions: a list, or a list as JSON text. With `wrap`, a bare {"name", "parameters"} becomes
// {"type": "function", "function": {...}}. Null for an empty one.
Json tool_definitions(JsonValue list, bool wrap);

Message make_message(std::string_view role, std::string content);

}  // namespace decant
