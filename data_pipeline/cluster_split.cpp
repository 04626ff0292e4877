#include "data_pipeline/cluster_split.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <stdexcept>
#include <unordered_map>

#include "core/error.h"
#include "core/file.h"
#include "core/hash.h"
#include "data_pipeline/minimum_cut.h"
#include "data_pipeline/split.h"

namespace decant {

namespace {

constexpr std::string_view kMagic = "decant split ledger 1\n";
constexpr uint64_t kSideBit = 1;
constexpr char kCustomer = 'c', kCluster = 'd';

std::string little_endian(uint64_t value) {
  std::string bytes(8, '\0');
  for (int i = 0; i < 8; ++i) bytes[static_cast<size_t>(i)] = static_cast<char>(value >> (8 * i) & 0xFF);
  return bytes;
}
uint64_t from_little_endian(std::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < 8; ++i) value |= uint64_t{static_cast<unsigned char>(bytes[i])} << (8 * i);
  return value;
}

std::string ledger_header(const std::string& tenant, const std::string& salt) {
  // The salt may be meant to be secret: its hash tells one from another.
  return concat(kMagic, "tenant ", tenant, "\nsalt ", sha256_hex("decant split salt:" + salt).substr(0, 16),
                "\n");
}

struct Key {
  uint64_t hash;
  bool customer;
  const std::string* text;
  double rank;  // as split.h has it; below 0: not known yet
};

bool is_held_out(const Key& key, const SplitConfig& config, const std::string& tenant) {
  const std::string none;
  const double rank = key.rank >= 0 ? key.rank
                                    : split_rank(config.salt, tenant, key.customer ? *key.text : none,
                                                 key.customer ? none : *key.text);
  return rank < config.held_out_fraction;
}

class UnionFind {
 public:
  explicit UnionFind(size_t size) : parent_(size) { std::iota(parent_.begin(), parent_.end(), 0); }
  uint32_t root(uint32_t i) {
    while (parent_[i] != i) i = parent_[i] = parent_[parent_[i]];
    return i;
  }
  void join(uint32_t a, uint32_t b) {
    a = root(a), b = root(b);
    if (a != b) parent_[std::max(a, b)] = std::min(a, b);
  }

 private:
  std::vector<uint32_t> parent_;
};

// The month's keys, each once, and those of each document.
struct MonthKeys {
  std::vector<Key> keys;
  std::vector<std::vector<uint32_t>> of_document;
};

MonthKeys month_keys(const std::vector<SplitDocument>& documents, const SplitLedger& ledger) {
  MonthKeys month;
  month.of_document.resize(documents.size());
  std::unordered_map<uint64_t, uint32_t> index;
  for (size_t i = 0; i < documents.size(); ++i) {
    const SplitDocument& document = documents[i];
    const auto add = [&](char kind, const std::string& text, double rank) {
      const uint64_t hash = split_key(ledger.salt(), ledger.tenant(), kind, text);
      const auto [place, added] = index.try_emplace(hash, static_cast<uint32_t>(month.keys.size()));
      if (added) month.keys.push_back({hash, kind == kCustomer, &text, rank});
      auto& own = month.of_document[i];
      if (std::find(own.begin(), own.end(), place->second) == own.end()) own.push_back(place->second);
    };
    if (!document.customer.empty()) add(kCustomer, document.customer, document.customer_rank);
    for (const std::string& cluster : document.clusters) add(kCluster, cluster, -1);
    if (document.clusters.empty()) add(kCluster, document.id, -1);
  }
  return month;
}

// The side of keys that hang together and are all new: that of the canonical one.
Side new_side(const std::vector<uint32_t>& members, const std::vector<Key>& keys, const SplitConfig& config,
              const std::string& tenant) {
  const Key* canonical = nullptr;
  for (const uint32_t i : members) {
    const Key& key = keys[i];
    if (canonical == nullptr || key.customer > canonical->customer ||
        (key.customer == canonical->customer && key.hash < canonical->hash))
      canonical = &key;
  }
  return is_held_out(*canonical, config, tenant) ? Side::kHeldOut : Side::kTrain;
}

}  // namespace

void SplitConfig::validate(const Place& place) const {
  check(held_out_fraction >= 0 && held_out_fraction < 1, place("held_out_fraction"),
        ": must be at least 0 and less than 1, found ", held_out_fraction);
  check(max_held_out_component > 0 && max_held_out_component <= 1, place("max_held_out_component"),
        ": must be above 0 and at most 1, found ", max_held_out_component);
}

