#include "core/adapter_file.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "core/error.h"
#include "core/name_pattern.h"
#include "core/tensor_file.h"

namespace decant {
namespace fs = std::filesystem;

namespace {

constexpr std::string_view kPrefix = "base_model.model.";
constexpr std::string_view kSuffixA = ".lora_A.weight";
constexpr std::string_view kSuffixB = ".lora_B.weight";
constexpr const char* kBaseDigest =
    "decant.base_sha256";  // in the tensor file: adapter_config.json has PEFT's keys only
constexpr const char* kBaseQuantization = "decant.base_quantization";  // as above
constexpr std::string_view kSuffixMagnitude = ".lora_magnitude_vector";
constexpr const char* kTokenIndices = "trainable_token_indices";
constexpr std::string_view kEmbeddingRows =
    "base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta";
constexpr std::string_view kHeadRows = "base_model.model.lm_head.token_adapter.trainable_tokens_delta";
constexpr const char* kConfigFile = "adapter_config.json";
constexpr int64_t kMaxRank = 65536;

template <class T>
T from_pattern(const std::vector<std::pair<std::string, T>>& patterns, const std::string& module,
               T otherwise) {
  for (const auto& [key, value] : patterns)
    if (matches_whole("(?:.*\\.)?(?:" + key + ")", module, kConfigFile)) return value;
  return otherwise;
}

bool set(const Json& json, const char* key) {
  if (!json.contains(key)) return false;
  const Json& value = json[key];
  return !(value.is_null() || value == false || ((value.is_array() || value.is_object()) && value.empty()));
}

int64_t rank_from(const Json& value, const std::string& where) {
  check(value.is_number_integer(), where, " must be a whole number, found ", value.dump());
  check(value.is_number_unsigned() && value.get<uint64_t>() >= 1 && value.get<uint64_t>() <= kMaxRank, where,
        " must be from 1 to ", kMaxRank, ", found ", value.dump());
  return value.get<int64_t>();
}

double alpha_from(const Json& value, const std::string& where) {
  check(value.is_number() && std::isfinite(value.get<double>()), where, " must be a number, found ",
        value.dump());
  return value.get<double>();
}

void read_targets(const Json& json, const std::string& where, AdapterConfig& config) {
  if (!json.contains("target_modules") || json["target_modules"].is_null()) return;
  const Json& targets = json["target_modules"];
  if (targets.is_string()) {
    config.target_pattern = targets.get<std::string>();
    return;
  }
  check(targets.is_array(), where, ": 'target_modules' must be a list or a string, found ",
        targets.type_name());
  for (const auto& target : targets) {
    check(target.is_string(), where, ": 'target_modules' must hold strings, found ", target.dump());
    config.target_modules.push_back(target.get<std::string>());
  }
  std::sort(config.target_modules.begin(), config.target_modules.end());
}

AdapterConfig read_config_json(const fs::path& path) {
  const std::string where = path.string();
  AdapterConfig config;
  config.source = read_json(path);
  const Json& json = config.source;
  check(json.is_object(), where, ": expected an object, found ", json.type_name());
  check(json.contains("peft_type") && json["peft_type"] == "LORA", where,
        ": 'peft_type' must be LORA, found ",
        json.contains("peft_type") ? json["peft_type"].dump() : "nothing");
  for (const char* key : {"lora_bias", "modules_to_save", "fan_in_fan_out", "use_qalora", "use_bdlora",
                          "target_parameters", "layer_replication", "alora_invocation_tokens"})
    check(!set(json, key), where, ": '", key, "' is not supported, found ",
          set(json, key) ? json[key].dump() : "");
  check(!json.contains("bias") || json["bias"] == "none", where, ": 'bias' must be none, found ",
        json.contains("bias") ? json["bias"].dump() : "");
  if (json.contains("init_lora_weights") && json["init_lora_weights"].is_string()) {
    const auto init = json["init_lora_weights"].get<std::string>();
    for (const char* changes_base : {"pissa", "olora", "corda", "loftq"})
      check(!init.starts_with(changes_base), where, ": 'init_lora_weights' is ", init,
            ", which changes the base's weights; convert the adapter to a plain one with peft");
  }
  config.rank = json.contains("r") ? rank_from(json["r"], where + ": 'r'") : 8;  // PEFT's defaults
  config.alpha = json.contains("lora_alpha") ? alpha_from(json["lora_alpha"], where + ": 'lora_alpha'") : 8;
  if (json.contains("use_rslora")) {
    check(json["use_rslora"].is_boolean(), where, ": 'use_rslora' must be true or false, found ",
          json["use_rslora"].dump());
    config.use_rslora = json["use_rslora"].get<bool>();
  }
  if (json.contains("use_dora") && !json["use_dora"].is_null()) {
    check(json["use_dora"].is_boolean(), where, ": 'use_dora' must be true or false, found ",
          json["use_dora"].dump());
    config.use_dora = json["use_dora"].get<bool>();
  }
  if (json.contains("lora_dropout") && !json["lora_dropout"].is_null())
    config.dropout = alpha_from(json["lora_dropout"], where + ": 'lora_dropout'");
  read_targets(json, where, config);
  for (const char* key : {"rank_pattern", "alpha_pattern"}) {
    if (!set(json, key)) continue;
    check(json[key].is_object(), where, ": '", key, "' must be an object, found ", json[key].type_name());
    for (const auto& [pattern, value] : json[key].items()) {
      const std::string place = concat(where, ": '", key, ".", pattern, "'");
      if (key == std::string_view("rank_pattern"))
        config.rank_pattern.emplace_back(pattern, rank_from(value, place));
      else
        config.alpha_pattern.emplace_back(pattern, alpha_from(value, place));
    }
  }
  if (json.contains("base_model_name_or_path") && json["base_model_name_or_path"].is_string())
    config.base_model = json["base_model_name_or_path"].get<std::string>();
  return config;
}

void check_module(const AdapterConfig& config, const AdapterModule& m, const std::string& where) {
  const std::string place = concat(where, ": '", m.module, "'");
  check(m.lora_a.defined() && m.lora_b.defined(), place, " has lora_", m.lora_a.defined() ? "A" : "B",
        " but no lora_", m.lora_a.defined() ? "B" : "A");
  const int64_t rank = config.rank_of(m.module);
  check(m.lora_a.dim() == 2 && m.lora_a.size(0) == rank, place, ": lora_A must be [", rank,
        ", inputs], found ", m.lora_a.sizes());
  check(m.lora_b.dim() == 2 && m.lora_b.size(1) == rank, place, ": lora_B must be [outputs, ", rank,
        "], found ", m.lora_b.sizes());
  check(m.magnitude.defined() == config.use_dora, place, config.use_dora ? " has no" : " has a",
        " lora_magnitude_vector, but 'use_dora' is ", config.use_dora ? "true" : "false");
  check(!m.magnitude.defined() || (m.magnitude.dim() == 1 && m.magnitude.size(0) == m.lora_b.size(0)), place,
        ": lora_magnitude_vector must be [", m.lora_b.size(0), "], found ",
        m.magnitude.defined() ? c10::str(m.magnitude.sizes()) : "");
  for (const auto* tensor : {&m.lora_a, &m.lora_b, &m.magnitude}) {
    if (!tensor->defined()) continue;
    check(at::isFloatingType(tensor->scalar_type()) && tensor->element_size() >= 2, place,
          ": weights must be floating-point, found ", c10::toString(tensor->scalar_type()));
    check(at::isfinite(tensor->to(at::kFloat)).all().item<bool>(), place,
          ": holds values that are not finite");
  }
}

// Ids as peft writes them: a list, or the same list for each of embed_tokens and lm_head.
std::vector<int64_t> token_ids_from(const Json& json, const std::string& where, bool& with_head) {
  if (!set(json, kTokenIndices)) return {};
  const Json& all = json[kTokenIndices];
  const std::string place = concat(where, ": '", kTokenIndices, "'");
  if (all.is_object()) {
    for (const auto& [name, list] : all.items())
      check(name == "embed_tokens" || name == "lm_head", place, ": rows of '", name,
            "' are not supported, only those of embed_tokens and lm_head");
    check(all.contains("embed_tokens") && (!all.contains("lm_head") || all["lm_head"] == all["embed_tokens"]),
          place, ": expected the same tokens for embed_tokens and lm_head, found ", all.dump());
    with_head = all.contains("lm_head");
  }
  const Json& list = all.is_object() ? all["embed_tokens"] : all;
  check(list.is_array(), place, " must be a list of ids, found ", list.dump());
  std::vector<int64_t> ids;
  for (const Json& id : list) {
    check(id.is_number_integer() && id >= 0, place, " must hold ids, found ", id.dump());
    ids.push_back(id.get<int64_t>());
  }
  return ids;
}

void check_rows(const at::Tensor& rows, const std::vector<int64_t>& ids, const std::string& where) {
  check(rows.dim() == 2 && rows.size(0) == static_cast<int64_t>(ids.size()) &&
            at::isFloatingType(rows.scalar_type()) && rows.element_size() >= 2,
        where, ": expected [", ids.size(), ", width] floating-point rows, found ",
        c10::toString(rows.scalar_type()), " ", rows.sizes());
  check(at::isfinite(rows.to(at::kFloat)).all().item<bool>(), where, ": holds values that are not finite");
}

// The rows of the file, by rising id.
AdapterTokens read_tokens(const Json& json, const TensorFile& file, const fs::path& folder) {
  bool with_head = false;
  AdapterTokens tokens;
  tokens.ids = token_ids_from(json, (folder / kConfigFile).string(), with_head);
  if (tokens.ids.empty()) return tokens;
  std::vector<int64_t> order(tokens.ids.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int64_t>(i);
  std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return tokens.ids[static_cast<size_t>(a)] < tokens.ids[static_cast<size_t>(b)];
  });
  const auto by_id = at::tensor(order, at::kLong);
  const auto rows = [&](std::string_view name) {
    const std::string where = concat((folder / "adapter_model.safetensors").string(), ": '", name, "'");
    check(std::find(file.names().begin(), file.names().end(), name) != file.names().end(), where,
          " is missing, but '", kTokenIndices, "' names tokens");
    const at::Tensor values = file.load(std::string(name));
    check_rows(values, tokens.ids, where);
    return values.index_select(0, by_id);
  };
  tokens.embedding = rows(kEmbeddingRows);
  if (with_head) tokens.head = rows(kHeadRows);
  std::sort(tokens.ids.begin(), tokens.ids.end());
  check(std::adjacent_find(tokens.ids.begin(), tokens.ids.end()) == tokens.ids.end(),
        (folder / kConfigFile).string(), ": '", kTokenIndices, "' names a token twice");
  return tokens;
}

Json plain_number(double value) {
  if (value == std::floor(value) && std::fabs(value) < 9e15) return static_cast<int64_t>(value);
  return value;
}

}  // namespace

