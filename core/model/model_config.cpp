#include "core/model/model_config.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "core/error.h"
#include "core/model/stored_quantization.h"

namespace decant {

namespace {

// Bounds on sizes: far above every known model, and low enough that no product of them leaves int64.
constexpr int64_t kMaxVocabulary = int64_t{1} << 24, kMaxWidth = int64_t{1} << 17,
                  kMaxFeedForward = int64_t{1} << 20, kMaxLayers = 4096, kMaxHeads = 4096,
                  kMaxHeadWidth = 4096, kMaxPositions = int64_t{1} << 26;

struct FamilyTraits {
  Family family;
  const char* name;
  const char* architecture;
  int64_t max_position_embeddings;  // transformers' default
};
constexpr FamilyTraits kFamilies[] = {{Family::kLlama, "llama", "LlamaForCausalLM", 2048},
                                      {Family::kQwen2, "qwen2", "Qwen2ForCausalLM", 32768},
                                      {Family::kQwen3, "qwen3", "Qwen3ForCausalLM", 32768},
                                      {Family::kMistral, "mistral", "MistralForCausalLM", 131072}};

// One object of the file; every error names the key with the path to it.
class Fields {
 public:
  Fields(const Json& json, std::string where, std::string prefix)
      : json_(json), where_(std::move(where)), prefix_(std::move(prefix)) {
    check(json.is_object(), where_, ": ", prefix_.empty() ? "the model config" : "'" + prefix_ + "'",
          " must be a JSON object, found ", json.type_name());
    if (!prefix_.empty()) prefix_ += ".";
  }

  bool has(const char* key) const { return json_.contains(key); }
  // Present and not null.
  const Json* value(const char* key) const {
    const auto found = json_.find(key);
    return found == json_.end() || found->is_null() ? nullptr : &*found;
  }
  std::string name(const char* key) const { return concat(where_, ": '", prefix_, key, "'"); }

  std::optional<int64_t> size(const char* key, int64_t most) const {
    const Json* v = value(key);
    if (v == nullptr) return std::nullopt;
    check(v->is_number_integer(), name(key), " must be a whole number, found ", v->dump());
    // An unsigned number above int64 would turn negative in get<int64_t>.
    const bool huge =
        v->is_number_unsigned() && v->get<uint64_t>() > uint64_t{std::numeric_limits<int64_t>::max()};
    check(!huge && v->get<int64_t>() >= 1 && v->get<int64_t>() <= most, name(key), " must be from 1 to ",
          most, ", found ", v->dump());
    return v->get<int64_t>();
  }
  int64_t required_size(const char* key, int64_t most) const {
    const auto found = size(key, most);
    check(found.has_value(), name(key), " is missing");
    return *found;
  }
  std::optional<double> positive(const char* key) const {
    const Json* v = value(key);
    if (v == nullptr) return std::nullopt;
    check(v->is_number(), name(key), " must be a number, found ", v->dump());
    const auto number = v->get<double>();
    check(std::isfinite(number) && number > 0 && number < 1e15, name(key),
          " must be a positive number, found ", v->dump());
    return number;
  }
  // A number that may be 0, which then counts as absent (Python's `or`).
  double positive_or_zero(const char* key, double otherwise) const {
    const Json* v = value(key);
    if (v != nullptr && v->is_number() && v->get<double>() == 0) return otherwise;
    return positive(key).value_or(otherwise);
  }
  bool flag(const char* key, bool otherwise) const {
    const Json* v = value(key);
    if (v == nullptr) return otherwise;
    check(v->is_boolean(), name(key), " must be true or false, found ", v->dump());
    return v->get<bool>();
  }
  std::optional<std::string> text(const char* key) const {
    const Json* v = value(key);
    if (v == nullptr) return std::nullopt;
    check(v->is_string(), name(key), " must be a string, found ", v->dump());
    return v->get<std::string>();
  }

