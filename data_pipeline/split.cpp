#include "data_pipeline/split.h"

#include <cmath>
#include <cstdint>

#include "core/hash.h"

namespace decant {

double split_rank(const std::string& salt, const std::string& tenant, const std::string& customer,
                  const std::string& id) {
  std::string key = salt;
  key.append(1, '\0').append(tenant).append(1, '\0').append(customer.empty() ? "id" : "customer");
  key.append(1, '\0').append(customer.empty() ? id : customer);
  const std::string hex = sha256_hex(key);
  const uint64_t bits = std::stoull(hex.substr(0, 13), nullptr, 16);  // 52 bits: exact as a double
  return std::ldexp(static_cast<double>(bits), -52);
}

uint64_t customer_hash(const std::string& tenant, const std::string& customer) {
  return std::stoull(sha256_hex(tenant + '\0' + customer).substr(0, 16), nullptr, 16) | 1;
}

bool is_held_out(const std::string& salt, const std::string& tenant, const std::string& customer,
                 const std::string& id, double fraction) {
  return split_rank(salt, tenant, customer, id) < fraction;
}

}  // namespace decant
