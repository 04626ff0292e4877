#include "export/verify.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <sstream>

#include "core/error.h"
#include "export/verify_bytes.h"
#include "export/verify_parts.h"

namespace decant {
namespace verifying {

bool Checker::run(const std::string& what, const std::function<std::string()>& test) {
  VerifyReport::Check check{artefact_, what, false, ""};
  try {
    check.detail = test();
    check.passed = true;
  } catch (const c10::Error& error) {
    check.detail = error.what_without_backtrace();
  } catch (const std::exception& error) {
    check.detail = error.what();
  }
  report_.checks.push_back(check);
  return check.passed;
}

namespace {

namespace fs = std::filesystem;

bool is_gguf(const fs::path& path) { return path.extension() == ".gguf"; }
bool is_hf(const fs::path& path) { return fs::exists(path / "config.json"); }
bool is_adapter(const fs::path& path) { return fs::exists(path / "adapter_config.json"); }

std::vector<fs::path> sorted_entries(const fs::path& folder) {
  std::vector<fs::path> out;
  if (fs::is_directory(folder))
    for (const auto& entry : fs::directory_iterator(folder)) out.push_back(entry.path());
  std::sort(out.begin(), out.end());
  return out;
}

// SHA256SUMS against the files: each listed file there and unchanged, no file unlisted.
std::string check_sums(const fs::path& release) {
  std::istringstream in(slurp(release / "SHA256SUMS"));
  std::set<std::string> listed = {"SHA256SUMS"};
  std::string line;
  while (std::getline(in, line)) {
    expect(line.size() > 66 && line.substr(64, 2) == "  ", "SHA256SUMS: '", line,
           "' is not a line of sha256sum");
    const std::string name = line.substr(66);
    const fs::path path = fs::path(name).lexically_normal();
    expect(!path.is_absolute() && !path.empty() && *path.begin() != "..",
           "SHA256SUMS names a file outside the release: ", name);
    expect(fs::is_regular_file(release / path), name, " is missing");
    expect(sha256_of(slurp(release / path)) == line.substr(0, 64), name,
           " has changed since it was exported (SHA-256 differs)");
    listed.insert(name);
  }
  for (const auto& entry : fs::recursive_directory_iterator(release))
    if (entry.is_regular_file()) {
      const std::string name = fs::relative(entry.path(), release).generic_string();
      expect(listed.contains(name), name, " is not in SHA256SUMS");
    }
  return std::to_string(listed.size() - 1) + " files unchanged";
}

// The release folder that an artefact lies in: where golden.jsonl is.
fs::path release_of(const fs::path& artefact) {
  fs::path folder = fs::is_directory(artefact) ? artefact : artefact.parent_path();
  for (int up = 0; up < 3; ++up) {
    if (fs::exists(folder / "golden.jsonl")) return folder;
    if (!folder.has_parent_path() || folder == folder.parent_path()) break;
    folder = folder.parent_path();
  }
  return {};
}

void verify_all(VerifyReport& report, const fs::path& release, Context& context) {
  Checker whole(report, "release");
  whole.run("checksums", [&] { return check_sums(release); });
  if (!context.model_folder.empty()) {
    Checker checker(report, "model");
    verify_hf(checker, context.model_folder, context);
  }
  size_t artefacts = context.model_folder.empty() ? 0 : 1;
  std::set<std::string> seen = {"model"};
  for (const fs::path& path : sorted_entries(release / "adapters")) {
    if (!fs::is_directory(path)) continue;
    Checker checker(report, "adapters/" + path.filename().string());
    seen.insert(checker.artefact());
    verify_adapter(checker, path, context);
    ++artefacts;
  }
  for (const fs::path& path : sorted_entries(release)) {
    if (!is_gguf(path)) continue;
    Checker checker(report, path.filename().string());
    verify_gguf(checker, path, context);
    ++artefacts;
  }
  whole.run("artefacts", [&] {
    expect(artefacts > 0, "neither a model folder, nor adapters, nor a GGUF file is there");
    if (context.golden != nullptr)
      for (const GoldenLine& line : context.golden->lines)
        expect(seen.contains(line.artefact), line.artefact, " is recorded in golden.jsonl, but not there");
    return std::to_string(artefacts) + " artefacts";
  });
}

}  // namespace
}  // namespace verifying

bool VerifyReport::passed() const {
  return !checks.empty() &&
         std::all_of(checks.begin(), checks.end(), [](const Check& check) { return check.passed; });
}

VerifyReport verify_release(const std::filesystem::path& given) {
  using namespace verifying;
  check(fs::exists(given), given.string(), ": there is nothing to verify here");
  const fs::path path = fs::absolute(given).lexically_normal();
  const fs::path target = path.has_filename() ? path : path.parent_path();
  VerifyReport report;
  const bool one = is_gguf(target) || is_hf(target) || is_adapter(target);
  const fs::path release = one ? release_of(target) : target;
  Context context;
  std::optional<Golden> golden;
  if (!one || !release.empty()) {
    Checker checker(report, "release");
    checker.run("golden.jsonl", [&] {
      golden = read_golden(release / "golden.jsonl");
      return std::to_string(golden->lines.size()) + " lines";
    });
  }
  if (golden.has_value()) context.golden = &*golden;
  const fs::path model = is_hf(target) ? target : release / "model";
  if (!model.empty() && fs::is_directory(model)) context.model_folder = model;
  if (!one) {
    verify_all(report, target, context);
    return report;
  }
  if (is_gguf(target)) {
    Checker checker(report, target.filename().string());
    verify_gguf(checker, target, context);
  } else if (is_hf(target)) {
    Checker checker(report, "model");
    verify_hf(checker, target, context);
  } else {
    if (!context.model_folder.empty()) {
      Checker base(report, "model");
      base.run("weights", [&] {
        context.model = read_hf_model(context.model_folder);
        return std::string("the base was read");
      });
    }
    Checker checker(report, "adapters/" + target.filename().string());
    verify_adapter(checker, target, context);
  }
  return report;
}

std::string verify_report_text(const VerifyReport& report) {
  std::string failed, good;
  size_t bad = 0;
  for (const auto& check : report.checks) {
    (check.passed ? good : failed) += (check.passed ? "ok      " : "FAILED  ") + check.artefact + ": " +
                                      check.what + ": " + check.detail + "\n";
    bad += check.passed ? 0 : 1;
  }
  return failed + good + (bad == 0 && !report.checks.empty() ? "verified: " : "NOT verified: ") +
         std::to_string(report.checks.size()) + " checks, " + std::to_string(bad) + " failed\n";
}

}  // namespace decant