 private:
  const Json& json_;
  std::string where_, prefix_;
};

const FamilyTraits& traits(Family family) {
  for (const auto& one : kFamilies)
    if (one.family == family) return one;
  throw std::logic_error("unknown family");
}

Family parse_family(const Fields& fields) {
  const auto name = fields.text("model_type");
  check(name.has_value(), fields.name("model_type"), " is missing");
  std::string known;
  for (const auto& one : kFamilies) {
    if (*name == one.name) return one.family;
    known += (known.empty() ? "" : ", ") + std::string(one.name);
  }
  fail(fields.name("model_type"), " is '", *name, "', a family that decant does not have; it has ", known);
}

// One spelling of the rope settings: `key` is rope_scaling or rope_parameters. `theta` is the top level's, if
// given.
RopeConfig parse_rope_object(const Json& object, const std::string& where, const char* key,
                             std::optional<double> theta, std::optional<double> original_above,
                             int64_t max_positions) {
  const Fields fields(object, where, key);
  RopeConfig rope;
  for (const char* layer_type : {"full_attention", "sliding_attention"})
    check(!fields.has(layer_type), fields.name(layer_type),
          ": rope settings per layer type are not supported");
  check(!fields.has("mrope_section"), fields.name("mrope_section"), ": multimodal rope is not supported");
  const auto partial = fields.positive("partial_rotary_factor");
  check(!partial || *partial == 1, fields.name("partial_rotary_factor"), ": only 1 is supported, found ",
        partial.value_or(1));

  const auto type = fields.text("rope_type"), legacy = fields.text("type");
  check(!type || !legacy || *type == *legacy, fields.name("rope_type"), " is '", type.value_or(""),
        "' but 'type' is '", legacy.value_or(""), "'");
  const std::string kind = type ? *type : legacy.value_or("default");
  if (kind == "default")
    rope.kind = RopeConfig::Kind::kDefault;
  else if (kind == "linear")
    rope.kind = RopeConfig::Kind::kLinear;
  else if (kind == "llama3")
    rope.kind = RopeConfig::Kind::kLlama3;
  else if (kind == "yarn")
    rope.kind = RopeConfig::Kind::kYarn;
  else
    fail(fields.name(type ? "rope_type" : "type"), " is '", kind,
         "'; supported are default, linear, llama3, yarn");

  const auto own_theta = fields.positive("rope_theta");
  check(!own_theta || !theta || *own_theta == *theta, fields.name("rope_theta"), " is ",
        own_theta.value_or(0), " but the top level's 'rope_theta' is ", theta.value_or(0),
        "; they must agree");
  rope.theta = own_theta ? *own_theta : theta.value_or(rope.theta);
  if (rope.kind == RopeConfig::Kind::kDefault) return rope;

  const auto factor = fields.positive("factor");
  if (rope.kind == RopeConfig::Kind::kLlama3 || rope.kind == RopeConfig::Kind::kYarn) {
    const auto own = fields.size("original_max_position_embeddings", kMaxPositions);
    check(!own || !original_above || static_cast<double>(*own) == *original_above,
          fields.name("original_max_position_embeddings"), " is ", own.value_or(0),
          " but the top level's is ", original_above.value_or(0), "; they must agree");
    rope.original_max_position_embeddings =
        original_above ? *original_above : static_cast<double>(own.value_or(max_positions));
  }
  if (rope.kind == RopeConfig::Kind::kYarn) {
    // A null factor stands for the ratio of the lengths.
    check(fields.has("factor"), fields.name("factor"), " is missing");
    rope.factor = factor.value_or(static_cast<double>(max_positions) / rope.original_max_position_embeddings);
    rope.beta_fast = fields.positive_or_zero("beta_fast", rope.beta_fast);
    rope.beta_slow = fields.positive_or_zero("beta_slow", rope.beta_slow);
    rope.attention_factor = fields.positive("attention_factor").value_or(0);
    rope.mscale = fields.positive_or_zero("mscale", 0);
    rope.mscale_all_dim = fields.positive_or_zero("mscale_all_dim", 0);
    rope.truncate = fields.flag("truncate", true);
    check(rope.theta > 1, fields.name("rope_theta"), " must be above 1 for yarn, found ", rope.theta);
    return rope;
  }
  check(factor.has_value(), fields.name("factor"), " is missing");
  rope.factor = *factor;
  if (rope.kind == RopeConfig::Kind::kLlama3) {
    const auto low = fields.positive("low_freq_factor"), high = fields.positive("high_freq_factor");
    check(low.has_value(), fields.name("low_freq_factor"), " is missing");
    check(high.has_value(), fields.name("high_freq_factor"), " is missing");
    check(*high > *low, fields.name("high_freq_factor"), " must be above low_freq_factor (", *low,
          "), found ", *high);
    rope.low_freq_factor = *low;
    rope.high_freq_factor = *high;
  }
  return rope;
}

RopeConfig parse_rope(const Fields& fields, const std::string& where, int64_t max_positions) {
  const auto theta = fields.positive("rope_theta");
  std::optional<double> original;
  if (const auto size = fields.size("original_max_position_embeddings", kMaxPositions))
    original = static_cast<double>(*size);
  const auto partial = fields.positive("partial_rotary_factor");
  check(!partial || *partial == 1, fields.name("partial_rotary_factor"), ": only 1 is supported, found ",
        partial.value_or(1));

  std::optional<RopeConfig> found;
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const Json* object = fields.value(key);
    if (object == nullptr || (object->is_object() && object->empty())) continue;
    const auto rope = parse_rope_object(*object, where, key, theta, original, max_positions);
    if (found && !theta && !(found->theta == rope.theta)) {
      // A rope_scaling without a theta of its own says nothing about it.
      const Json& scaling = *fields.value("rope_scaling");
      if (!scaling.contains("rope_theta")) found->theta = rope.theta;
    }
    check(!found || *found == rope, where,
          ": 'rope_scaling' and 'rope_parameters' disagree; make them equal or remove one");
    found = rope;
  }
  if (found) return *found;
  RopeConfig rope;
  rope.theta = theta.value_or(rope.theta);
  return rope;
}

// Per layer: the window, or 0. Qwen's rules: use_sliding_window, then layer_types, else layers from
// max_window_layers on.
std::vector<int64_t> parse_windows(const Fields& fields, Family family, int64_t layers) {
  std::vector<int64_t> windows(static_cast<size_t>(layers), 0);
  if (family == Family::kLlama) return windows;
  // An absent key means 4096 (transformers' default), null means none.
  int64_t window = fields.has("sliding_window") ? 0 : 4096;
  const bool qwen = family != Family::kMistral;
  if (qwen && !fields.flag("use_sliding_window", false))
    window = 0;
  else if (const auto given = fields.size("sliding_window", kMaxPositions))
    window = *given;

  const Json* types = fields.value("layer_types");
  if (types == nullptr) {
    int64_t first = 0;
    if (qwen) {
      first = 28;
      if (const Json* v = fields.value("max_window_layers")) {
        check(v->is_number_integer() && *v >= 0 && *v <= kMaxLayers, fields.name("max_window_layers"),
              " must be a whole number from 0 to ", kMaxLayers, ", found ", v->dump());
        first = v->get<int64_t>();
      }
    }
    for (int64_t i = first; i < layers; ++i) windows[static_cast<size_t>(i)] = window;
    return windows;
  }
  check(types->is_array() && static_cast<int64_t>(types->size()) == layers, fields.name("layer_types"),
        " must be a list of ", layers, " names, one for each layer");
  for (size_t i = 0; i < windows.size(); ++i) {
    const Json& type = (*types)[i];
    const bool sliding = type == "sliding_attention";
    check(sliding || type == "full_attention", fields.name("layer_types"), ": entry ", i,
          " must be full_attention or sliding_attention, found ", type.dump());
    check(!sliding || window > 0, fields.name("layer_types"), ": layer ", i,
          " is sliding_attention, but no sliding window is in use",
          qwen ? " ('use_sliding_window' and 'sliding_window')" : "");
    check(qwen || sliding == (window > 0), fields.name("layer_types"),
          ": mistral has one window for all layers; layer ", i, " differs");
    windows[i] = sliding ? window : 0;
  }
  return windows;
}

Json rope_json(const RopeConfig& rope, bool with_theta) {
  Json json = Json::object();
  if (with_theta) json["rope_theta"] = rope.theta;
  switch (rope.kind) {
    case RopeConfig::Kind::kDefault:
      json["rope_type"] = "default";
      return json;
    case RopeConfig::Kind::kLinear:
      json["rope_type"] = "linear";
      json["factor"] = rope.factor;
      return json;
    case RopeConfig::Kind::kLlama3:
      json["rope_type"] = "llama3";
      json["factor"] = rope.factor;
      json["low_freq_factor"] = rope.low_freq_factor;
      json["high_freq_factor"] = rope.high_freq_factor;
      break;
    case RopeConfig::Kind::kYarn:
      json["rope_type"] = "yarn";
      json["factor"] = rope.factor;
      json["beta_fast"] = rope.beta_fast;
      json["beta_slow"] = rope.beta_slow;
      if (rope.attention_factor != 0) json["attention_factor"] = rope.attention_factor;
      if (rope.mscale != 0) json["mscale"] = rope.mscale;
      if (rope.mscale_all_dim != 0) json["mscale_all_dim"] = rope.mscale_all_dim;
      if (!rope.truncate) json["truncate"] = false;
      break;
  }
  json["original_max_position_embeddings"] = static_cast<int64_t>(rope.original_max_position_embeddings);
  return json;
}

void write_windows(Json& json, const ModelConfig& config) {
  if (config.family == Family::kLlama) return;
  const auto first = std::find_if(config.sliding_window.begin(), config.sliding_window.end(),
                                  [](int64_t window) { return window > 0; });
  const bool any = first != config.sliding_window.end();
  if (config.family == Family::kMistral) {
    json["sliding_window"] = any ? Json(*first) : Json(nullptr);
  } else {
    json["use_sliding_window"] = any;
    if (any) {
      json["sliding_window"] = *first;
      json["max_window_layers"] = first - config.sliding_window.begin();
    }
  }
  if (json.contains("layer_types") || (any && config.family != Family::kMistral)) {
    Json types = Json::array();
    for (const auto window : config.sliding_window)
      types.push_back(window > 0 ? "sliding_attention" : "full_attention");
    json["layer_types"] = types;
  }
}

}  // namespace

