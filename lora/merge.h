// Merging an adapter into its base, in fp32, with a report of what rounding cost.
#pragma once

#include <string>
#include <vector>

#include "core/adapter_file.h"
#include "core/model/decoder.h"

namespace decant {

struct MergeReport {
  struct Module {
    std::string name;
    double delta_norm_ratio = 0;    // |update| / |W|, Frobenius; the update is scale B A, or DoRA's W' - W
    double relative_error = 0;      // |rounded(W') - W'| / |update|: how much of the update rounding lost
    double unchanged_fraction = 0;  // weights that rounding left as they were although their delta is not 0
    double max_delta = 0, mean_delta = 0;
  };
  std::vector<Module> modules;
};

// W <- round(W + s B A), or DoRA's m (W + s B A) / |W + s B A|, for every module, in place; removes terms.
// The adapter's rows for tokens replace the model's. Error as apply_adapter, and for a quantized weight.
MergeReport merge_adapter(Decoder& model, const Adapter& adapter);
std::string merge_report_text(const MergeReport& report);  // a table for people

}  // namespace decant
