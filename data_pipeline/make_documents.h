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

// A conversation as it went into the store.
Conversation stored_conversation(const StoredDocument& document);

// With split_at_turn a conversation that is longer than a row becomes several documents: exchanges (a user
// turn up to the message before the next user turn) gathered while they fit, each with the system message and
// ending in an assistant turn. Where one exchange alone does not fit, and with `quarantine`, the conversation
// stays one document: who packs it sees that it is too long.
MadeDocuments make_documents(const Conversation& conversation, const CorpusConfig& config,
                             const Tokenizer& tokenizer, const ChatTemplate& chat_template);

}  // namespace decant
