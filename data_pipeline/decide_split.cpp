#include "data_pipeline/decide_split.h"

#include "core/error.h"
#include "data_pipeline/split.h"

namespace decant {
namespace fs = std::filesystem;

namespace {

struct Month {
  std::vector<SplitDocument> documents;
  std::vector<uint64_t> index;  // in the store; kNoDocument: it is not kept, and only shares a side
};

// A customer's name in the ledger's keys.
std::string customer_text(uint64_t hash) { return std::to_string(hash); }

// The document that stays in the end: a keeper may itself have been removed in favour of another.
uint64_t last_keeper(const Decisions& decisions, uint64_t document) {
  while (document != kNoDocument && decisions[document].fate == Fate::kDuplicate)
    document = decisions[document].kept_instead;
  return document;
}

}  // namespace

SplitConfig split_config(const CorpusConfig& config) {
  return {config.held_out_fraction, config.split_salt, config.split.max_held_out_component};
}

SplitDocument split_document(const StoreRow& row, std::string id) {
  SplitDocument document;
  if (row.customer_hash != 0) {
    document.customer = customer_text(row.customer_hash);
    document.customer_rank = row.split_rank;
  }
  document.id = std::move(id);
  return document;
}

SplitLedgers::SplitLedgers(const CorpusConfig& config, const fs::path& base_folder)
    : folder_(config.split.ledger.empty() ? fs::path() : base_folder / config.split.ledger),
      salt_(config.split_salt) {}

fs::path SplitLedgers::path(const std::string& tenant) const { return folder_ / (tenant + ".split"); }

SplitLedger& SplitLedgers::of(const std::string& tenant) {
  auto found = ledgers_.find(tenant);
  if (found == ledgers_.end())
    found = ledgers_
                .emplace(tenant, are_kept() ? SplitLedger::load(path(tenant), tenant, salt_)
                                            : SplitLedger(tenant, salt_))
                .first;
  return found->second;
}

void SplitLedgers::save() const {
  if (!are_kept()) return;
  fs::create_directories(folder_);
  for (const auto& [tenant, ledger] : ledgers_)
    if (ledger.size() > 0 || fs::exists(path(tenant))) ledger.save(path(tenant));
}

int64_t SplitLedgers::erase(const std::string& tenant, const std::vector<std::string>& customers,
                            const std::vector<std::string>& ids) {
  SplitLedger& ledger = of(tenant);
  int64_t erased = 0;
  for (const std::string& customer : customers)
    erased += ledger.erase_customer(customer_text(customer_hash(tenant, customer))) ? 1 : 0;
  for (const std::string& id : ids) erased += ledger.erase_document(id) ? 1 : 0;
  return erased;
}

Json decide_split(const CorpusConfig& config, const StoreReader& store,
                  const std::map<uint64_t, std::string>& earlier_keepers, SplitLedgers& ledgers,
                  Decisions& decisions) {
  std::map<std::string, Month> tenants;
  std::map<uint64_t, std::vector<std::string>> members;  // by keeper
  store.each_facts([&](uint64_t i, const StoredFacts& facts) {
    Month& month = tenants[store.name(facts.row.tenant)];
    std::string id(facts.id);
    if (decisions.kept(i)) {
      month.documents.push_back(split_document(facts.row, std::move(id)));
      month.index.push_back(i);
    } else if (ledgers.are_kept() && decisions[i].fate == Fate::kDuplicate) {
      const auto earlier = earlier_keepers.find(i);
      const uint64_t keeper = last_keeper(decisions, i);
      if (earlier != earlier_keepers.end()) {
        month.documents.push_back({id, "", {id, earlier->second}});
        month.index.push_back(kNoDocument);
      } else if (keeper != kNoDocument && decisions.kept(keeper)) {
        members[keeper].push_back(std::move(id));
      }
    }
  });

  const SplitConfig split = split_config(config);
  Json summary = Json::object();
  for (auto& [tenant, month] : tenants) {
    if (month.documents.empty()) continue;
    for (size_t k = 0; k < month.documents.size(); ++k) {
      const auto found = members.find(month.index[k]);
      if (found == members.end()) continue;
      month.documents[k].clusters = std::move(found->second);
      month.documents[k].clusters.push_back(month.documents[k].id);
    }
    SplitCounts counts;
    const std::vector<Side> sides = split_month(month.documents, split, ledgers.of(tenant), &counts);
    int64_t conflicts = 0;
    for (size_t k = 0; k < sides.size(); ++k) {
      const uint64_t i = month.index[k];
      if (i == kNoDocument) continue;
      if (sides[k] == Side::kConflict) {
        ++conflicts;
        decisions.leave_out(i, Fate::kDropped, Stage::kSplit, "split_conflict",
                            "its customer or its near-duplicates are trained on and held out");
      } else {
        decisions.at(i).fate = sides[k] == Side::kHeldOut ? Fate::kHeldOut : Fate::kTrain;
      }
    }
    summary[tenant] = {{"components", counts.components},
                       {"largest_component", counts.largest_component},
                       {"conflicts", conflicts},
                       {"kept_from_holding_out", counts.kept_from_holding_out}};
  }
  return summary;
}

}  // namespace decant
