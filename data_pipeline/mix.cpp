#include "data_pipeline/mix.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <tuple>
#include <unordered_map>

#include "core/error.h"
#include "core/hash.h"
#include "data_pipeline/conversation.h"

namespace decant {

namespace {

constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max() / 4;
constexpr double kMaxWeight = 1000;

uint64_t mixed(uint64_t h) {  // splitmix64's finish
  h = (h ^ (h >> 30)) * 0xBF58476D1CE4E5B9ull;
  h = (h ^ (h >> 27)) * 0x94D049BB133111EBull;
  return h ^ (h >> 31);
}

// Uniform in [0, 1), of a document and a purpose.
double fraction_of(uint64_t id, uint64_t seed) {
  return std::ldexp(static_cast<double>(mixed(id ^ seed) >> 11), -53);
}

int32_t copies_of(double weight, uint64_t id, uint64_t seed) {
  const double whole = std::floor(weight);
  return static_cast<int32_t>(whole) + (fraction_of(id, seed) < weight - whole ? 1 : 0);
}

// What is left under a cap. The first that does not fit whole closes it.
struct Room {
  int64_t left = kUnlimited;

  explicit Room(int64_t limit) : left(limit > 0 ? limit : kUnlimited) {}
  // How many of `copies` of `size` fit.
  int32_t fit(int32_t copies, int64_t size) const {
    if (size == 0) return left > 0 ? copies : 0;
    return static_cast<int32_t>(std::min<int64_t>(copies, left / size));
  }
};

class TenantMix {
 public:
  TenantMix(const std::vector<MixDocument>& documents, const MixNames& names, int32_t period,
            const MixConfig& config, const MixCheck& check_earlier, std::vector<MixDecision>& decisions)
      : documents_(documents),
        names_(names),
        period_(period),
        config_(config),
        check_earlier_(check_earlier),
        decisions_(decisions),
        tenant_(config.max_tokens_per_tenant),
        rank_seed_(xxh3_64(config.salt, 1)),
        repeat_seed_(xxh3_64(config.salt, 2)) {
    for (const std::string& name : names.sources) {
      const auto found = config.sources.find(name);
      const SourceMixConfig source = found == config.sources.end() ? SourceMixConfig{} : found->second;
      weights_.push_back(source.weight);
      source_tokens_.emplace_back(source.max_tokens);
      source_documents_.emplace_back(source.max_documents);
    }
  }

  void run(std::vector<uint32_t> members) {  // documents of one tenant
    std::vector<uint32_t> month, earlier;
    for (const uint32_t i : members) {
      const MixReason reason = left_out(documents_[i]);
      if (reason != MixReason::kTaken) {
        decisions_[i] = {0, reason, false};
      } else {
        (documents_[i].period == period_ ? month : earlier).push_back(i);
      }
    }
    set_shares(month);
    by_rank(month);
    by_rank(earlier);
    int64_t month_tokens = 0;
    Room open(0);
    for (const uint32_t i : month) {
      take(i, open, false);
      month_tokens += int64_t{decisions_[i].copies} * documents_[i].tokens;
    }
    const double wanted = config_.replay * static_cast<double>(month_tokens);
    Room quota(1);
    quota.left = std::max(config_.replay_tokens,
                          static_cast<int64_t>(std::min(wanted, static_cast<double>(kUnlimited))));
    for (const uint32_t i : earlier) take(i, quota, true);
  }

 private:
  MixReason left_out(const MixDocument& document) const {
    if (document.period > period_) return MixReason::kLaterMonth;
    if (document.withdrawn != WithdrawnRules::kNone) return MixReason::kWithdrawn;
    if (document.valid_until != 0 && document.valid_until < period_) return MixReason::kExpired;
    if (document.valid_from > period_) return MixReason::kNotYetValid;
    if (config_.replay_months > 0 && period_ - document.period > config_.replay_months)
      return MixReason::kReplayQuota;
    return MixReason::kTaken;
  }

  // Shares of the month's sources become weights.
  void set_shares(const std::vector<uint32_t>& month) {
    std::vector<double> available(names_.sources.size(), 0), shares(names_.sources.size(), 0);
    for (const uint32_t i : month) available[documents_[i].source] += documents_[i].tokens;
    double sum = 0;
    size_t with = 0, without = 0;
    for (size_t s = 0; s < available.size(); ++s) {
      if (available[s] == 0) continue;
      const auto found = config_.sources.find(names_.sources[s]);
      const bool has = found != config_.sources.end() && found->second.share.has_value();
      ++(has ? with : without);
      if (has) sum += shares[s] = *found->second.share;
    }
    if (with == 0) return;
    check(without == 0,
          "mix: some sources of the month have a 'share' and others have none: give all of them one");
    if (sum == 0) fail("mix: the shares of the month's sources are all 0");
    double total = std::numeric_limits<double>::infinity();  // times sum
    for (size_t s = 0; s < available.size(); ++s)
      if (shares[s] > 0) total = std::min(total, available[s] * config_.max_repeats / shares[s]);
    for (size_t s = 0; s < available.size(); ++s)
      if (available[s] > 0) weights_[s] = shares[s] * total / available[s];
  }

