// The independent check of a release. It shares nothing with the writers nor with core's file readers and
// model: own readers of safetensors and GGUF, own plain fp32 forward (verify_*.cpp). A defect is a failed
// Check whose detail says what is wrong; nothing here throws for what it finds in a file.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace decant {

struct VerifyReport {
  struct Check {
    std::string artefact, what;
    bool passed = false;
    std::string detail;
  };
  std::vector<Check> checks;
  bool passed() const;
};

// Re-reads every artefact of a release directory (release.h), or one artefact (a Hugging Face folder, a PEFT
// folder, a .gguf file; golden.jsonl is looked for beside it and above it): structure, tokenizer, template,
// stop ids, checksums, and log-probabilities against golden.jsonl. Error only when the path does not exist.
// Prints nothing.
VerifyReport verify_release(const std::filesystem::path& release);

// One line a check, failed ones first in capitals, and a last line with the verdict.
std::string verify_report_text(const VerifyReport& report);

}  // namespace decant
