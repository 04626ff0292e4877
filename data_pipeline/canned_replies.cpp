#include "data_pipeline/canned_replies.h"

#include <algorithm>
#include <limits>
#include <tuple>

#include "core/error.h"
#include "core/hash.h"
#include "data_pipeline/shingles.h"

namespace decant {

namespace {

std::string hex_of(uint64_t high, uint64_t low) {
  std::string bytes;
  for (const uint64_t half : {high, low})
    for (int shift = 56; shift >= 0; shift -= 8) bytes += static_cast<char>(half >> shift);
  return to_hex(bytes);
}

}  // namespace

void CannedRepliesConfig::validate(const Place& place) const {
  check(least >= 2, place("least"), ": must be at least 2, found ", least);
  check(most >= 0, place("most"), ": must not be negative, found ", most);
}

std::vector<ReplyKey> reply_keys(const Conversation& conversation) {
  // Only the key of the text counts: a text shorter than a shingle is one, which costs nothing to make.
  static const ShingleConfig kFold = {
      .words = int64_t{1} << 40, .characters = int64_t{1} << 40, .mask_digits = 1};
  thread_local Shingler shingler(kFold);
  std::vector<ReplyKey> keys;
  for (size_t turn = 0; turn < conversation.messages.size(); ++turn) {
    const Message& message = conversation.messages[turn];
    if (message.role != "assistant" || !message.tool_calls.is_null()) continue;
    (void)shingler.shingles(message.content);
    const std::string_view key = shingler.key();
    if (key.empty()) continue;
    keys.push_back({xxh3_64(key, 1), xxh3_64(key, 2), static_cast<uint32_t>(turn)});
  }
  return keys;
}

size_t CannedReplies::add(std::string_view id, std::span<const ReplyKey> keys) {
  check(conversations_ < std::numeric_limits<uint32_t>::max(), "canned replies: too many conversations");
  for (const ReplyKey& key : keys) {
    Occurrence o{};
    o.high = key.high;
    o.low = key.low;
    o.id_hash = xxh3_64(id);
    o.rank = xxh3_64(concat(config_.salt, '\0', hex_of(o.high, o.low), '\0', key.turn, '\0', id));
    o.conversation = conversations_;
    o.turn = key.turn;
    occurrences_.push_back(o);
  }
  return conversations_++;
}

CannedRepliesResult CannedReplies::resolve() {
  // By reply and then by rank. Equal ranks: the same id twice, told apart by number.
  std::sort(occurrences_.begin(), occurrences_.end(), [](const Occurrence& a, const Occurrence& b) {
    return std::tie(a.high, a.low, a.rank, a.conversation, a.turn) <
           std::tie(b.high, b.low, b.rank, b.conversation, b.turn);
  });
  struct Group {
    size_t begin, end;
    uint32_t conversations;
  };
  std::vector<Group> groups;
  std::vector<uint64_t> ids;
  for (size_t begin = 0; begin < occurrences_.size();) {
    size_t end = begin;
    ids.clear();
    for (; end < occurrences_.size() && occurrences_[end].high == occurrences_[begin].high &&
           occurrences_[end].low == occurrences_[begin].low;
         ++end)
      ids.push_back(occurrences_[end].id_hash);
    std::sort(ids.begin(), ids.end());
    const auto conversations = static_cast<uint32_t>(std::unique(ids.begin(), ids.end()) - ids.begin());
    if (conversations >= config_.least) groups.push_back({begin, end, conversations});
    begin = end;
  }
  // The groups are by id: so are those of one count.
  std::stable_sort(groups.begin(), groups.end(),
                   [](const Group& a, const Group& b) { return a.end - a.begin > b.end - b.begin; });
  CannedRepliesResult result;
  for (const Group& group : groups) {
    const auto count = static_cast<uint32_t>(group.end - group.begin);
    const Occurrence& first = occurrences_[group.begin];
    for (size_t i = group.begin; i < group.end; ++i) {
      const bool over = config_.most > 0 && i - group.begin >= static_cast<size_t>(config_.most);
      result.turns.push_back({occurrences_[i].conversation, occurrences_[i].turn,
                              static_cast<uint32_t>(result.replies.size()), count, over});
    }
    result.replies.push_back(
        {hex_of(first.high, first.low), group.conversations, count, first.conversation, first.turn});
  }
  std::sort(result.turns.begin(), result.turns.end(), [](const CannedTurn& a, const CannedTurn& b) {
    return std::tie(a.conversation, a.turn) < std::tie(b.conversation, b.turn);
  });
  return result;
}

}  // namespace decant