bool AdapterConfig::is_target(const std::string& module) const {
  if (!target_pattern.empty())
    return target_pattern == "all-linear" || matches_whole(target_pattern, module, kConfigFile);
  if (target_modules.empty()) return true;  // PEFT's default for the model's family
  return std::any_of(target_modules.begin(), target_modules.end(),
                     [&](const std::string& target) { return matches_suffix(target, module); });
}

int64_t AdapterConfig::rank_of(const std::string& module) const {
  return from_pattern(rank_pattern, module, rank);
}

double AdapterConfig::scale_of(const std::string& module) const {
  const double a = from_pattern(alpha_pattern, module, alpha);
  const auto r = static_cast<double>(rank_of(module));
  return use_rslora ? a / std::sqrt(r) : a / r;
}

Adapter read_adapter(const fs::path& folder) {
  check(fs::is_directory(folder), folder.string(),
        ": expected the folder of an adapter (adapter_config.json, ", "adapter_model.safetensors)");
  Adapter adapter;
  adapter.config = read_config_json(folder / "adapter_config.json");
  const fs::path path = folder / "adapter_model.safetensors";
  const TensorFile file(path);
  if (const auto found = file.metadata().find(kBaseDigest); found != file.metadata().end())
    adapter.config.base_sha256 = found->second;
  if (const auto found = file.metadata().find(kBaseQuantization); found != file.metadata().end())
    adapter.config.base_quantization = found->second;
  adapter.tokens = read_tokens(adapter.config.source, file, folder);
  std::map<std::string, AdapterModule> modules;
  for (const auto& name : file.names()) {
    if ((name == kEmbeddingRows && adapter.tokens.embedding.defined()) ||
        (name == kHeadRows && adapter.tokens.head.defined()))
      continue;
    const std::string where = concat(path.string(), ": '", name, "'");
    check(name.find("lora_embedding_") == std::string::npos, where, ": adapters of embeddings are not read");
    const bool is_a = name.ends_with(kSuffixA), is_magnitude = name.ends_with(kSuffixMagnitude);
    const size_t suffix = is_magnitude ? kSuffixMagnitude.size() : kSuffixA.size();
    check(name.starts_with(kPrefix) && (is_a || is_magnitude || name.ends_with(kSuffixB)) &&
              name.size() > kPrefix.size() + suffix,
          where,
          " is not a name of an adapter, such as "
          "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight");
    const std::string module = name.substr(kPrefix.size(), name.size() - kPrefix.size() - suffix);
    check(adapter.config.is_target(module), where, " is not among the target_modules of adapter_config.json");
    AdapterModule& entry = modules[module];
    entry.module = module;
    (is_a ? entry.lora_a : is_magnitude ? entry.magnitude : entry.lora_b) = file.load(name);
  }
  check(!modules.empty(), path.string(), ": holds no adapter weights");
  for (auto& [name, module] : modules) {
    check_module(adapter.config, module, path.string());
    adapter.modules.push_back(std::move(module));
  }
  return adapter;
}