int64_t ModelConfig::linear_parameters() const {
  const int64_t q = num_attention_heads * head_dim, kv = num_key_value_heads * head_dim;
  const int64_t weights = hidden_size * (q + 2 * kv) + q * hidden_size + 3 * hidden_size * intermediate_size;
  const int64_t biases = (qkv_bias ? q + 2 * kv : 0) + (o_bias ? hidden_size : 0) +
                         (mlp_bias ? 2 * intermediate_size + hidden_size : 0);
  return num_hidden_layers * (weights + biases);
}

int64_t ModelConfig::parameters() const {
  const int64_t norms = num_hidden_layers * (2 * hidden_size + (qk_norm ? 2 * head_dim : 0)) + hidden_size;
  return linear_parameters() + norms + (tie_word_embeddings ? 1 : 2) * vocab_size * hidden_size;
}

ModelConfig parse_model_config(const Json& json, const std::string& where) {
  const Fields fields(json, where, "");
  ModelConfig config;
  config.family = parse_family(fields);
  const auto& family = traits(config.family);
  check(fields.value("quantization_config") == nullptr ||
            stored_quantization(json, where) != Quantization::kNone,
        fields.name("quantization_config"),
        ": quantized weights are not supported, but for bitsandbytes' nf4; give the model in bf16 or fp32");

  config.vocab_size = fields.required_size("vocab_size", kMaxVocabulary);
  config.hidden_size = fields.required_size("hidden_size", kMaxWidth);
  config.intermediate_size = fields.required_size("intermediate_size", kMaxFeedForward);
  config.num_hidden_layers = fields.required_size("num_hidden_layers", kMaxLayers);
  config.num_attention_heads = fields.required_size("num_attention_heads", kMaxHeads);
  check(config.family == Family::kLlama || fields.has("num_key_value_heads"),
        fields.name("num_key_value_heads"), " is missing");
  config.num_key_value_heads =
      fields.size("num_key_value_heads", kMaxHeads).value_or(config.num_attention_heads);
  check(config.num_attention_heads % config.num_key_value_heads == 0, fields.name("num_key_value_heads"),
        " (", config.num_key_value_heads, ") must divide 'num_attention_heads' (", config.num_attention_heads,
        ")");
  if (const auto given = fields.size("head_dim", kMaxHeadWidth)) {
    config.head_dim = *given;
  } else if (config.family == Family::kQwen3 && !fields.has("head_dim")) {
    config.head_dim = 128;  // Qwen3Config's default, whatever the width
  } else {
    check(config.hidden_size % config.num_attention_heads == 0, fields.name("hidden_size"), " (",
          config.hidden_size, ") must be a multiple of 'num_attention_heads' (", config.num_attention_heads,
          ") where no 'head_dim' is given");
    config.head_dim = config.hidden_size / config.num_attention_heads;
    check(config.head_dim <= kMaxHeadWidth, fields.name("hidden_size"), ": the heads would be ",
          config.head_dim, " wide; at most ", kMaxHeadWidth, " is supported");
  }
  check(config.head_dim % 2 == 0, fields.name("head_dim"), " must be even for rope, found ", config.head_dim);
  config.max_position_embeddings =
      fields.size("max_position_embeddings", kMaxPositions).value_or(family.max_position_embeddings);
  config.rms_norm_eps = fields.positive("rms_norm_eps").value_or(1e-6);
  check(config.rms_norm_eps < 1, fields.name("rms_norm_eps"), " must be below 1, found ",
        config.rms_norm_eps);
  const auto act = fields.text("hidden_act").value_or("silu");
  check(act == "silu", fields.name("hidden_act"), " is '", act, "'; only silu is supported");

  config.tie_word_embeddings = fields.flag("tie_word_embeddings", false);
  if (config.family == Family::kQwen2) config.qkv_bias = true;
  if (config.family == Family::kLlama || config.family == Family::kQwen3)
    config.qkv_bias = config.o_bias = fields.flag("attention_bias", false);
  if (config.family == Family::kLlama) config.mlp_bias = fields.flag("mlp_bias", false);
  config.qk_norm = config.family == Family::kQwen3;
  config.sliding_window = parse_windows(fields, config.family, config.num_hidden_layers);
  config.rope = parse_rope(fields, where, config.max_position_embeddings);
  config.source = json;
  return config;
}

