#include <ATen/ATen.h>

#include <cmath>

#include "export/verify_bytes.h"
#include "export/verify_parts.h"
#include "export/verify_safetensors.h"

namespace decant::verifying {
namespace {

namespace fs = std::filesystem;

const std::string kConfig = "adapter_config.json";
const std::string kPrefix = "base_model.model.";

struct PlainAdapter {
  int64_t rank = 0;
  double scale = 1;
  std::set<std::string> targets;
  std::map<std::string, std::pair<at::Tensor, at::Tensor>> modules;  // A, B by module
};

void read_adapter_config(const fs::path& folder, PlainAdapter& adapter) {
  const Tree tree = read_tree(folder / kConfig);
  expect(text_or(tree, "peft_type", "", kConfig) == "LORA", kConfig, ": peft_type is not LORA");
  expect(text_or(tree, "task_type", "", kConfig) == "CAUSAL_LM", kConfig, ": task_type is not CAUSAL_LM");
  adapter.rank = integer(tree, "r", kConfig);
  expect(adapter.rank > 0 && adapter.rank <= 65536, kConfig, ": r is ", adapter.rank);
  expect(has(tree, "lora_alpha"), kConfig, ": 'lora_alpha' is missing");
  const double alpha = number_or(tree, "lora_alpha", 0, kConfig);
  const bool rslora = flag_or(tree, "use_rslora", false, kConfig);
  const auto empty = [&](const char* key) { return !has(tree, key) || tree.at(key).empty(); };
  expect(
      alpha == static_cast<double>(adapter.rank) && !rslora, kConfig, ": lora_alpha ", alpha, ", r ",
      adapter.rank, rslora ? ", use_rslora true" : "",
      ": an exported adapter has its scale folded into B (alpha = r, no rsLoRA), or runtimes disagree on it");
  expect(empty("rank_pattern") && empty("alpha_pattern"), kConfig,
         ": rank_pattern and alpha_pattern are ignored by vLLM in silence");
  expect(empty("modules_to_save"), kConfig, ": modules_to_save is refused by vLLM");
  expect(!flag_or(tree, "use_dora", false, kConfig), kConfig, ": DoRA is refused by vLLM and llama.cpp");
  expect(!flag_or(tree, "fan_in_fan_out", false, kConfig), kConfig, ": fan_in_fan_out is for GPT-2's layers");
  expect(text_or(tree, "bias", "none", kConfig) == "none", kConfig, ": bias is not none");
  adapter.scale = alpha / static_cast<double>(adapter.rank);
  expect(has(tree, "target_modules") && tree.at("target_modules").is_array() &&
             !tree.at("target_modules").empty(),
         kConfig, ": target_modules is missing or no list");
  for (const Tree& target : tree.at("target_modules")) {
    expect(target.is_string(), kConfig, ": target_modules holds something that is not a text");
    adapter.targets.insert(target.get<std::string>());
  }
}

void read_adapter_tensors(const fs::path& folder, PlainAdapter& adapter) {
  const PlainFile file = read_plain_safetensors(folder / "adapter_model.safetensors");
  const std::string ends[] = {".lora_A.weight", ".lora_B.weight"};
  for (const auto& [name, value] : file.tensors) {
    const int side = name.ends_with(ends[0]) ? 0 : name.ends_with(ends[1]) ? 1 : -1;
    expect(side >= 0 && name.starts_with(kPrefix), "tensor ", name, " is not a LoRA factor");
    const std::string module = name.substr(kPrefix.size(), name.size() - kPrefix.size() - ends[side].size());
    const std::string last = module.substr(module.rfind('.') + 1);
    expect(adapter.targets.contains(last) || adapter.targets.contains(module), "module ", module,
           " is not among target_modules");
    expect(value.dim() == 2 && value.size(side == 0 ? 0 : 1) == adapter.rank, "tensor ", name,
           " does not have rank ", adapter.rank);
    auto& pair = adapter.modules[module];
    (side == 0 ? pair.first : pair.second) = value;
  }
  expect(!adapter.modules.empty(), "adapter_model.safetensors holds no factors");
  std::set<std::string> used;
  for (const auto& [module, pair] : adapter.modules) {
    expect(pair.first.defined() && pair.second.defined(), "module ", module, " lacks its lora_",
           pair.first.defined() ? "B" : "A");
    used.insert(module.substr(module.rfind('.') + 1));
    used.insert(module);
  }
  for (const std::string& target : adapter.targets)
    expect(used.contains(target), "target module ", target, " has no factors in the file");
}

PlainModel with_adapter(const PlainModel& base, const PlainAdapter& adapter) {
  PlainModel model = base;
  for (const auto& [module, pair] : adapter.modules) {
    const auto found = model.weights.find(module + ".weight");
    expect(found != model.weights.end(), "module ", module, " is not in the base model");
    const at::Tensor& weight = found->second;
    expect(weight.size(0) == pair.second.size(0) && weight.size(1) == pair.first.size(1), "module ", module,
           ": the factors do not fit the base's weight; is this the right base?");
    found->second = weight + pair.second.matmul(pair.first) * adapter.scale;
  }
  return model;
}

}  // namespace

void verify_adapter(Checker& checker, const fs::path& folder, const Context& context) {
  PlainAdapter adapter;
  const bool config = checker.run("config", [&] {
    read_adapter_config(folder, adapter);
    return "rank " + std::to_string(adapter.rank) + ", scale folded";
  });
  if (!config) return;
  const bool tensors = checker.run("weights", [&] {
    read_adapter_tensors(folder, adapter);
    return std::to_string(adapter.modules.size()) + " modules";
  });
  if (!tensors || !context.model.has_value()) return;
  std::optional<PlainModel> model;
  if (!checker.run("base model", [&] {
        model = with_adapter(*context.model, adapter);
        return std::string("every module fits");
      }))
    return;
  if (context.golden != nullptr)
    checker.run("log-probabilities",
                [&] { return compare_with_golden(*model, *context.golden, checker.artefact(), kExact); });
}

}  // namespace decant::verifying
