// Canned replies: assistant turns that are the same in many conversations ("Thank you for contacting us
// ..."). How often a team says a thing is knowledge up to a point; beyond `most` occurrences a reply would
// drown the rest. Its further occurrences stay in their conversations as context and lose their loss weight.
//
// Two turns are the same when their matching keys are (shingles.h; here every number is masked, so that a
// reply with a ticket number or a date in it is one reply). Which occurrences keep their weight is decided by
// the rank of a hash of (salt, reply, conversation id, turn): not by order or threads; a larger `most` only
// adds, and new conversations leave the others' ranks alone.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/config.h"
#include "data_pipeline/conversation.h"

namespace decant {

struct CannedRepliesConfig {
  int64_t least = 5;
  int64_t most = 50;
  std::string salt = "decant";

  static void visit(auto& c, auto&& field) {
    field("least", c.least, "an assistant turn in so many conversations is a canned reply");
    field("most", c.most, "occurrences of a canned reply that are learned from; 0: any number");
    field("salt", c.salt, "changes which occurrences are learned from");
  }
  void validate(const Place& place) const;
};

struct CannedTurn {
  uint32_t conversation;  // as add() numbered it
  uint32_t turn;          // index of the message
  uint32_t reply;         // number of the canned reply: by falling count
  uint32_t count;         // occurrences of the reply
  bool over;              // beyond the cap: weight 0
  bool operator==(const CannedTurn&) const = default;
};

struct CannedReply {
  std::string id;                 // 32 hex digits, a hash of its key: the same in every month
  uint32_t conversations, count;  // that have it, occurrences
  uint32_t conversation, turn;    // one of them: the first in rank
};

struct CannedRepliesResult {
  std::vector<CannedTurn> turns;     // by (conversation, turn)
  std::vector<CannedReply> replies;  // by falling count, then id
};

// What an assistant turn is compared by. Trivially copyable, written as it is.
struct ReplyKey {
  uint64_t high = 0, low = 0;
  uint32_t turn = 0, padding = 0;
};

// Of the assistant turns with text and without tool calls, in order.
std::vector<ReplyKey> reply_keys(const Conversation& conversation);

class CannedReplies {
 public:
  explicit CannedReplies(const CannedRepliesConfig& config) : config_(config) {}

  // Returns the conversation's number: 0, 1, 2, ... Conversations of one id are one.
  size_t add(const Conversation& conversation) { return add(conversation.id, reply_keys(conversation)); }
  size_t add(std::string_view id, std::span<const ReplyKey> keys);
  CannedRepliesResult resolve();

 private:
  struct Occurrence {
    uint64_t high, low, rank, id_hash;
    uint32_t conversation, turn;
  };
  CannedRepliesConfig config_;
  std::vector<Occurrence> occurrences_;
  uint32_t conversations_ = 0;
};

}  // namespace decant
