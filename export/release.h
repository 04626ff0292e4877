// Packages for serving teams, and their independent check.
//
// A release directory:
//   model/                 Hugging Face folder, BF16                    (hf_folder.h)
//   adapters/<tenant>/     PEFT folder, scale folded into B             (adapter_export.h)
//   <name>-Q8_0.gguf ...   one file a type                              (gguf_writer.h)
//   golden.jsonl           log-probabilities of the model in memory     (golden.h)
//   SHA256SUMS             of every other file; `sha256sum -c` reads it
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "core/adapter_file.h"
#include "core/json.h"
#include "core/model/decoder.h"
#include "export/adapter_export.h"
#include "export/export_config.h"
#include "export/gguf_writer.h"
#include "export/golden.h"
#include "export/hf_folder.h"
#include "export/verify.h"

namespace decant {

// Everything that `config` asks for, from one set of weights rounded once to bf16; `adapters` by tenant. The
// directory appears at once, complete. Deterministic bytes: no clock, no host.
void export_release(const Decoder& model, const std::filesystem::path& tokenizer_folder,
                    const std::vector<std::pair<std::string, Adapter>>& adapters, const ExportConfig& config,
                    const std::filesystem::path& release);

// Writes SHA256SUMS over every file below `release`.
void write_checksums(const std::filesystem::path& release);

}  // namespace decant
