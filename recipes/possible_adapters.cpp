#include "recipes/possible_adapters.h"

#include <algorithm>

#include "core/error.h"

namespace decant {

namespace fs = std::filesystem;

std::vector<AdapterJob> possible_adapters(const LoraSection& section) {
  if (section.tenants != std::vector<std::string>{kEveryTenant})
    return adapter_jobs(section, section.tenants);
  std::vector<std::string> tenants;
  for (const auto& [tenant, settings] : section.overrides) tenants.push_back(tenant);
  tenants.emplace_back(kEveryTenant);
  return adapter_jobs(section, tenants);
}

std::string adapter_place(const LoadedRecipe& loaded, const AdapterJob& job, const std::string& dotted_key) {
  const auto within = [&](const std::map<std::string, Setting>& settings, const char* kind,
                          const std::string& name) -> std::string {
    const auto of = settings.find(name);
    if (of == settings.end()) return "";
    const Setting* at = &of->second;
    for (size_t begin = 0; at != nullptr && begin <= dotted_key.size();) {
      const size_t end = std::min(dotted_key.find('.', begin), dotted_key.size());
      at = at->find(dotted_key.substr(begin, end - begin));
      begin = end + 1;
    }
    if (at == nullptr) return "";
    return concat(at->key_where.empty() ? at->where : at->key_where, ": 'lora.", kind, ".", name, ".",
                  dotted_key, "'");
  };
  const LoraSection& section = *loaded.recipe.lora;
  std::string place = within(section.candidates, "candidates", job.candidate);
  if (place.empty()) place = within(section.overrides, "overrides", job.tenant);
  return place.empty() ? loaded.place("lora." + dotted_key) : place;
}

fs::path start_adapter(const LoadedRecipe& loaded, const AdapterJob& job) {
  std::string path = job.settings.lora.start;
  if (path.empty()) return {};
  constexpr std::string_view kTenant = "{tenant}";
  for (size_t at = 0; (at = path.find(kTenant, at)) != std::string::npos; at += job.tenant.size())
    path.replace(at, kTenant.size(), job.tenant);
  const fs::path folder = loaded.resolve(path);
  check(fs::exists(folder / "adapter_config.json"), adapter_place(loaded, job, "start"),
        ": there is no adapter in ", folder.string());
  return folder;
}

}  // namespace decant
