// How fast a training runs: tokens a second, and which share of the machine's rate of matrix products it puts
// to use (MFU, PaLM's appendix B, arXiv 2204.02311; here against a rate measured at the start, not a data
// sheet's).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/model/decoder.h"

namespace decant {

// Floating-point operations that a step on this batch needs: forward, gradients of inputs down to the lowest
// part that trains, gradients of what trains (`parameters`), attention over the documents, the head on the
// tokens under loss. Work done twice, as by checkpointing of activations, counts once.
double training_flops(const Decoder& model, const std::vector<Parameter*>& parameters, const Batch& batch);

// Operations a second of a product of the body's shape, [256, D] x [D, F], in the model's dtype; measured for
// some hundredths of a second at the first call for such a shape, when it is logged, and kept.
double product_rate(const Decoder& model);

struct Speed {
  double tokens = 0, flops = 0, seconds = 0;

  void add(const Speed& other);
  double tokens_per_second() const { return seconds > 0 ? tokens / seconds : 0; }
  double share_of(double rate) const { return seconds > 0 && rate > 0 ? flops / seconds / rate : 0; }
};

// "812 tokens/s, MFU 43%, 1.3 GB resident"
std::string speed_text(const Speed& speed, double rate);

}  // namespace decant
