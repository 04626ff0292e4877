// Which side of train / held-out a conversation is on: a hash, so that adding data never moves what was
// there.
#pragma once

#include <string>

#include "data_pipeline/conversation.h"

namespace decant {

// By (salt, tenant, customer), or (salt, tenant, id) where there is no customer: all of a customer's
// conversations are on one side, and a larger fraction only adds to the held-out side. The fraction is of
// customers and holds on average.
bool is_held_out(const std::string& salt, const std::string& tenant, const std::string& customer,
                 const std::string& id, double fraction);

// What is compared with the fraction: 52 bits of the hash, in [0, 1).
double split_rank(const std::string& salt, const std::string& tenant, const std::string& customer,
                  const std::string& id);

// 64 bits that stand for a customer of a tenant, never 0.
uint64_t customer_hash(const std::string& tenant, const std::string& customer);

}  // namespace decant