ModelConfig read_model_config(const std::filesystem::path& folder) {
  const auto path = folder / "config.json";
  return parse_model_config(read_json(path), path.string());
}

Json model_config_json(const ModelConfig& config, const std::string& dtype) {
  Json json = config.source.is_object() ? config.source : Json::object();
  const auto& family = traits(config.family);
  if (!json.contains("architectures")) json["architectures"] = Json::array({family.architecture});
  json["model_type"] = family.name;
  json["vocab_size"] = config.vocab_size;
  json["hidden_size"] = config.hidden_size;
  json["intermediate_size"] = config.intermediate_size;
  json["num_hidden_layers"] = config.num_hidden_layers;
  json["num_attention_heads"] = config.num_attention_heads;
  json["num_key_value_heads"] = config.num_key_value_heads;
  const bool implied = config.head_dim * config.num_attention_heads == config.hidden_size;
  if (config.family != Family::kQwen2 || !implied || json.contains("head_dim"))
    json["head_dim"] = config.head_dim;
  json["max_position_embeddings"] = config.max_position_embeddings;
  json["rms_norm_eps"] = config.rms_norm_eps;
  json["hidden_act"] = "silu";
  json["tie_word_embeddings"] = config.tie_word_embeddings;
  if (config.family == Family::kLlama || config.family == Family::kQwen3)
    json["attention_bias"] = config.qkv_bias;
  if (config.family == Family::kLlama) json["mlp_bias"] = config.mlp_bias;
  write_windows(json, config);

  json["rope_theta"] = config.rope.theta;
  if (config.rope.kind == RopeConfig::Kind::kDefault)
    json.erase("rope_scaling");
  else
    json["rope_scaling"] = rope_json(config.rope, false);
  json["rope_parameters"] = rope_json(config.rope, true);
  json.erase("quantization_config");  // what is written has its weights' values
  json["torch_dtype"] = dtype;
  json["dtype"] = dtype;
  return json;
}

}  // namespace decant