void write_adapter(const fs::path& folder, const Adapter& adapter) {
  const AdapterConfig& config = adapter.config;
  Json json = config.source.is_object() ? config.source : Json::object();
  const Json defaults = {{"peft_type", "LORA"},
                         {"task_type", "CAUSAL_LM"},
                         {"revision", nullptr},
                         {"lora_dropout", 0.0},
                         {"bias", "none"},
                         {"fan_in_fan_out", false},
                         {"inference_mode", true},
                         {"init_lora_weights", true},
                         {"modules_to_save", nullptr},
                         {"layers_to_transform", nullptr}};
  for (const auto& [key, value] : defaults.items())
    if (!json.contains(key)) json[key] = value;
  json["base_model_name_or_path"] = config.base_model.empty() ? Json(nullptr) : Json(config.base_model);
  json["r"] = config.rank;
  json["lora_alpha"] = plain_number(config.alpha);
  json["use_rslora"] = config.use_rslora;
  json["use_dora"] = config.use_dora;
  json["lora_dropout"] = config.dropout;
  json.erase(kTokenIndices);
  const AdapterTokens& tokens = adapter.tokens;
  if (tokens.head.defined())
    json[kTokenIndices] = {{"embed_tokens", tokens.ids}, {"lm_head", tokens.ids}};
  else if (!tokens.ids.empty())
    json[kTokenIndices] = tokens.ids;
  if (!config.target_pattern.empty()) {
    json["target_modules"] = config.target_pattern;
  } else if (!config.target_modules.empty() || !json.contains("target_modules")) {
    auto targets = config.target_modules;
    std::sort(targets.begin(), targets.end());
    json["target_modules"] = targets;
  }
  json["rank_pattern"] = Json::object();
  for (const auto& [pattern, rank] : config.rank_pattern) json["rank_pattern"][pattern] = rank;
  json["alpha_pattern"] = Json::object();
  for (const auto& [pattern, alpha] : config.alpha_pattern)
    json["alpha_pattern"][pattern] = plain_number(alpha);

  NamedTensors tensors;
  for (const auto& module : adapter.modules) {
    check_module(config, module, folder.string());
    tensors.emplace_back(concat(kPrefix, module.module, kSuffixA), module.lora_a);
    tensors.emplace_back(concat(kPrefix, module.module, kSuffixB), module.lora_b);
    if (module.magnitude.defined())
      tensors.emplace_back(concat(kPrefix, module.module, kSuffixMagnitude), module.magnitude);
  }
  if (!tokens.ids.empty()) {
    check_rows(tokens.embedding, tokens.ids, folder.string());
    tensors.emplace_back(kEmbeddingRows, tokens.embedding);
    if (tokens.head.defined()) {
      check_rows(tokens.head, tokens.ids, folder.string());
      tensors.emplace_back(kHeadRows, tokens.head);
    }
  }
  std::map<std::string, std::string> metadata;
  if (!config.base_sha256.empty()) metadata[kBaseDigest] = config.base_sha256;
  if (!config.base_quantization.empty()) metadata[kBaseQuantization] = config.base_quantization;
  write_tensors(folder / "adapter_model.safetensors", tensors, metadata);
  write_json(folder / "adapter_config.json", json);
}