uint64_t split_key(const std::string& salt, const std::string& tenant, char kind, const std::string& key) {
  std::string message = salt;
  message.append(1, '\0').append(tenant).append(1, '\0').append(1, kind).append(1, '\0').append(key);
  return std::stoull(sha256_hex(message).substr(0, 16), nullptr, 16) & ~kSideBit;
}

bool SplitLedger::find(uint64_t key, Side& side) const {
  const auto found = std::lower_bound(records_.begin(), records_.end(), key);
  if (found != records_.end() && (*found & ~kSideBit) == key) {
    side = (*found & kSideBit) != 0 ? Side::kHeldOut : Side::kTrain;
    return true;
  }
  const auto added = added_.find(key);
  if (added == added_.end()) return false;
  side = added->second;
  return true;
}

void SplitLedger::set(uint64_t key, Side side) {
  Side known{};
  if (!find(key, known)) {
    added_.emplace(key, side);
  } else if (known != side) {
    throw std::logic_error("a key of the split ledger cannot change its side");
  }
}

void SplitLedger::settle() {
  const auto middle = static_cast<std::ptrdiff_t>(records_.size());
  for (const auto& [key, side] : added_) records_.push_back(key | (side == Side::kHeldOut ? kSideBit : 0));
  added_.clear();
  std::inplace_merge(records_.begin(), records_.begin() + middle, records_.end());
}

bool SplitLedger::erase(uint64_t key) {
  settle();
  const auto found = std::lower_bound(records_.begin(), records_.end(), key);
  if (found == records_.end() || (*found & ~kSideBit) != key) return false;
  records_.erase(found);
  return true;
}
bool SplitLedger::erase_customer(const std::string& customer) {
  return erase(split_key(salt_, tenant_, kCustomer, customer));
}
bool SplitLedger::erase_document(const std::string& id) {
  return erase(split_key(salt_, tenant_, kCluster, id));
}

void SplitLedger::save(const std::filesystem::path& path) const {
  SplitLedger settled = *this;
  settled.settle();
  std::string bytes = ledger_header(tenant_, salt_);
  bytes.reserve(bytes.size() + 8 * settled.records_.size() + 80);
  bytes += little_endian(settled.records_.size());
  for (const uint64_t record : settled.records_) bytes += little_endian(record);
  bytes += sha256_hex(bytes);
  write_file(path, bytes);
}

SplitLedger SplitLedger::load(const std::filesystem::path& path, const std::string& tenant,
                              const std::string& salt) {
  SplitLedger ledger(tenant, salt);
  if (!std::filesystem::exists(path)) return ledger;
  const MappedFile file(path);
  const std::string_view bytes = file.bytes();
  const std::string where = path.string();
  check(bytes.starts_with(kMagic), where, ": not a split ledger of this version");
  const std::string header = ledger_header(tenant, salt);
  check(bytes.starts_with(header), where,
        ": the split ledger of another tenant or another salt, expected tenant '", tenant,
        "' and the salt that it was begun with");
  check(bytes.size() >= header.size() + 8 + 64, where, ": the split ledger is cut off");
  const std::string_view body = bytes.substr(0, bytes.size() - 64);
  check(sha256_hex(body) == bytes.substr(bytes.size() - 64), where,
        ": the split ledger is damaged (SHA-256)");
  const uint64_t count = from_little_endian(body.substr(header.size(), 8));
  const std::string_view records = body.substr(header.size() + 8);
  check(records.size() % 8 == 0 && records.size() / 8 == count, where, ": the split ledger says it has ",
        count, " keys, found ", records.size() / 8);
  uint64_t last = 0;
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t record = from_little_endian(records.substr(8 * i, 8)), key = record & ~kSideBit;
    check(i == 0 || key > last, where, ": the keys of the split ledger are not in order");
    ledger.records_.push_back(record);
    last = key;
  }
  return ledger;
}

bool may_be_trained_on(const SplitDocument& document, const SplitConfig& config, const SplitLedger& ledger) {
  const std::vector<SplitDocument> alone = {document};  // keys point into it
  const MonthKeys own = month_keys(alone, ledger);
  bool known = false;
  for (const Key& key : own.keys) {
    Side side{};
    if (!ledger.find(key.hash, side)) continue;
    if (side == Side::kHeldOut) return false;
    known = true;
  }
  if (known) return true;
  std::vector<uint32_t> all(own.keys.size());
  std::iota(all.begin(), all.end(), 0U);
  return new_side(all, own.keys, config, ledger.tenant()) == Side::kTrain;
}

