// Several adapters on one frozen base, each in a place (slot) of its own: term number `slot` of every linear.
// A place without an adapter has terms without factors, which no product reads. Places keep their addresses
// for as long as the model keeps its places, so an optimizer may point into them.
#pragma once

#include <cstdint>
#include <vector>

#include "core/model/decoder.h"
#include "lora/attach.h"

namespace decant {

// Freezes the model and gives every linear `slots` free places. Error when it has an adapter. An adapter with
// rows for tokens (LoraConfig::trainable_tokens) needs a model with one place: the rows stand in the base's
// matrices while it trains.
void open_slots(Decoder& model, int64_t slots);
// Back to a base without places.
void close_slots(Decoder& model);

// As attach_lora, into a free place.
void attach_to_slot(Decoder& model, int64_t slot, const LoraConfig& config, const Adapter* start = nullptr);
void clear_slot(Decoder& model, int64_t slot);
// The place's trainable parameters, as Decoder::adapter_parameters() lists those of one adapter alone.
std::vector<Parameter*> slot_parameters(Decoder& model, int64_t slot);
// The place's adapter is for rows [begin, end) of the next batches.
void set_slot_rows(Decoder& model, int64_t slot, int64_t begin, int64_t end);

// While it lives the place's adapter is the model's only one and holds for all rows: what is made for one
// adapter (collect_adapter, generation, evaluation) works on it. Nothing may be attached or cleared
// meanwhile.
class SoleAdapter {
 public:
  SoleAdapter(Decoder& model, int64_t slot);
  ~SoleAdapter();
  SoleAdapter(const SoleAdapter&) = delete;
  SoleAdapter& operator=(const SoleAdapter&) = delete;

 private:
  Decoder& model_;
  size_t slot_;
  std::vector<std::vector<LowRankTerm>> places_;  // of each linear
};

}  // namespace decant