  void by_rank(std::vector<uint32_t>& list) const {
    std::vector<std::pair<uint64_t, uint32_t>> ranked;
    ranked.reserve(list.size());
    for (const uint32_t i : list) ranked.emplace_back(mixed(documents_[i].id ^ rank_seed_), i);
    std::sort(ranked.begin(), ranked.end(), [&](const auto& a, const auto& b) {
      if (a.first != b.first) return a.first < b.first;
      const MixDocument &x = documents_[a.second], &y = documents_[b.second];  // only for ids that are equal
      return std::tie(x.period, x.source, x.customer, x.canned, x.tokens) <
             std::tie(y.period, y.source, y.customer, y.canned, y.tokens);
    });
    for (size_t k = 0; k < list.size(); ++k) list[k] = ranked[k].second;
  }

  void take(uint32_t i, Room& quota, bool replayed) {
    const MixDocument& document = documents_[i];
    const int32_t wanted = copies_of(weights_[document.source], document.id, repeat_seed_);
    MixDecision decision{wanted, MixReason::kTaken, replayed};
    if (wanted == 0) {
      decisions_[i] = {0, MixReason::kSourceWeight, replayed};
      return;
    }
    if (replayed && (quota.left <= 0 || check_earlier_)) {
      const MixReason reason = quota.left <= 0 ? MixReason::kReplayQuota : check_earlier_(i);
      if (reason != MixReason::kTaken) {
        decisions_[i] = {0, reason, replayed};
        return;
      }
    }
    struct Cap {
      Room* room;
      int64_t size;
      MixReason reason;
    };
    Room* canned = room_of(canned_, document.canned, config_.max_documents_per_canned_reply);
    Room* customer = room_of(customers_, document.customer, config_.max_documents_per_customer);
    const Cap caps[] = {{canned, 1, MixReason::kCannedReplyCap},
                        {customer, 1, MixReason::kCustomerCap},
                        {&source_documents_[document.source], 1, MixReason::kSourceCap},
                        {&source_tokens_[document.source], document.tokens, MixReason::kSourceCap},
                        {&tenant_, document.tokens, MixReason::kTenantCap},
                        {&quota, document.tokens, MixReason::kReplayQuota}};
    bool full[std::size(caps)] = {};
    for (const Cap& cap : caps) {
      if (cap.room == nullptr) continue;
      const int32_t fits = cap.room->fit(decision.copies, cap.size);
      if (fits == decision.copies) continue;
      decision.copies = fits;
      decision.reason = cap.reason;
      full[&cap - caps] = true;
      if (fits == 0) break;
    }
    for (size_t k = 0; k < std::size(caps); ++k) {
      if (caps[k].room == nullptr) continue;
      int64_t& left = caps[k].room->left;
      left = full[k] ? 0 : left - decision.copies * caps[k].size;
    }
    decisions_[i] = decision;
  }

  static Room* room_of(std::unordered_map<uint64_t, Room>& rooms, uint64_t key, int64_t limit) {
    if (key == 0 || limit <= 0) return nullptr;
    return &rooms.try_emplace(key, limit).first->second;
  }

