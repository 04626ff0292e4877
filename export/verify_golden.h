// golden.jsonl as verify reads it, and the comparison of a plain model with it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "export/verify_forward.h"

namespace decant::verifying {

struct GoldenLine {
  std::string artefact, text;
  bool whole = true;
  std::vector<int64_t> ids;
  std::vector<double> log_probabilities;
};

struct Golden {
  int64_t vocabulary = 0;
  std::set<int64_t> eos;
  std::string tokenizer_sha256, template_sha256;  // empty: there was none
  std::vector<GoldenLine> lines;
};

Golden read_golden(const std::filesystem::path& file);

// How far a released log-probability may be from the recorded one, in nats: on average and at most.
struct Tolerance {
  double mean, largest;
};
constexpr Tolerance kExact = {1e-4,
                              1e-3};  // the same bf16 weights, summed in another order (F16: its subnormals)
// Q8_0: a mean of 0.01 to 0.1 is usual, a wrong rope or permutation gives more than 0.5.
constexpr Tolerance kEightBit = {0.2, 2.0};

// Scores every line of `artefact`; returns a summary, or throws a Defect with the worst position.
std::string compare_with_golden(const PlainModel& model, const Golden& golden, const std::string& artefact,
                                Tolerance tolerance);

}  // namespace decant::verifying