at::Tensor merge_weight(const at::Tensor& weight, const at::Tensor& lora_a, const at::Tensor& lora_b,
                        double scale, const at::Tensor& magnitude) {
  const at::Tensor update = at::mm(lora_b.to(at::kFloat), lora_a.to(at::kFloat));
  const at::Tensor sum = weight.to(at::kFloat).add(update, scale);
  if (!magnitude.defined()) return sum;
  return sum * (magnitude.to(at::kFloat) / sum.square().sum(1).sqrt()).unsqueeze(1);
}

Adapter fold_scale(const Adapter& adapter) {
  Adapter out;
  out.config = adapter.config;
  out.tokens = adapter.tokens;
  int64_t rank = 1;
  for (const auto& module : adapter.modules) rank = std::max(rank, module.lora_a.size(0));
  for (const auto& module : adapter.modules) {
    const double scale = adapter.config.scale_of(module.module);
    const int64_t r = module.lora_a.size(0);
    at::Tensor a = at::zeros({rank, module.lora_a.size(1)}, at::kFloat);
    at::Tensor b = at::zeros({module.lora_b.size(0), rank}, at::kFloat);
    a.narrow(0, 0, r).copy_(module.lora_a);
    b.narrow(1, 0, r).copy_(module.lora_b.to(at::kFloat).mul(scale));
    out.modules.push_back({module.module, a, b, module.magnitude});
  }
  out.config.rank = rank;
  out.config.alpha = static_cast<double>(rank);
  out.config.use_rslora = false;
  out.config.rank_pattern.clear();
  out.config.alpha_pattern.clear();
  return out;
}

}  // namespace decant
