#include "lora/tenant_slots.h"

#include "core/error.h"

namespace decant {

namespace {

LowRankTerm& place_of(Linear& linear, int64_t slot) {
  TORCH_INTERNAL_ASSERT(slot >= 0 && static_cast<size_t>(slot) < linear.terms.size(), "slot ", slot, " of ",
                        linear.terms.size());
  return linear.terms[static_cast<size_t>(slot)];
}

}  // namespace

void open_slots(Decoder& model, int64_t slots) {
  TORCH_INTERNAL_ASSERT(slots >= 1);
  freeze(model);
  for (Linear* linear : model.linears()) {
    check(linear->terms.empty(), "lora: ", linear->name,
          " has an adapter already; merge or remove it before others are trained");
    linear->terms.resize(static_cast<size_t>(slots));
  }
}

void close_slots(Decoder& model) {
  remove_token_rows(model);
  for (Linear* linear : model.linears()) linear->terms.clear();
}

void attach_to_slot(Decoder& model, int64_t slot, const LoraConfig& config, const Adapter* start) {
  for (Linear* linear : model.linears())
    TORCH_INTERNAL_ASSERT(!place_of(*linear, slot).lora_a.defined(), "slot ", slot, " is taken");
  check(
      config.trainable_tokens.empty() || model.linears().at(0)->terms.size() == 1,
      "lora.trainable_tokens: adapters with rows for tokens train one at a time; set lora.together.slots: 1");
  const SoleAdapter sole(model, slot);
  attach_lora(model, config, start);
}

void clear_slot(Decoder& model, int64_t slot) {
  remove_token_rows(model);  // of the only place, if any
  for (Linear* linear : model.linears()) place_of(*linear, slot) = LowRankTerm{};
}

std::vector<Parameter*> slot_parameters(Decoder& model, int64_t slot) {
  std::vector<Parameter*> all;
  for (Linear* linear : model.linears()) {
    LowRankTerm& term = place_of(*linear, slot);
    if (!term.lora_a.defined()) continue;
    all.push_back(&term.lora_a);
    all.push_back(&term.lora_b);
    if (term.magnitude.defined()) all.push_back(&term.magnitude);
  }
  if (model.token_rows) all.push_back(&model.token_rows->embedding);
  if (model.token_rows && model.token_rows->head.defined()) all.push_back(&model.token_rows->head);
  return all;
}

void set_slot_rows(Decoder& model, int64_t slot, int64_t begin, int64_t end) {
  for (Linear* linear : model.linears()) place_of(*linear, slot).segment = {begin, end};
}

SoleAdapter::SoleAdapter(Decoder& model, int64_t slot) : model_(model), slot_(static_cast<size_t>(slot)) {
  for (Linear* linear : model.linears()) {
    LowRankTerm term = std::move(place_of(*linear, slot));
    places_.push_back(std::move(linear->terms));
    linear->terms.clear();
    if (!term.lora_a.defined()) continue;
    term.segment.reset();
    linear->terms.push_back(std::move(term));
  }
}

SoleAdapter::~SoleAdapter() {
  const auto linears = model_.linears();
  for (size_t i = 0; i < linears.size(); ++i) {
    auto sole = std::move(linears[i]->terms);
    linears[i]->terms = std::move(places_[i]);
    if (sole.empty()) continue;
    linears[i]->terms[slot_] = std::move(sole.front());
    linears[i]->terms[slot_].segment = {0, 0};
  }
}

}  // namespace decant
