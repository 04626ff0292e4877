#include "data_pipeline/minimum_cut.h"

#include <algorithm>
#include <limits>

namespace decant {

namespace {

constexpr int32_t kUnlimited = std::numeric_limits<int32_t>::max() / 2;
constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();

class Flow {
 public:
  explicit Flow(uint32_t nodes) : first_(nodes, kNone), level_(nodes), at_(nodes) {}

  void arc(uint32_t from, uint32_t to, int32_t capacity) {
    arcs_.push_back({to, capacity, first_[from]});
    first_[from] = static_cast<uint32_t>(arcs_.size() - 1);
    arcs_.push_back({from, 0, first_[to]});
    first_[to] = static_cast<uint32_t>(arcs_.size() - 1);
  }

  void run(uint32_t source, uint32_t sink) {
    while (levels(source, sink)) {
      at_ = first_;
      while (augment(source, sink)) {
      }
    }
  }

  std::vector<bool> reached(uint32_t source) {
    levels(source, kNone);
    std::vector<bool> result(level_.size());
    for (size_t i = 0; i < level_.size(); ++i) result[i] = level_[i] != kNone;
    return result;
  }

 private:
  struct Arc {
    uint32_t to;
    int32_t left;
    uint32_t next;
  };

  bool levels(uint32_t source, uint32_t sink) {
    std::fill(level_.begin(), level_.end(), kNone);
    level_[source] = 0;
    std::vector<uint32_t> queue = {source};
    for (size_t k = 0; k < queue.size(); ++k)
      for (uint32_t i = first_[queue[k]]; i != kNone; i = arcs_[i].next)
        if (arcs_[i].left > 0 && level_[arcs_[i].to] == kNone) {
          level_[arcs_[i].to] = level_[queue[k]] + 1;
          queue.push_back(arcs_[i].to);
        }
    return sink != kNone && level_[sink] != kNone;
  }

  // One path more in the level graph, without recursion: paths may be as long as there are documents.
  bool augment(uint32_t source, uint32_t sink) {
    std::vector<uint32_t> path;  // arcs
    uint32_t node = source;
    while (node != sink) {
      uint32_t& i = at_[node];
      while (i != kNone && !(arcs_[i].left > 0 && level_[arcs_[i].to] == level_[node] + 1)) i = arcs_[i].next;
      if (i != kNone) {
        path.push_back(i);
        node = arcs_[i].to;
        continue;
      }
      if (path.empty()) return false;
      level_[node] = kNone;  // a dead end
      node = arcs_[path.back() ^ 1].to;
      path.pop_back();
    }
    int32_t amount = kUnlimited;
    for (const uint32_t i : path) amount = std::min(amount, arcs_[i].left);
    for (const uint32_t i : path) {
      arcs_[i].left -= amount;
      arcs_[i ^ 1].left += amount;
    }
    return true;
  }

  std::vector<Arc> arcs_;
  std::vector<uint32_t> first_, level_, at_;
};

}  // namespace

std::vector<bool> minimum_cut(uint32_t nodes, const std::vector<std::vector<uint32_t>>& groups,
                              const std::vector<uint32_t>& source, const std::vector<uint32_t>& sink) {
  const auto group_nodes = static_cast<uint32_t>(2 * groups.size());
  const uint32_t from = nodes + group_nodes, to = from + 1;
  Flow flow(nodes + group_nodes + 2);
  for (const uint32_t node : source) flow.arc(from, node, kUnlimited);
  for (const uint32_t node : sink) flow.arc(node, to, kUnlimited);
  for (uint32_t g = 0; g < groups.size(); ++g) {
    const uint32_t in = nodes + 2 * g, out = in + 1;
    flow.arc(in, out, 1);
    for (const uint32_t member : groups[g]) {
      flow.arc(member, in, kUnlimited);
      flow.arc(out, member, kUnlimited);
    }
  }
  flow.run(from, to);
  std::vector<bool> reached = flow.reached(from);
  reached.resize(nodes);
  return reached;
}

}  // namespace decant
