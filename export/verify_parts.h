// The parts that verify_release is put together from; each adds its checks to a report.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "export/verify.h"
#include "export/verify_golden.h"
#include "export/verify_json.h"

namespace decant::verifying {

// Adds one Check a call; a Defect (or anything else that a hostile file makes libraries throw) is a failed
// one.
class Checker {
 public:
  Checker(VerifyReport& report, std::string artefact) : report_(report), artefact_(std::move(artefact)) {}
  // `test` returns what was found good.
  bool run(const std::string& what, const std::function<std::string()>& test);
  const std::string& artefact() const { return artefact_; }

 private:
  VerifyReport& report_;
  std::string artefact_;
};

// What is known of the whole release while a part is checked.
struct Context {
  const Golden* golden = nullptr;
  std::filesystem::path model_folder;  // of the release, empty when there is none
  std::optional<PlainModel> model;     // of that folder, once verify_hf has read it
};

// The model of a config.json and its checkpoint; every tensor and shape is checked against the config.
PlainModel read_hf_model(const std::filesystem::path& folder);

void verify_hf(Checker& checker, const std::filesystem::path& folder, Context& context);
void verify_adapter(Checker& checker, const std::filesystem::path& folder, const Context& context);
void verify_gguf(Checker& checker, const std::filesystem::path& file, const Context& context);

}  // namespace decant::verifying
