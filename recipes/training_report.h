// The page of one training: curves and samples, from the files that lie in its folder.
#pragma once

#include <filesystem>
#include <string>

namespace decant {

// Reads metrics.jsonl, timing.jsonl, speed.json and samples.json, as far as they are there, and writes
// report.html beside them: loss, held-out loss (of each tenant and source, too), learning rate, gradient
// norm, throughput, MFU, memory, and the samples before and after. Plots nothing that was not measured.
void write_training_report(const std::string& title, const std::filesystem::path& folder);

}  // namespace decant