  const std::vector<MixDocument>& documents_;
  const MixNames& names_;
  const int32_t period_;
  const MixConfig& config_;
  const MixCheck& check_earlier_;
  std::vector<MixDecision>& decisions_;
  std::vector<double> weights_;  // of each source
  std::vector<Room> source_tokens_, source_documents_;
  Room tenant_;
  std::unordered_map<uint64_t, Room> canned_, customers_;
  uint64_t rank_seed_, repeat_seed_;
};

}  // namespace

void MixConfig::validate(const Place& place) const {
  const auto at_least_zero = [&](const char* name, auto value) {
    check(value >= 0, place(name), ": must be at least 0, found ", value);
  };
  at_least_zero("replay", replay);
  at_least_zero("replay_tokens", replay_tokens);
  at_least_zero("replay_months", replay_months);
  at_least_zero("max_tokens_per_tenant", max_tokens_per_tenant);
  at_least_zero("max_documents_per_customer", max_documents_per_customer);
  at_least_zero("max_documents_per_canned_reply", max_documents_per_canned_reply);
  check(!replay_from.empty() || (replay == 0 && replay_tokens == 0), place("replay_from"),
        ": names no corpus of an earlier month, but 'replay' or 'replay_tokens' asks for some");
  check(replay <= 1000, place("replay"), ": must be at most 1000, found ", replay);
  check(max_repeats > 0 && max_repeats <= kMaxWeight, place("max_repeats"), ": must be above 0 and at most ",
        kMaxWeight, ", found ", max_repeats);
  for (const auto& [name, source] : sources) {
    check(source.weight >= 0 && source.weight <= kMaxWeight, place("sources"), ": the weight of '", name,
          "' must be 0 to ", kMaxWeight, ", found ", source.weight);
    check(!source.share || (*source.share >= 0 && *source.share <= 1), place("sources"), ": the share of '",
          name, "' must be 0 to 1");
    check(source.max_tokens >= 0 && source.max_documents >= 0, place("sources"), ": the limits of '", name,
          "' must be at least 0");
  }
  WithdrawnRules checked(withdrawn);
}

void check_mix_sources(const MixConfig& config, const std::vector<std::string>& known,
                       const std::string& where) {
  for (const auto& [name, source] : config.sources) {
    std::string list;
    for (const std::string& k : known) list += (list.empty() ? "" : ", ") + k;
    check(std::find(known.begin(), known.end(), name) != known.end(), where, ": 'sources' names '", name,
          "', which is no source of the corpus", did_you_mean("", name, known), "; there are ", list);
  }
}

int32_t month_number(const std::string& period) {
  check(is_period(period), "a period must be YYYY-MM, found '", period, "'");
  return std::stoi(period.substr(0, 4)) * 12 + std::stoi(period.substr(5, 2)) - 1;
}

const char* mix_reason_name(MixReason reason) {
  switch (reason) {
    case MixReason::kTaken:
      return "taken";
    case MixReason::kLaterMonth:
      return "later_month";
    case MixReason::kWithdrawn:
      return "withdrawn";
    case MixReason::kExpired:
      return "expired";
    case MixReason::kNotYetValid:
      return "not_yet_valid";
    case MixReason::kHeldOut:
      return "held_out";
    case MixReason::kSourceWeight:
      return "source_weight";
    case MixReason::kCannedReplyCap:
      return "canned_reply_cap";
    case MixReason::kCustomerCap:
      return "customer_cap";
    case MixReason::kSourceCap:
      return "source_cap";
    case MixReason::kTenantCap:
      return "tenant_cap";
    case MixReason::kReplayQuota:
      return "replay_quota";
  }
  return "?";
}

std::vector<MixDecision> mix(const std::vector<MixDocument>& documents, const MixNames& names, int32_t period,
                             const MixConfig& config, const MixCheck& check_earlier) {
  std::vector<std::vector<uint32_t>> tenants(names.tenants.size());
  for (uint32_t i = 0; i < documents.size(); ++i) {
    if (documents[i].source >= names.sources.size()) throw std::logic_error("mix: a source without a name");
    tenants.at(documents[i].tenant).push_back(i);
  }
  std::vector<MixDecision> decisions(documents.size());
  for (auto& members : tenants)
    TenantMix(documents, names, period, config, check_earlier, decisions).run(std::move(members));
  return decisions;
}

Json mix_summary(const std::vector<MixDocument>& documents, const MixNames& names,
                 const std::vector<MixDecision>& decisions) {
  struct Amount {
    int64_t documents = 0, copies = 0, tokens = 0, replayed_documents = 0, replayed_tokens = 0;
    void add(const MixDocument& document, const MixDecision& decision) {
      const int64_t seen = int64_t{decision.copies} * document.tokens;
      ++documents;
      copies += decision.copies;
      tokens += seen;
      if (!decision.replayed) return;
      ++replayed_documents;
      replayed_tokens += seen;
    }
    Json json() const {
      return {{"documents", documents},
              {"copies", copies},
              {"tokens", tokens},
              {"replayed_documents", replayed_documents},
              {"replayed_tokens", replayed_tokens}};
    }
  };
  struct Tenant {
    Amount all;
    std::map<std::string, Amount> sources;
    std::map<std::string, int64_t> left_out;
  };
  std::map<std::string, Tenant> tenants;
  for (size_t i = 0; i < documents.size(); ++i) {
    Tenant& tenant = tenants[names.tenants[documents[i].tenant]];
    const MixDecision& decision = decisions[i];
    if (decision.copies == 0) {
      ++tenant.left_out[mix_reason_name(decision.reason)];
      continue;
    }
    tenant.all.add(documents[i], decision);
    tenant.sources[names.sources[documents[i].source]].add(documents[i], decision);
  }
  Json summary = Json::object();
  for (const auto& [name, tenant] : tenants) {
    Json json = tenant.all.json();
    json["sources"] = Json::object();
    for (const auto& [source, amount] : tenant.sources) json["sources"][source] = amount.json();
    json["left_out"] = tenant.left_out;
    summary[name] = std::move(json);
  }
  return summary;
}

}  // namespace decant
