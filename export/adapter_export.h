// A PEFT folder that every runtime reads alike: the scale is folded into B in fp32, lora_alpha = r, no
// rsLoRA, no patterns, mixed ranks padded with zeros. Why: runtimes disagree on everything but alpha / r = 1
// (references/export 0.4).
#pragma once

#include <filesystem>

#include "core/adapter_file.h"

namespace decant {

void export_adapter(const Adapter& adapter, const std::filesystem::path& out);

}  // namespace decant
