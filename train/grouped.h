// Many trainings over one frozen base in one process: the base is held once, its matrix products run once
// over the rows of all tenants, everything else is each tenant's own (adapter, optimizer, schedule, clipping,
// data order, metrics, checkpoints). What a tenant's training computes is bit for bit what train() computes
// for it alone, whoever else takes part: every product runs in panels of one size, in which a row's bits
// depend on nothing around it, and every sum over tokens runs over the tenant's own rows in their own order
// (DESIGN 5).
//
// The idea of one base under many adapters: mLoRA (Ye et al., arXiv 2312.02515), LoRAFusion (arXiv
// 2510.00206). The order of turns: deficit round robin (Shreedhar and Varghese, SIGCOMM 1995).
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "train/trainer.h"

namespace decant {

// One training among others.
struct GroupMember {
  std::string name;                      // begins its messages
  std::function<StepBatches()> batches;  // opened when its turn comes; an Error quarantines it
  TrainConfig config;
  std::filesystem::path folder;  // as for train()
  std::function<std::vector<Parameter*>(int64_t slot)>
      attach;  // hangs its adapter on the base at a free slot
  std::function<Json(int64_t slot, int64_t step)>
      probe;  // measures it in its slot (train/probe.h); may be empty
  std::function<void(int64_t slot, const TrainResult&)>
      finish;  // saves the adapter; it is taken off afterwards
};

// How the base's places are used. None of it changes a bit of any member's result.
struct GroupConfig {
  int64_t slots = 0;
  int64_t tokens_per_pass = 512;

  static void visit(auto& c, auto&& field) {
    field("slots", c.slots,
          "adapters that train at one time, the others wait for a free place; 0: as many as memory holds");
    field("tokens_per_pass", c.tokens_per_pass,
          "rows of different adapters that one forward and backward takes together");
  }
  void validate(const Place& place) const;
};

// The base with `slots` places for adapters. lora/tenant_slots.h makes these.
struct GroupedBase {
  Decoder* model = nullptr;
  std::function<void(int64_t slot, int64_t begin, int64_t end)>
      set_rows;                             // rows of the next pass: [begin, end)
  std::function<void(int64_t slot)> clear;  // takes the slot's adapter off
};

struct GroupSegment {
  int64_t begin = 0, end = 0;  // rows of the pass
  const Batch* batch = nullptr;
  double scale = 1;
};
// Losses of a pass's segments, each with its d_hidden [end - begin, D]. `pass` holds all of them.
using GroupObjective = std::function<std::vector<ObjectiveResult>(
    Decoder& model, const Batch& pass, const std::vector<GroupSegment>& segments, const at::Tensor& hidden)>;

// Cross-entropy of the next token: one product with the head for all segments.
std::vector<ObjectiveResult> next_token_losses(Decoder& model, const Batch& pass,
                                               const std::vector<GroupSegment>& segments,
                                               const at::Tensor& hidden);
// Any objective, a segment at a time.
GroupObjective each_segment(Objective objective);

struct GroupOutcome {
  std::string name;
  std::optional<TrainResult> result;  // absent: quarantined
  std::string reason;                 // why
};

// Trains all members; returns their outcomes in order. A member whose data cannot be read, whose loss or
// gradients are not finite or whose checkpoint is of another training is quarantined: it leaves with its last
// checkpoint and the others go on untouched. Errors with exit status 75 (no space, ...) end all. SIGINT and
// SIGTERM save every member and throw Error with exit status 75. Error when a member trains a weight of the
// base.
std::vector<GroupOutcome> train_grouped(const GroupedBase& base, const std::vector<GroupMember>& members,
                                        const GroupObjective& objective, const GroupConfig& config);

// One row that holds the documents of all batches in order.
Batch join_batches(const std::vector<const Batch*>& batches);

}  // namespace decant
