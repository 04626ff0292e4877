#include "data_pipeline/decide_mix.h"

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/hash.h"
#include "data_pipeline/make_documents.h"
#include "data_pipeline/mix.h"
#include "data_pipeline/parallel_documents.h"
#include "data_pipeline/withdrawn.h"

namespace decant {

namespace {

// Names of tenants and sources, numbered as they come.
class Names {
 public:
  explicit Names(std::vector<std::string>& list) : list_(list) {}
  uint32_t operator()(const std::string& name) {
    const auto [place, added] = index_.try_emplace(name, static_cast<uint32_t>(list_.size()));
    if (added) list_.push_back(name);
    return place->second;
  }

 private:
  std::vector<std::string>& list_;
  std::map<std::string, uint32_t> index_;
};

using Key = std::array<uint64_t, 2>;

// The canned reply that a document counts under: of those that are canned this month, the first in its text.
uint64_t canned_reply_of(const StoredFacts& facts, const std::set<uint64_t>& canned) {
  if (canned.empty()) return 0;
  for (const ReplyKey& key : facts.replies())
    if (canned.contains(key.high)) return key.high;
  return 0;
}

class MonthMix {
 public:
  MonthMix(const CorpusConfig& config, const CorpusJob& job, const StoreReader& store,
           const EarlierCorpora& earlier, SplitLedgers& ledgers, Decisions& decisions)
      : config_(config),
        job_(job),
        store_(store),
        earlier_(earlier),
        ledgers_(ledgers),
        decisions_(decisions),
        period_(month_number(job.period)),
        tenant_(names_.tenants),
        source_(names_.sources),
        rules_(config.mix.withdrawn) {}

  Json run() {
    for (const std::string& name : source_names(config_)) source_(name);
    find_canned();
    add_month();
    month_size_ = documents_.size();
    for (size_t c = 0; c < earlier_.size(); ++c) add_earlier(c);
    check_mix_sources(config_.mix, names_.sources, "corpus.mix");
    const auto decided =
        mix(documents_, names_, period_, config_.mix, [this](size_t k) { return check_earlier(k); });
    std::map<std::string, int64_t> left_out = skipped_;
    std::vector<ReplayedDocument> replayed;
    int64_t taken = 0;
    for (size_t k = 0; k < decided.size(); ++k) {
      const MixDecision& decision = decided[k];
      const Place& place = places_[k];
      if (k < month_size_) {
        if (decision.copies > 0)
          decisions_.at(place.document).copies = static_cast<uint32_t>(decision.copies);
        else
          decisions_.leave_out(place.document, Fate::kDropped, Stage::kMix, mix_reason_name(decision.reason));
      } else if (decision.copies > 0) {
        replayed.push_back({place.corpus, static_cast<uint32_t>(decision.copies), place.document});
        ++taken;
      } else if (decision.reason != MixReason::kReplayQuota && decision.reason != MixReason::kSourceWeight) {
        const char* reason = mix_reason_name(decision.reason);
        ++left_out[reason];
        replayed.push_back({place.corpus, 0, place.document, decisions_.reason_index(reason)});
      }
    }
    std::sort(replayed.begin(), replayed.end(), [](const auto& a, const auto& b) {
      return std::tie(a.corpus, a.document) < std::tie(b.corpus, b.document);
    });
    Json summary;
    summary["tenants"] = mix_summary(documents_, names_, decided);
    summary["replayed"] = taken;
    summary["replay_left_out"] = left_out;
    decisions_.replay(std::move(replayed));
    return summary;
  }

 private:
  struct Place {
    uint32_t corpus = 0;  // of earlier_, for documents that are not the month's
    uint64_t document = 0;
  };

  // Replies in so many of the month's conversations, whether or not occurrences are capped; only where a cap
  // of the mix asks for them.
  void find_canned() {
    if (config_.mix.max_documents_per_canned_reply <= 0) return;
    std::map<std::pair<uint32_t, uint64_t>, int64_t> count;
    store_.each_facts([&](uint64_t i, const StoredFacts& facts) {
      if (decisions_[i].fate != Fate::kTrain) return;
      std::set<uint64_t> once;
      for (const ReplyKey& key : facts.replies())
        if (once.insert(key.high).second) ++count[{facts.row.tenant, key.high}];
    });
    for (const auto& [key, n] : count)
      if (n >= config_.canned_replies.least) canned_[store_.name(key.first)].insert(key.second);
  }

  uint64_t canned_of(const std::string& tenant, const StoredFacts& facts) const {
    const auto found = canned_.find(tenant);
    return found == canned_.end() ? 0 : canned_reply_of(facts, found->second);
  }

  MixDocument mix_document(const StoreReader& store, const StoredFacts& facts) {
    const StoreRow& row = facts.row;
    MixDocument document;
    document.id = row.id_key[0];
    document.tenant = tenant_(store.name(row.tenant));
    document.source = source_(store.facts().at("inputs").at(row.file).at("source").get<std::string>());
    document.period = period_;
    document.valid_from = row.valid_from;
    document.valid_until = row.valid_until;
    document.tokens = row.tokens;
    document.customer = row.customer_hash;
    document.canned = canned_of(store.name(row.tenant), facts);
    return document;
  }

