// decant verify: an independent look at what was exported.
#include <CLI/CLI.hpp>
#include <memory>

#include "export/release.h"
#include "recipes/verbs.h"

namespace decant {

void add_verify(CLI::App& app, Action& action) {
  auto* verb =
      app.add_subcommand("verify", "re-read a release with code that shares nothing with what wrote it");
  auto path = std::make_shared<std::string>();
  verb->add_option("RELEASE", *path, "release directory, or one of its artefacts")->required();
  verb->callback([&action, path] {
    action = [path] {
      const VerifyReport report = verify_release(*path);
      print(verify_report_text(report));
      return report.passed() ? Exit::kFinished : Exit::kGateSaidNo;
    };
  });
}

}  // namespace decant
