// A conversation as the documents that are learned from: rendered, tokenized and, where it is too long and
// the recipe says so, cut at turns.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data_pipeline/chat_template.h"
#include "data_pipeline/conversation.h"
#include "data_pipeline/corpus_config.h"
#include "data_pipeline/corpus_store.h"
#include "data_pipeline/tokenizer.h"

namespace decant {

// Tokens of all documents one after the other; `reason` (not_renderable, not_representable) with a text that
// holds none of the conversation's, or empty.
struct MadeDocuments {
  std::string reason, text;
  std::vector<uint32_t> part_tokens;  // of each document
  std::vector<uint32_t> tokens;
  std::vector<uint8_t> loss_weight;
  int64_t target_tokens = 0, target_bytes = 0;
};

// A conversation as it went into the store; of a pair, one that holds all that is said in both, as
// whole_pair() has it.
Conversation stored_conversation(const StoredDocument& document);
// As they were rendered: one, or the two of a pair.
std::vector<Conversation> stored_conversations(const StoredDocument& document);

// The pair as one document, which is compared and decided on: the chosen conversation and, behind it, what
// the rejected one says instead of its end.
Conversation whole_pair(const Conversation& chosen, const Conversation& rejected);

// With split_at_turn a conversation that is longer than a row becomes several documents: exchanges (a user
// turn up to the message before the next user turn) gathered while they fit, each with the system message and
// ending in an assistant turn. Where one exchange alone does not fit, and with `quarantine`, the conversation
// stays one document: who packs it sees that it is too long.
MadeDocuments make_documents(const Conversation& conversation, const CorpusConfig& config,
                             const Tokenizer& tokenizer, const ChatTemplate& chat_template);

// Takes the loss from all but the answers that were judged (of one conversation, or of the chosen and the
// rejected one of a pair): the assistant turns after what the two have in common, of one conversation those
// after its last user turn.
void learn_answers_only(std::vector<Conversation>& conversations);

// Judged answers: a document each, never cut, with the loss on the answers alone. `no_answer` where that
// leaves nothing to learn from.
MadeDocuments make_judged_documents(std::vector<Conversation> conversations, const CorpusConfig& config,
                                    const Tokenizer& tokenizer, const ChatTemplate& chat_template);

}  // namespace decant
