#include "data_pipeline/dedup.h"

#include <tbb/parallel_for.h>

#include <unordered_map>

#include "core/hash.h"
#include "data_pipeline/normalize.h"

namespace decant {

std::string duplicate_key(const Conversation& conversation) {
  Sha256 digest;
  const auto put = [&](std::string_view text) {  // with its length: no two lists of texts look the same
    digest.update(std::to_string(text.size()) + ":");
    digest.update(text);
  };
  // Only when set, and with its name: what has none of these keeps its key.
  const auto put_field = [&](std::string_view name, std::string_view text) {
    if (text.empty()) return;
    put(name);
    put(text);
  };
  put(conversation.tenant);
  for (const Message& message : conversation.messages) {
    put(message.role);
    put(matching_text(message.content));
    put(message.tool_calls.is_null() ? std::string() : message.tool_calls.dump());
    put_field("reasoning", matching_text(message.reasoning));
    put_field("name", message.name);
    put_field("tool_call_id", message.tool_call_id);
    if (message.weight != 1) put_field("weight", Json(message.weight).dump());
  }
  put_field("tools", conversation.tools.is_null() ? std::string() : conversation.tools.dump());
  put_field("pair", conversation.pair);
  if (conversation.rejected) put_field("rejected", "true");
  return digest.hex().substr(0, 32);
}

std::vector<size_t> exact_duplicates(const std::vector<const Conversation*>& conversations) {
  std::vector<std::string> keys(conversations.size());
  tbb::parallel_for(size_t{0}, conversations.size(),
                    [&](size_t i) { keys[i] = duplicate_key(*conversations[i]); });
  const auto earlier = [&](size_t a, size_t b) {
    const std::string &p = conversations[a]->period, &q = conversations[b]->period;
    if (p != q) return !p.empty() && (q.empty() || p < q);
    return a < b;
  };
  std::unordered_map<std::string, size_t> keeper;
  for (size_t i = 0; i < keys.size(); ++i) {
    const auto [place, added] = keeper.try_emplace(keys[i], i);
    if (!added && earlier(i, place->second)) place->second = i;
  }
  std::vector<size_t> kept(keys.size());
  for (size_t i = 0; i < keys.size(); ++i) kept[i] = keeper.at(keys[i]);
  return kept;
}

}  // namespace decant
