// Exact duplicates: the same conversation of the same tenant, whatever its white space and compatibility
// forms.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data_pipeline/conversation.h"

namespace decant {

// 128 bits of SHA-256, as 32 hex digits, over the tenant and, message by message, role,
// matching_text(content), tool calls, and, where they are set, reasoning, name, tool call id and weight; then
// tools, pair and rejected. Case counts.
std::string duplicate_key(const Conversation& conversation);

// For each conversation the index of the one that is kept in its place (its own when it is kept itself). Of
// equal ones the first by (period, index) is kept; an empty period comes last.
std::vector<size_t> exact_duplicates(const std::vector<const Conversation*>& conversations);

}  // namespace decant