  // Facts are read only where they count.
  void each(const StoreReader& store, const std::function<void(uint64_t, const StoredFacts&)>& work) const {
    if (!canned_.empty()) return store.each_facts(work);
    store.each_row([&](uint64_t i, const StoreRow& row) { work(i, StoredFacts{row, {}, {}, {}}); });
  }

  void add_month() {
    each(store_, [&](uint64_t i, const StoredFacts& facts) {
      if (!decisions_.kept(i)) return;
      if (earlier_.size() > 0) {
        seen_.insert(facts.row.id_key);
        seen_.insert(facts.row.content_key);
      }
      if (decisions_[i].fate != Fate::kTrain) return;
      documents_.push_back(mix_document(store_, facts));
      places_.push_back({0, i});
    });
  }

  void add_earlier(size_t c) {
    const EarlierCorpus& corpus = earlier_[c];
    const Json& inputs = corpus.store->facts().at("inputs");
    each(*corpus.store, [&](uint64_t i, const StoredFacts& facts) {
      const StoreRow& row = facts.row;
      if (corpus.decisions[i].fate != Fate::kTrain) return;
      const auto skip = [&](const char* reason) { ++skipped_[reason]; };
      if (job_.erasure.has_customer(row.customer_key) ||
          job_.erasure.has_record(inputs.at(row.file).at("sha256").get<std::string>(), row.byte_offset))
        return skip("erased");
      if (row.longest_part > config_.sequence_length) return skip("too_long");
      const bool new_id = seen_.insert(row.id_key).second;
      const bool new_content = seen_.insert(row.content_key).second;
      if (!new_id || !new_content) return skip("in_another_month");
      documents_.push_back(mix_document(*corpus.store, facts));
      documents_.back().period = month_number(corpus.period);
      places_.push_back({static_cast<uint32_t>(c), i});
    });
    corpus.store->close_files();
  }

  MixReason check_earlier(size_t k) {
    const StoredDocument document = earlier_.get(places_[k].corpus, places_[k].document);
    const SplitLedger& ledger = ledgers_.of(names_.tenants[documents_[k].tenant]);
    if (!may_be_trained_on(split_document(document.row(), std::string(document.id())), split_config(config_),
                           ledger))
      return MixReason::kHeldOut;
    if (config_.mix.withdrawn.empty()) return MixReason::kTaken;
    return rules_.find(stored_conversation(document), job_.period) == WithdrawnRules::kNone
               ? MixReason::kTaken
               : MixReason::kWithdrawn;
  }

  const CorpusConfig& config_;
  const CorpusJob& job_;
  const StoreReader& store_;
  const EarlierCorpora& earlier_;
  SplitLedgers& ledgers_;
  Decisions& decisions_;
  const int32_t period_;
  MixNames names_;
  Names tenant_, source_;
  const WithdrawnRules rules_;
  std::map<std::string, std::set<uint64_t>> canned_;  // by tenant
  std::vector<MixDocument> documents_;                // the month's, then earlier ones
  std::vector<Place> places_;
  size_t month_size_ = 0;
  std::set<Key> seen_;  // ids and contents of kept documents
  std::map<std::string, int64_t> skipped_;
};

}  // namespace

void withdraw(const CorpusConfig& config, const CorpusJob& job, const StoreReader& store,
              Decisions& decisions) {
  const int32_t period = month_number(job.period);
  const auto drop = [&](uint64_t i, const std::string& reason) {
    decisions.leave_out(i, Fate::kDropped, Stage::kMix, reason);
  };
  std::vector<uint64_t> kept;
  store.each_row([&](uint64_t i, const StoreRow& row) {
    if (!decisions.kept(i)) return;
    if (row.valid_until != 0 && row.valid_until < period)
      return drop(i, mix_reason_name(MixReason::kExpired));
    if (row.valid_from > period) return drop(i, mix_reason_name(MixReason::kNotYetValid));
    kept.push_back(i);
  });
  if (config.mix.withdrawn.empty()) return;
  const WithdrawnRules rules(config.mix.withdrawn);
  std::vector<int> found(kept.size(), WithdrawnRules::kNone);
  each_in_parallel(store, kept, [&](size_t k, const StoredDocument& document) {
    found[k] = rules.find(stored_conversation(document), job.period);
  });
  for (size_t k = 0; k < kept.size(); ++k)
    if (found[k] != WithdrawnRules::kNone) drop(kept[k], "withdrawn:" + rules.name(found[k]));
}

Json decide_mix(const CorpusConfig& config, const CorpusJob& job, const StoreReader& store,
                const EarlierCorpora& earlier, SplitLedgers& ledgers, Decisions& decisions) {
  return MonthMix(config, job, store, earlier, ledgers, decisions).run();
}

}  // namespace decant
