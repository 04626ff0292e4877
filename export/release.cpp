#include "export/release.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cctype>
#include <set>

#include "core/error.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/model/load_model.h"

namespace decant {

namespace fs = std::filesystem;

namespace {

// The weights as they are released: rounded once to bf16, held in fp32 for scoring.
Decoder rounded(const Decoder& model) {
  std::map<std::string, at::Tensor> values;
  for (const Parameter* parameter : model.parameters()) values[parameter->name] = parameter->value;
  return make_decoder(model.config, Dtype::kFp32, [&](const std::string& name) {
    return stays_fp32(name) ? values.at(name) : values.at(name).to(at::kBFloat16).to(at::kFloat);
  });
}

// A name that is a file name on every system.
bool is_file_name(const std::string& name) {
  return !name.empty() && name.front() != '.' && std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return c >= 0x80 || std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
  });
}

const char* type_suffix(GgufType type) {
  switch (type) {
    case GgufType::kF32:
      return "F32";
    case GgufType::kF16:
      return "F16";
    case GgufType::kBf16:
      return "BF16";
    case GgufType::kQ8_0:
      return "Q8_0";
  }
  fail("no such GGUF type");
}

}  // namespace

void ExportConfig::validate(const Place& place) const {
  check(is_file_name(name), place("name"), ": must be letters, digits, '-', '_' and '.', found '", name, "'");
  check(max_shard_bytes >= 1'000'000, place("max_shard_bytes"), ": must be at least 1000000, found ",
        max_shard_bytes);
  check(hugging_face || !gguf.empty() || adapters, place("hugging_face"),
        ": nothing to export: hugging_face and adapters are off and gguf is empty");
  check(std::set<GgufType>(gguf.begin(), gguf.end()).size() == gguf.size(), place("gguf"),
        ": names a type twice");
}

void write_checksums(const fs::path& release) {
  std::vector<std::string> names;
  for (const auto& entry : fs::recursive_directory_iterator(release))
    if (entry.is_regular_file()) names.push_back(fs::relative(entry.path(), release).generic_string());
  std::sort(names.begin(), names.end());
  std::string out;
  for (const std::string& name : names)
    if (name != "SHA256SUMS") out += sha256_file(release / name) + "  " + name + "\n";
  write_file(release / "SHA256SUMS", out);
}

void export_release(const Decoder& model, const fs::path& tokenizer_folder,
                    const std::vector<std::pair<std::string, Adapter>>& adapters, const ExportConfig& config,
                    const fs::path& release) {
  Decoder master = rounded(model);
  std::vector<std::pair<std::string, Adapter>> folded;
  if (config.adapters) {
    for (const auto& [tenant, adapter] : adapters) {
      check(is_file_name(tenant), "export: the tenant '", tenant, "' cannot be a folder's name");
      folded.emplace_back(tenant, fold_scale(adapter));
    }
  }
  write_folder(release, [&](const fs::path& folder) {
    if (config.hugging_face)
      export_hf_folder(master, tokenizer_folder, folder / "model", config.max_shard_bytes);
    if (!folded.empty()) fs::create_directory(folder / "adapters");
    for (const auto& [tenant, adapter] : folded) export_adapter(adapter, folder / "adapters" / tenant);
    for (const GgufType type : config.gguf)
      export_gguf(master, tokenizer_folder, type, config.name,
                  folder / (config.name + "-" + type_suffix(type) + ".gguf"));
    write_golden(master, tokenizer_folder, folded, folder / "golden.jsonl");
    write_checksums(folder);
  });
}

}  // namespace decant
