// Customers, and single records, that must not be in a corpus although the files that it is made of have
// them.
//
// The list outlives the corpus: it is read whenever the corpus is made, so that a customer who was erased
// does not come back with the next run. It holds keyed hashes and places, no names.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <set>
#include <string>
#include <utility>

#include "core/json.h"

namespace decant {

using CustomerTag = std::array<uint64_t, 2>;

// HMAC-SHA-256 with the secret of the surrogates, cut to 128 bits. `customer` as clean text (normalize_text).
CustomerTag customer_tag(const std::string& secret, const std::string& tenant, const std::string& customer);

struct Erasure {
  std::set<CustomerTag> customers;
  std::set<std::pair<std::string, uint64_t>> records;  // sha256 of the file, byte offset

  bool empty() const { return customers.empty() && records.empty(); }
  bool has_customer(const CustomerTag& tag) const { return !customers.empty() && customers.contains(tag); }
  bool has_record(const std::string& file_sha256, uint64_t byte_offset) const {
    return !records.empty() && records.contains({file_sha256, byte_offset});
  }
  bool includes(const Erasure& other) const;
  void add(const Erasure& other);
};

// {"customers": [hex], "records": [[sha256, byte_offset]]}, sorted. Error for anything else.
Json erasure_json(const Erasure& erasure);
Erasure parse_erasure(const Json& json, const std::string& where);
Erasure read_erasure(const std::filesystem::path& path);

}  // namespace decant
