// The adapters that a recipe may come to train, known before its corpus is: what every check of adapters
// walks, so that a setting is refused as early for one tenant or candidate as for all.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "recipes/recipe_config.h"

namespace decant {

// The adapters that a recipe can come to train, its corpus unread: with tenants ["*"] one for each tenant
// that has overrides and one of the tenant "*" for all others. What is checked of adapters is checked of all
// these.
std::vector<AdapterJob> possible_adapters(const LoraSection& section);
// As LoadedRecipe::place, of the line that gives the job this setting ("train.objective"): the candidate's,
// the tenant's, or the section's.
std::string adapter_place(const LoadedRecipe& loaded, const AdapterJob& job, const std::string& dotted_key);
// Folder of the adapter that the job goes on from (lora.start with its tenant's name); empty: none. Error
// when no adapter is there.
std::filesystem::path start_adapter(const LoadedRecipe& loaded, const AdapterJob& job);

}  // namespace decant