std::vector<Side> split_month(const std::vector<SplitDocument>& documents, const SplitConfig& config,
                              SplitLedger& ledger, SplitCounts* counts) {
  check(config.salt == ledger.salt(),
        "the split's salt is not the one that the tenant's ledger was begun with");
  const MonthKeys month = month_keys(documents, ledger);
  const auto& keys = month.keys;
  std::vector<Side> side(keys.size(), Side::kConflict);  // kConflict: not known yet
  for (size_t i = 0; i < keys.size(); ++i) ledger.find(keys[i].hash, side[i]);

  // Components. Through a document whose keys are already on both sides nothing hangs together: it is left
  // out.
  UnionFind components(keys.size());
  const auto known_on_both = [&](const std::vector<uint32_t>& own) {
    bool train = false, held = false;
    for (const uint32_t k : own) {
      train = train || side[k] == Side::kTrain;
      held = held || side[k] == Side::kHeldOut;
    }
    return train && held;
  };
  for (const auto& own : month.of_document)
    if (!known_on_both(own))
      for (const uint32_t k : own) components.join(own[0], k);

  struct Component {
    std::vector<uint32_t> keys;
    std::vector<uint32_t> documents;
  };
  std::map<uint32_t, Component> by_root;
  for (uint32_t k = 0; k < keys.size(); ++k) by_root[components.root(k)].keys.push_back(k);
  for (uint32_t i = 0; i < documents.size(); ++i)
    if (!known_on_both(month.of_document[i]))
      by_root[components.root(month.of_document[i][0])].documents.push_back(i);

  SplitCounts found;
  std::vector<uint32_t> local(keys.size());
  for (const auto& [root, component] : by_root) {
    ++found.components;
    const auto size = static_cast<int64_t>(component.documents.size());
    found.largest_component = std::max(found.largest_component, size);
    std::vector<uint32_t> train, held, open;
    for (const uint32_t k : component.keys)
      (side[k] == Side::kTrain ? train : side[k] == Side::kHeldOut ? held : open).push_back(k);
    if (open.empty()) continue;
    const auto too_many = [&](int64_t held_documents) {
      return held_documents > kSmallComponent &&
             static_cast<double>(held_documents) >
                 config.max_held_out_component * static_cast<double>(documents.size());
    };
    if (train.empty() || held.empty()) {
      const Side all = !train.empty()  ? Side::kTrain
                       : !held.empty() ? Side::kHeldOut
                                       : new_side(open, keys, config, ledger.tenant());
      for (const uint32_t k : open) side[k] = all;
    } else {
      for (uint32_t i = 0; i < component.keys.size(); ++i) local[component.keys[i]] = i;
      const auto locals = [&](std::vector<uint32_t> list) {
        for (uint32_t& k : list) k = local[k];
        return list;
      };
      std::vector<std::vector<uint32_t>> groups;
      for (const uint32_t i : component.documents)
        if (month.of_document[i].size() > 1) groups.push_back(locals(month.of_document[i]));
      const std::vector<bool> out =
          minimum_cut(static_cast<uint32_t>(component.keys.size()), groups, locals(held), locals(train));
      for (const uint32_t k : open) side[k] = out[local[k]] ? Side::kHeldOut : Side::kTrain;
    }
    // Documents that are held out because of a new key: if too many, the new keys are trained on.
    int64_t held_documents = 0;
    for (const uint32_t i : component.documents) {
      const auto& own = month.of_document[i];
      const bool all_held =
          std::all_of(own.begin(), own.end(), [&](uint32_t k) { return side[k] == Side::kHeldOut; });
      held_documents += all_held ? 1 : 0;
    }
    if (too_many(held_documents)) {
      for (const uint32_t k : open) side[k] = Side::kTrain;
      ++found.kept_from_holding_out;
    }
  }
  for (size_t k = 0; k < keys.size(); ++k) ledger.set(keys[k].hash, side[k]);
  ledger.settle();

  std::vector<Side> result(documents.size());
  for (size_t i = 0; i < documents.size(); ++i) {
    const auto& own = month.of_document[i];
    result[i] = side[own[0]];
    for (const uint32_t k : own)
      if (side[k] != result[i]) result[i] = Side::kConflict;
    ++(result[i] == Side::kTrain     ? found.train
       : result[i] == Side::kHeldOut ? found.held_out
                                     : found.conflict);
  }
  if (counts != nullptr) *counts = found;
  return result;
}

}  // namespace decant
