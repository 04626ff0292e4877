// Measurements on the corpus's held-out rows while a model trains (train/probe.h).
#pragma once

#include <string>
#include <vector>

#include "core/json.h"
#include "core/model/decoder.h"
#include "recipes/chain.h"

namespace decant {

// {"held_out_loss": nats per token under loss, "bits_per_byte", "accuracy": share of the tokens under loss
// that were the most likely ones, "tenants": {name: the same}}, on whole rows of each tenant until
// `most_tokens` are measured. Bits per byte are worked out with the tokens a byte of all the tenant's
// held-out text. Error when none of the tenants has a held-out row.
Json measure_held_out(const Decoder& model, const Chain& chain, const std::vector<std::string>& tenants,
                      int64_t most_tokens);

}  // namespace decant
