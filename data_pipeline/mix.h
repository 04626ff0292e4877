// What a month's training set is mixed of: the month's documents and a replay of earlier months,
// sources by weight, and caps. Each decision depends on hashes of ids and on the tenant's other
// documents, never on their order; a tenant's mix does not depend on other tenants.
//
// For each tenant, in this order:
// 1. Left out: documents of later months; withdrawn ones (withdrawn.h); those whose validity has ended
//    or not begun.
// 2. Copies: weight w of the source gives every document floor(w) copies, and one more to the fraction
//    of documents that w's fraction says, chosen by hash: a larger weight only adds. With shares
//    instead of weights, the month has of each source that share of its tokens, as much in all as lets
//    no source be repeated more than `max_repeats` times.
// 3. The month's documents are taken by hash rank, each as often as the caps allow (of its canned
//    reply, customer, source, tenant). What does not fit closes that cap for the documents of later
//    rank, so a larger cap only adds.
// 4. Then documents of earlier months, by rank and under the same caps, up to the replay quota: the
//    larger of `replay` times the month's tokens and `replay_tokens`. The first that does not fit ends
//    it, so more replay only adds.
// A copy counts as much as a document, for tokens and for caps.
//
// Where earlier months' documents lie is the corpus step's business (earlier_corpora.h).
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/config.h"
#include "core/json.h"
#include "data_pipeline/withdrawn.h"

namespace decant {

struct SourceMixConfig {
  double weight = 1;
  std::optional<double> share;
  int64_t max_tokens = 0;
  int64_t max_documents = 0;

  static void visit(auto& c, auto&& field) {
    field("weight", c.weight,
          "how often each document is seen; 0.3 keeps three in ten, 1.5 repeats every second");
    field("share", c.share, "of the month's tokens, instead of a weight; all sources have one or none");
    field("max_tokens", c.max_tokens, "of this source for each tenant; 0: no limit");
    field("max_documents", c.max_documents, "of this source for each tenant; 0: no limit");
  }
  bool operator==(const SourceMixConfig&) const = default;
};

struct MixConfig {
  std::map<std::string, SourceMixConfig> sources;
  double max_repeats = 4;
  std::vector<std::string> replay_from;
  double replay = 0;
  int64_t replay_tokens = 0;
  int64_t replay_months = 0;
  int64_t max_tokens_per_tenant = 0;
  int64_t max_documents_per_customer = 0;
  int64_t max_documents_per_canned_reply = 0;
  std::string salt = "decant";
  std::vector<WithdrawnConfig> withdrawn;

  static void visit(auto& c, auto&& field) {
    field("sources", c.sources, "by source name; a source that is not named has weight 1");
    field("max_repeats", c.max_repeats, "how often a document may be seen at most where sources have shares");
    field(
        "replay_from", c.replay_from,
        "corpus folders of earlier months, or globs of them (../runs/NAME/*/corpus), relative to the recipe; "
        "this month's and later ones are passed over");
    field("replay", c.replay, "tokens of earlier months for each token of the month");
    field("replay_tokens", c.replay_tokens, "tokens of earlier months for each tenant, where that is more");
    field("replay_months", c.replay_months, "only the latest months before this one are replayed; 0: all");
    field("max_tokens_per_tenant", c.max_tokens_per_tenant, "0: no limit");
    field("max_documents_per_customer", c.max_documents_per_customer, "0: no limit");
    field("max_documents_per_canned_reply", c.max_documents_per_canned_reply,
          "documents with the same canned reply, for each tenant; 0: no limit");
    field("salt", c.salt, "changes which documents are taken first");
    field(
        "withdrawn", c.withdrawn,
        "rules for documents that are not learned any more; those whose 'meta' has a valid_until before the "
        "month, or a valid_from after it (YYYY-MM), are left out without one");
  }
  void validate(const Place& place) const;
  bool operator==(const MixConfig&) const = default;
};

// Error when `sources` of the mix has a name that is not among `known`.
void check_mix_sources(const MixConfig& config, const std::vector<std::string>& known,
                       const std::string& where);

// Months since year 0, so that they can be subtracted. `period` is YYYY-MM.
int32_t month_number(const std::string& period);

struct MixDocument {
  uint64_t id = 0;                          // a hash of the document's id; (tenant, id) names one document
  uint32_t tenant = 0, source = 0;          // in MixNames
  int32_t period = 0;                       // month_number()
  int32_t valid_from = 0, valid_until = 0;  // months with which its validity begins and ends; 0: no limit
  int32_t withdrawn = WithdrawnRules::kNone;
  uint32_t tokens = 0;
  uint64_t customer = 0, canned = 0;  // hashes; 0: none
};

struct MixNames {
  std::vector<std::string> tenants, sources;
};

enum class MixReason : uint8_t {
  kTaken,  // as often as its weight says
  kLaterMonth,
  kWithdrawn,
  kExpired,
  kNotYetValid,
  kHeldOut,  // an earlier month's that must not be trained on
  kSourceWeight,
  kCannedReplyCap,
  kCustomerCap,
  kSourceCap,
  kTenantCap,
  kReplayQuota,
};
// "taken", "later_month", "withdrawn", ...: for the ledger.
const char* mix_reason_name(MixReason reason);

struct MixDecision {
  int32_t copies = 0;                    // 0: left out
  MixReason reason = MixReason::kTaken;  // why it has no more copies
  bool replayed = false;
  bool operator==(const MixDecision&) const = default;
};

// Asked of a document of an earlier month when its turn has come and there is quota left, for what is too
// dear to know of all: kTaken, or why it is left out. What it says must depend on the document alone.
using MixCheck = std::function<MixReason(size_t document)>;

// Decisions in the order of `documents`. Error when sources of the month have shares and others have
// none.
std::vector<MixDecision> mix(const std::vector<MixDocument>& documents, const MixNames& names, int32_t period,
                             const MixConfig& config, const MixCheck& check_earlier = {});

// {tenant: {documents, tokens, copies, replayed_documents, replayed_tokens, sources: {name: {documents,
// copies, tokens, replayed_documents, replayed_tokens}}, left_out: {reason: documents}}}: documents once
// each, copies and tokens as often as they are seen, replayed documents among them.
Json mix_summary(const std::vector<MixDocument>& documents, const MixNames& names,
                 const std::vector<MixDecision>& decisions);

}  // namespace decant
