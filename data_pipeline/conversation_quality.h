// Numbers about a conversation as one: who says how much, and what makes an answer not worth learning. Never
// decisions (filter_rules.h decides). Lengths are in characters (code points); system and tool messages count
// in `turns` only.
#pragma once

#include "data_pipeline/conversation.h"

namespace decant {

struct ConversationQuality {
  float turns = 0, user_turns = 0, assistant_turns = 0, longest_turn = 0;
  float shortest_answer = 0, mean_answer = 0, assistant_share = 0;
  float echoed_answers = 0, repeated_answers = 0, empty_answers = 0, truncated_answers = 0;
  float refusals = 0, boilerplate = 0, placeholders = 0;
  float unanswered = 0, greeting_only = 0;

  static void visit(auto& q, auto&& field) {
    field("turns", q.turns, "messages");
    field("user_turns", q.user_turns, "messages of the customer");
    field("assistant_turns", q.assistant_turns, "messages of the assistant");
    field("longest_turn", q.longest_turn, "characters of the longest message of either");
    field("shortest_answer", q.shortest_answer, "characters of the assistant's shortest message with text");
    field("mean_answer", q.mean_answer, "characters of the assistant's messages, mean");
    field("assistant_share", q.assistant_share, "the assistant's characters, of both sides'");
    field("echoed_answers", q.echoed_answers, "answers that repeat the question before, of all answers");
    field("repeated_answers", q.repeated_answers,
          "answers of 16 characters and more that stood before in the conversation, of all answers");
    field("empty_answers", q.empty_answers, "assistant's messages without text and tool calls, of all");
    field("truncated_answers", q.truncated_answers,
          "answers that stop in the middle (after a comma, hyphen or open bracket, in an open code block, or "
          "in a "
          "word although the sentences before have ends), of all");
    field("refusals", q.refusals, "answers with a refusal or an 'as an AI', of all");
    field("boilerplate", q.boilerplate, "phrases of automatic replies and mail footers");
    field("placeholders", q.placeholders, "{{name}}, ${name}, [NAME], 【姓名】 and such, left unfilled");
    field("unanswered", q.unanswered, "1 when the last message is the customer's");
    field("greeting_only", q.greeting_only, "1 when the customer only greets, thanks or says yes");
  }
};

ConversationQuality measure_conversation(const Conversation& conversation);

// Whether an answer stops in the middle.
bool is_truncated(std::string_view answer);
// Template fields that were not filled.
int count_placeholders(std::string_view text);

}  // namespace decant
