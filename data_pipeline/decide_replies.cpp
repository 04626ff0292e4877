#include "data_pipeline/decide_replies.h"

#include <map>
#include <stdexcept>
#include <vector>

#include "core/error.h"
#include "data_pipeline/canned_replies.h"
#include "data_pipeline/make_documents.h"
#include "data_pipeline/parallel_documents.h"

namespace decant {

namespace {

// What the weights become: those of the same conversation with the turns at weight 0.
MutedDocument muted_document(const StoredDocument& document, std::vector<uint32_t> turns,
                             const CorpusConfig& config, const CorpusJob& job) {
  const uint32_t count = document.row().tokens;
  std::vector<uint32_t> tokens(count);
  std::vector<uint8_t> weights(count);
  document.copy_tokens(0, count, tokens.data(), weights.data());
  Conversation conversation = stored_conversation(document);
  for (const uint32_t turn : turns) conversation.messages.at(turn).weight = 0;
  const MadeDocuments made = make_documents(conversation, config, *job.tokenizer, *job.chat_template);
  if (made.tokens != tokens || made.part_tokens != document.part_tokens())
    throw std::logic_error("canned replies: a turn's weight changed the tokens of its document");
  MutedDocument muted;
  muted.turns = std::move(turns);
  muted.target_tokens = static_cast<uint32_t>(made.target_tokens);
  muted.target_bytes = static_cast<uint32_t>(made.target_bytes);
  for (uint32_t t = 0; t < count; ++t) {
    if (made.loss_weight[t] == weights[t]) continue;
    if (!muted.runs.empty() && muted.runs.back().end == t && muted.runs.back().weight == made.loss_weight[t])
      muted.runs.back().end = t + 1;
    else
      muted.runs.push_back({t, t + 1, made.loss_weight[t]});
  }
  return muted;
}

struct Tenant {
  explicit Tenant(const CannedRepliesConfig& config) : replies(config) {}
  CannedReplies replies;
  std::vector<uint64_t> documents;  // as they were added
  std::vector<std::string> ids;
};

Json summary_of(const Tenant& tenant, const CannedRepliesResult& result) {
  std::vector<int64_t> muted(result.replies.size(), 0);
  int64_t all = 0;
  for (const CannedTurn& turn : result.turns)
    if (turn.over) ++muted[turn.reply], ++all;
  Json list = Json::array();
  for (size_t r = 0; r < result.replies.size(); ++r) {
    const CannedReply& reply = result.replies[r];
    list.push_back({{"reply", reply.id},
                    {"conversations", reply.conversations},
                    {"count", reply.count},
                    {"muted", muted[r]},
                    {"document", tenant.ids[reply.conversation]},
                    {"turn", reply.turn}});
  }
  return {{"replies", result.replies.size()},
          {"occurrences", result.turns.size()},
          {"muted", all},
          {"list", std::move(list)}};
}

}  // namespace

Json decide_replies(const CorpusConfig& config, const CorpusJob& job, const StoreReader& store,
                    Decisions& decisions) {
  std::map<std::string, Tenant> tenants;
  store.each_facts([&](uint64_t i, const StoredFacts& facts) {
    // A judged answer is compared with another one, whatever it is: it has no weight to lose.
    if (decisions[i].fate != Fate::kTrain || facts.row.replies == 0 || facts.row.judged != 0) return;
    Tenant& tenant = tenants.try_emplace(store.name(facts.row.tenant), config.canned_replies).first->second;
    tenant.replies.add(facts.id, facts.replies());
    tenant.documents.push_back(i);
    tenant.ids.emplace_back(facts.id);
  });
  Json summary = Json::object();
  for (auto& [name, tenant] : tenants) {
    const CannedRepliesResult result = tenant.replies.resolve();
    if (result.replies.empty()) continue;
    summary[name] = summary_of(tenant, result);
    std::map<uint64_t, std::vector<uint32_t>> turns;  // that are over the cap, by document
    for (const CannedTurn& turn : result.turns)
      if (turn.over) turns[tenant.documents[turn.conversation]].push_back(turn.turn);
    std::vector<uint64_t> documents;
    documents.reserve(turns.size());
    for (const auto& [document, of] : turns) documents.push_back(document);
    std::vector<MutedDocument> muted(documents.size());
    each_in_parallel(store, documents, [&](size_t k, const StoredDocument& document) {
      muted[k] = muted_document(document, turns.at(documents[k]), config, job);
    });
    for (size_t k = 0; k < documents.size(); ++k) {
      if (muted[k].target_tokens == 0)
        decisions.leave_out(documents[k], Fate::kDropped, Stage::kMix, "canned_reply",
                            "every answer in it is a canned reply beyond canned_replies.most");
      else if (!muted[k].runs.empty())
        decisions.mute(documents[k], std::move(muted[k]));
    }
  }
  return summary;
}

}  // namespace decant
