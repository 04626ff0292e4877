// The release directory, and its independent check.
#include "core/adapter_file.h"
#include "core/error.h"
#include "core/log.h"
#include "export/release.h"
#include "recipes/training.h"

namespace decant {

namespace fs = std::filesystem;

void export_step(Chain& chain) {
  const Recipe& recipe = chain.recipe;
  const ExportConfig& files = recipe.export_->files;
  const std::string model = released_model(recipe);
  const fs::path folder_of_model = chain.model_of(model);
  StepKey key{"export", 1, config_key(files), {{"model", chain.digest_of(model)}}};
  std::vector<std::pair<std::string, Adapter>> adapters;
  if (recipe.lora && files.adapters)
    for (const auto& tenant : chain.adapter_tenants()) {
      key.inputs["adapter " + tenant] = chain.digest_of_step("lora/" + tenant);
      adapters.emplace_back(tenant, Adapter{});
    }
  const uint64_t bytes =
      (1 + 2 * files.gguf.size()) * model_bytes(read_model_config(folder_of_model).parameters());
  chain.step("export", key, bytes, [&](const fs::path& folder) {
    for (auto& [tenant, adapter] : adapters)
      adapter = read_adapter(chain.run.step_path("lora/" + tenant) / "adapter");
    const fs::path release = folder / files.name;
    export_release(load_model(folder_of_model, Dtype::kFp32), folder_of_model, adapters, files, release);
    const VerifyReport report = verify_release(release);
    if (!report.passed())
      throw Error(concat("export: the release does not pass its own check; it is kept in ", release.string(),
                         " to look at\n", verify_report_text(report)),
                  Exit::kInternal);
    Json figures;
    figures["checks"] = report.checks.size();
    return figures;
  });
}

}  // namespace decant
