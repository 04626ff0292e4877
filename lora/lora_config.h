// What a LoRA run trains.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/config.h"

namespace decant {

struct LoraConfig {
  int64_t rank = 16;
  double alpha = 16;
  bool rslora = true;
  std::vector<std::string> targets = {"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                      "gate_proj", "up_proj", "down_proj"};
  int64_t seed = 0;

  static void visit(auto& c, auto&& field) {
    field("rank", c.rank, "inner dimension of the two factors");
    field("alpha", c.alpha,
          "the update is scaled by alpha / sqrt(rank) with rslora, by alpha / rank without");
    field("rslora", c.rslora, "rank-stabilised scaling (arXiv 2312.03732)");
    field(
        "targets", c.targets,
        "linears that get an adapter, by the last part of their name or a longer suffix; a part * is any one "
        "(experts.*.up_proj)");
    field("seed", c.seed, "of the start values");
  }
  void validate(const Place& place) const;
};

}  // namespace decant
