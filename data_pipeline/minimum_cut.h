// The fewest groups to cut so that two sets of nodes no longer hang together.
#pragma once

#include <cstdint>
#include <vector>

namespace decant {

// Nodes 0..nodes-1; each group joins its members (a document joins its keys). Nodes of `source` stay on the
// source's side, nodes of `sink` on the other (disjoint); a group with members on both sides is cut. True for
// the nodes on the source's side, with as few groups cut as can be, and among such cuts the fewest nodes
// there: that cut is unique, so the order of groups does not matter. (Max-flow by Dinic's algorithm, where a
// group is an arc of capacity one.)
std::vector<bool> minimum_cut(uint32_t nodes, const std::vector<std::vector<uint32_t>>& groups,
                              const std::vector<uint32_t>& source, const std::vector<uint32_t>& sink);

}  // namespace decant
