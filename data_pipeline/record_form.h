// The forms a record may have, each read to one conversation, or to two for a preference pair (chosen, then
// rejected, with ids "<id>#chosen" and "<id>#rejected" and `pair` <id>). A record that does not fit is an
// Error whose text has no prefix and nothing of the record.
//
// - messages: decant's own records and OpenAI's {"messages": [...], "tools"?: [...], "functions"?: [...]};
//   also a list that is written as JSON text. With "rejected_messages", the other conversation of a pair, it
//   is a pair; a boolean "rejected" alone is feedback. Members that are not known go to `meta`.
// - sharegpt: {"conversations": [{"from", "value"}], "system"?, "tools"?}; tools and calls get OpenAI's form.
// - alpaca: {"instruction", "input"?, "output", "system"?, "history"?: [[question, answer]], "tools"?}; the
//   input stands below the instruction, after one line feed.
// - prompt_completion: both text or messages, "system"?; "label" (KTO) says whether the answer is wanted:
// true
//   or false, 1 or 0, or one of these as text.
// - preference: "chosen" and "rejected", each text, a message or messages; what they answer is "prompt" (text
//   or messages), "question", Alpaca's or ShareGPT's members, "messages", or the messages that both lists
//   begin with.
// - fields: as the source's FieldMap says.
// - text: the whole record is one assistant turn.
//
// In all of them `id`, `tenant`, `period` and `customer` are read from these members, or from where the
// FieldMap says, and what is not understood is kept in `meta`. A missing id is content_id.
#pragma once

#include <vector>

#include "data_pipeline/conversation.h"
#include "data_pipeline/record_fields.h"
#include "data_pipeline/source_config.h"

namespace decant {

void read_form(RecordFormat format, JsonValue record, const SourceConfig& source, NestedJson& nested,
               std::vector<Conversation>& conversations);
// What the members of a record say; kAuto when they say nothing.
RecordFormat form_of(JsonValue record);

}  // namespace decant
