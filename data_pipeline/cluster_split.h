// Which side of train / held-out a document is on when documents hang together: those of one customer,
// and those of one cluster of near-duplicates, must not be on both sides, and what has been decided
// stays.
//
// A document has keys: its customer, and the roots of the clusters it belongs to. Documents that share
// a key are related. The rule:
// - A key has one side for ever, kept in the tenant's ledger. A document is on the side of its keys;
//   one whose keys are on both sides is on none: it is left out with the reason `split_conflict`. So
//   related documents never straddle, and since a key's side never changes, neither does a document's,
//   whatever is added later.
// - New keys that hang together through the month's documents (a component) and touch no key of the
//   ledger are on the side that is_held_out() gives their canonical key: the customer whose key hash is
//   least, without customers the root whose key hash is least. A single customer, or a single document,
//   is thus where split.h puts it.
// - New keys that hang together with ledger keys of one side take that side. With ledger keys of both,
//   they get the sides that leave out the fewest documents (a minimum cut; of several the one that
//   holds out the fewest keys, which is unique), so the order of documents does not matter.
// - Where that would hold out more than `max_held_out_component` of the month's documents in one
//   component (and more than kSmallComponent of them), all its new keys are trained on instead: a
//   cluster of everybody's "thanks" that joins all customers must not take the month away. Of its
//   documents those with a key that is held out already are left out.
// Doing a month twice with the ledger that it left gives the same sides.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/config.h"

namespace decant {

struct SplitConfig {
  double held_out_fraction = 0.1;
  std::string salt = "decant";
  double max_held_out_component = 0.05;

  static void visit(auto& c, auto&& field) {
    field("held_out_fraction", c.held_out_fraction, "of the customers, by hash: they are never trained on");
    field("salt", c.salt, "changes which customers are held out; a tenant's ledger keeps its salt for ever");
    field("max_held_out_component", c.max_held_out_component,
          "a group of documents that hang together and are more than this share of the month is trained on");
  }
  void validate(const Place& place) const;
  bool operator==(const SplitConfig&) const = default;
};

enum class Side : uint8_t { kTrain = 0, kHeldOut = 1, kConflict = 2 };

// 64 bits of a keyed hash, so that the ledger holds no customer's name: SHA-256 over (salt, tenant,
// kind, key).
uint64_t split_key(const std::string& salt, const std::string& tenant, char kind, const std::string& key);

// A tenant's keys and their sides: a file of sorted 8-byte records (63 bits of the key hash, the last
// bit the side) between a header and a SHA-256 of both, written atomically. Same decisions, same bytes.
class SplitLedger {
 public:
  explicit SplitLedger(std::string tenant, std::string salt)
      : tenant_(std::move(tenant)), salt_(std::move(salt)) {}
  // Error with the path when the file is damaged, is of another tenant or of another salt. A file that is not
  // there is an empty ledger.
  static SplitLedger load(const std::filesystem::path& path, const std::string& tenant,
                          const std::string& salt);
  void save(const std::filesystem::path& path) const;

  const std::string& tenant() const { return tenant_; }
  const std::string& salt() const { return salt_; }
  size_t size() const { return records_.size() + added_.size(); }
  bool find(uint64_t key, Side& side) const;
  void set(uint64_t key, Side side);  // std::logic_error when it is there with the other side
  // For erasure: forgets a customer, or a document that is the root of no other's cluster. True when it was
  // there.
  bool erase_customer(const std::string& customer);
  bool erase_document(const std::string& id);
  void settle();  // sorts in what set() added; split_month() does

 private:
  bool erase(uint64_t key);
  std::string tenant_, salt_;
  std::vector<uint64_t> records_;  // as in the file
  std::map<uint64_t, Side> added_;
};

struct SplitDocument {
  std::string id;                     // the cluster of a document without clusters is its own id
  std::string customer;               // empty: none
  std::vector<std::string> clusters;  // roots of near-duplicates, as document ids
  double customer_rank = -1;          // split_rank() of the customer where `customer` only stands for it
};

struct SplitCounts {
  int64_t train = 0, held_out = 0, conflict = 0;
  int64_t components = 0, largest_component = 0;  // documents of the largest
  int64_t kept_from_holding_out = 0;              // components that were too large for it
};

inline constexpr int64_t kSmallComponent = 50;

// Of a document of another month, whether it may be trained on beside the ledger's: none of its keys is held
// out, and where the ledger has none of them, is_held_out() says so. The ledger is not changed.
bool may_be_trained_on(const SplitDocument& document, const SplitConfig& config, const SplitLedger& ledger);

// The side of each document, in their order; the month's new keys are added to `ledger`.
std::vector<Side> split_month(const std::vector<SplitDocument>& documents, const SplitConfig& config,
                              SplitLedger& ledger, SplitCounts* counts = nullptr);

}  // namespace decant
