#include "core/model/model_config.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <stdexcept>
#include <utility>

#include "core/error.h"
#include "core/model/config_fields.h"
#include "core/model/deepseek_config.h"
#include "core/model/stored_quantization.h"

namespace decant {

namespace {

struct FamilyTraits {
  Family family;
  const char* name;
  const char* architecture;
  int64_t max_position_embeddings;  // transformers' default
};
constexpr FamilyTraits kFamilies[] = {{Family::kLlama, "llama", "LlamaForCausalLM", 2048},
                                      {Family::kQwen2, "qwen2", "Qwen2ForCausalLM", 32768},
                                      {Family::kQwen3, "qwen3", "Qwen3ForCausalLM", 32768},
                                      {Family::kMistral, "mistral", "MistralForCausalLM", 131072},
                                      {Family::kDeepseekV3, "deepseek_v3", "DeepseekV3ForCausalLM", 4096},
                                      {Family::kGemma2, "gemma2", "Gemma2ForCausalLM", 8192},
                                      {Family::kPhi3, "phi3", "Phi3ForCausalLM", 4096}};

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

// The share of a head's channels that turn.
double parse_partial(const Fields& fields, const ModelConfig& config) {
  const auto partial = fields.positive("partial_rotary_factor").value_or(1);
  if (config.family != Family::kPhi3) {
    check(partial == 1, fields.name("partial_rotary_factor"), ": only 1 is supported, found ", partial);
    return partial;
  }
  const auto channels = static_cast<int64_t>(static_cast<double>(config.head_dim) * partial);
  check(partial <= 1 && channels >= 2 && channels % 2 == 0, fields.name("partial_rotary_factor"), " (",
        partial, ") must leave an even number of the head's ", config.head_dim, " channels, found ",
        channels);
  return partial;
}

std::vector<double> parse_factors(const Fields& fields, const char* key, size_t pairs) {
  const Json* list = fields.value(key);
  check(list != nullptr, fields.name(key), " is missing");
  check(list->is_array() && list->size() == pairs, fields.name(key), " must be a list of ", pairs,
        " numbers, one for each pair of channels that turn");
  std::vector<double> factors;
  for (const auto& one : *list) {
    check(one.is_number() && std::isfinite(one.get<double>()) && one.get<double>() > 0, fields.name(key),
          " must hold numbers above 0, found ", one.dump());
    factors.push_back(one.get<double>());
  }
  return factors;
}

// One spelling of the rope settings: `key` is rope_scaling or rope_parameters. `theta` is the top level's, if
// given.
RopeConfig parse_rope_object(const Json& object, const std::string& where, const char* key,
                             std::optional<double> theta, std::optional<double> original_above,
                             double partial_above, const ModelConfig& config) {
  const Fields fields(object, where, key);
  const auto max_positions = config.max_position_embeddings;
  const bool phi = config.family == Family::kPhi3;
  RopeConfig rope;
  for (const char* layer_type : {"full_attention", "sliding_attention"})
    check(!fields.has(layer_type), fields.name(layer_type),
          ": rope settings per layer type are not supported");
  check(!fields.has("mrope_section"), fields.name("mrope_section"), ": multimodal rope is not supported");
  rope.partial_rotary_factor =
      fields.has("partial_rotary_factor") ? parse_partial(fields, config) : partial_above;

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
  else if (phi && (kind == "longrope" || kind == "su"))
    rope.kind = RopeConfig::Kind::kLongrope;
  else
    fail(fields.name(type ? "rope_type" : "type"), " is '", kind, "'; supported are default, ",
         phi ? "longrope" : "linear, llama3, yarn");
  check(!phi || rope.kind == RopeConfig::Kind::kDefault || rope.kind == RopeConfig::Kind::kLongrope,
        fields.name(type ? "rope_type" : "type"), " is '", kind,
        "'; supported for phi3 are default and longrope");

  const auto own_theta = fields.positive("rope_theta");
  check(!own_theta || !theta || *own_theta == *theta, fields.name("rope_theta"), " is ",
        own_theta.value_or(0), " but the top level's 'rope_theta' is ", theta.value_or(0),
        "; they must agree");
  rope.theta = own_theta ? *own_theta : theta.value_or(rope.theta);
  if (rope.kind == RopeConfig::Kind::kDefault) return rope;

  const auto factor = fields.positive("factor");
  if (rope.kind != RopeConfig::Kind::kLinear) {
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
  if (rope.kind == RopeConfig::Kind::kLongrope) {
    rope.factor = factor.value_or(static_cast<double>(max_positions) / rope.original_max_position_embeddings);
    rope.attention_factor = fields.positive("attention_factor").value_or(0);
    const auto pairs =
        static_cast<size_t>(static_cast<double>(config.head_dim) * rope.partial_rotary_factor) / 2;
    rope.short_factor = parse_factors(fields, "short_factor", pairs);
    rope.long_factor = parse_factors(fields, "long_factor", pairs);
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

RopeConfig parse_rope(const Fields& fields, const std::string& where, const ModelConfig& config) {
  const auto theta = fields.positive("rope_theta");
  std::optional<double> original;
  if (const auto size = fields.size("original_max_position_embeddings", kMaxPositions))
    original = static_cast<double>(*size);
  const double partial = parse_partial(fields, config);

  std::optional<RopeConfig> found;
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const Json* object = fields.value(key);
    if (object == nullptr || (object->is_object() && object->empty())) continue;
    const auto rope = parse_rope_object(*object, where, key, theta, original, partial, config);
    check(!fields.has("partial_rotary_factor") || rope.partial_rotary_factor == partial, where, ": '", key,
          ".partial_rotary_factor' is ", rope.partial_rotary_factor, " but the top level's is ", partial,
          "; they must agree");
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
  rope.partial_rotary_factor = partial;
  return rope;
}

// Per layer: the window, or 0. Qwen's rules: use_sliding_window, then layer_types, else layers from
// max_window_layers on.
std::vector<int64_t> parse_windows(const Fields& fields, Family family, int64_t layers) {
  std::vector<int64_t> windows(static_cast<size_t>(layers), 0);
  if (family == Family::kLlama || family == Family::kDeepseekV3) return windows;
  // An absent key means 4096 (transformers' default; phi3's is none), null means none.
  int64_t window = fields.has("sliding_window") || family == Family::kPhi3 ? 0 : 4096;
  const bool qwen = family == Family::kQwen2 || family == Family::kQwen3;
  if (qwen && !fields.flag("use_sliding_window", false))
    window = 0;
  else if (const auto given = fields.size("sliding_window", kMaxPositions))
    window = *given;

  const Json* types = fields.value("layer_types");
  if (types == nullptr) {
    int64_t first = 0;
    const int64_t step = family == Family::kGemma2 ? 2 : 1;  // gemma2: every other layer, from the first
    if (qwen) {
      first = 28;
      if (const Json* v = fields.value("max_window_layers")) {
        check(v->is_number_integer() && *v >= 0 && *v <= kMaxLayers, fields.name("max_window_layers"),
              " must be a whole number from 0 to ", kMaxLayers, ", found ", v->dump());
        first = v->get<int64_t>();
      }
    }
    for (int64_t i = first; i < layers; i += step) windows[static_cast<size_t>(i)] = window;
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
    check(qwen || family == Family::kGemma2 || sliding == (window > 0), fields.name("layer_types"), ": ",
          traits(family).name, " has one window for all layers; layer ", i, " differs");
    windows[i] = sliding ? window : 0;
  }
  return windows;
}

Json rope_json(const RopeConfig& rope, bool with_theta) {
  Json json = Json::object();
  if (with_theta) json["rope_theta"] = rope.theta;
  if (with_theta && rope.partial_rotary_factor != 1)
    json["partial_rotary_factor"] = rope.partial_rotary_factor;
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
    case RopeConfig::Kind::kLongrope:
      json["rope_type"] = "longrope";
      if (!with_theta) json["type"] = "longrope";
      json["factor"] = rope.factor;
      if (rope.attention_factor != 0) json["attention_factor"] = rope.attention_factor;
      json["short_factor"] = rope.short_factor;
      json["long_factor"] = rope.long_factor;
      break;
  }
  json["original_max_position_embeddings"] = static_cast<int64_t>(rope.original_max_position_embeddings);
  return json;
}

void write_windows(Json& json, const ModelConfig& config) {
  if (config.family == Family::kLlama || config.family == Family::kDeepseekV3) return;
  const auto first = std::find_if(config.sliding_window.begin(), config.sliding_window.end(),
                                  [](int64_t window) { return window > 0; });
  const bool any = first != config.sliding_window.end();
  const bool qwen = config.family == Family::kQwen2 || config.family == Family::kQwen3;
  if (!qwen) {
    json["sliding_window"] = any ? Json(*first) : Json(nullptr);
  } else {
    json["use_sliding_window"] = any;
    if (any) {
      json["sliding_window"] = *first;
      json["max_window_layers"] = first - config.sliding_window.begin();
    }
  }
  if (json.contains("layer_types") || (any && (qwen || config.family == Family::kGemma2))) {
    Json types = Json::array();
    for (const auto window : config.sliding_window)
      types.push_back(window > 0 ? "sliding_attention" : "full_attention");
    json["layer_types"] = types;
  }
}

}  // namespace

std::vector<LinearShape> linear_shapes(const ModelConfig& config) {
  const int64_t layers = config.num_hidden_layers, width = config.hidden_size,
                inner = config.intermediate_size, q = config.num_attention_heads * config.head_dim,
                kv = config.num_key_value_heads * config.head_dim;
  std::vector<LinearShape> shapes;
  const auto feed_forward = [&](const std::string& where, int64_t feed_forward_width, int64_t count) {
    if (count == 0) return;
    if (config.family == Family::kPhi3)
      shapes.push_back({where + ".gate_up_proj", 2 * feed_forward_width, width, count, false});
    else
      for (const char* name : {".gate_proj", ".up_proj"})
        shapes.push_back({where + name, feed_forward_width, width, count, config.mlp_bias});
    shapes.push_back({where + ".down_proj", width, feed_forward_width, count, config.mlp_bias});
  };
  if (config.latent) {
    const auto& latent = *config.latent;
    const auto heads = config.num_attention_heads;
    if (latent.q_lora_rank > 0) {
      shapes.push_back({"self_attn.q_a_proj", latent.q_lora_rank, width, layers, config.qkv_bias});
      shapes.push_back(
          {"self_attn.q_b_proj", heads * latent.qk_head_dim(), latent.q_lora_rank, layers, false});
    } else {
      shapes.push_back({"self_attn.q_proj", heads * latent.qk_head_dim(), width, layers, false});
    }
    shapes.push_back({"self_attn.kv_a_proj_with_mqa", latent.kv_lora_rank + latent.qk_rope_head_dim, width,
                      layers, config.qkv_bias});
    shapes.push_back({"self_attn.kv_b_proj", heads * (latent.qk_nope_head_dim + latent.v_head_dim),
                      latent.kv_lora_rank, layers, false});
    shapes.push_back({"self_attn.o_proj", width, heads * latent.v_head_dim, layers, config.o_bias});
  } else {
    if (config.family == Family::kPhi3) {
      shapes.push_back({"self_attn.qkv_proj", q + 2 * kv, width, layers, false});
    } else {
      shapes.push_back({"self_attn.q_proj", q, width, layers, config.qkv_bias});
      for (const char* name : {"self_attn.k_proj", "self_attn.v_proj"})
        shapes.push_back({name, kv, width, layers, config.qkv_bias});
    }
    shapes.push_back({"self_attn.o_proj", width, q, layers, config.o_bias});
  }
  const int64_t dense = config.experts ? config.experts->first_layer : layers;
  feed_forward("mlp", inner, dense);
  if (config.experts) {
    const auto& experts = *config.experts;
    feed_forward("mlp.experts.0", experts.intermediate_size, (layers - dense) * experts.routed);
    feed_forward("mlp.shared_experts", experts.shared * experts.intermediate_size, layers - dense);
  }
  return shapes;
}

int64_t ModelConfig::linear_parameters() const {
  int64_t sum = 0;
  for (const auto& one : linear_shapes(*this))
    sum += one.count * (one.outputs * one.inputs + (one.bias ? one.outputs : 0));
  return sum;
}

int64_t ModelConfig::parameters() const {
  int64_t of_layer = (family == Family::kGemma2 ? 4 : 2) * hidden_size + (qk_norm ? 2 * head_dim : 0);
  if (latent) of_layer += latent->q_lora_rank + latent->kv_lora_rank;
  int64_t routers = 0;
  if (experts) routers = (num_hidden_layers - experts->first_layer) * experts->routed * (hidden_size + 1);
  return linear_parameters() + num_hidden_layers * of_layer + hidden_size + routers +
         (tie_word_embeddings ? 1 : 2) * vocab_size * hidden_size;
}

int64_t ModelConfig::rotary_width() const {
  return static_cast<int64_t>(static_cast<double>(head_dim) * rope.partial_rotary_factor);
}

int64_t ModelConfig::key_heads() const { return latent ? num_attention_heads : num_key_value_heads; }

int64_t ModelConfig::key_width() const {
  return latent ? std::max(latent->qk_head_dim(), latent->v_head_dim) : head_dim;
}

namespace {

// The one quantization that is read: fp8 weights in blocks, each with its scale (weight_scale_inv).
void parse_fp8(const Fields& fields, const std::string& where, ModelConfig& config) {
  const Json* found = fields.value("quantization_config");
  if (found == nullptr) return;
  const Fields inner(*found, where, "quantization_config");
  const auto method = inner.text("quant_method");
  check(method == "fp8", fields.name("quantization_config"), ": quantized weights",
        method ? concat(" ('", *method, "')") : "",
        " are not supported, but for bitsandbytes' nf4 and block-scaled fp8; give the model in bf16 or fp32");
  const auto format = inner.text("fmt").value_or("e4m3"),
             scheme = inner.text("activation_scheme").value_or("dynamic");
  check(format == "e4m3", inner.name("fmt"), " is '", format, "'; only e4m3 is supported");
  check(scheme == "dynamic", inner.name("activation_scheme"), " is '", scheme,
        "'; only dynamic is supported");
  config.fp8_block_rows = config.fp8_block_columns = 128;
  if (const Json* block = inner.value("weight_block_size")) {
    const auto whole = [](const Json& v) {
      return v.is_number_integer() && v >= 1 && v <= (int64_t{1} << 20);
    };
    check(block->is_array() && block->size() == 2 && whole((*block)[0]) && whole((*block)[1]),
          inner.name("weight_block_size"), " must be two whole numbers above 0, found ", block->dump());
    config.fp8_block_rows = (*block)[0].get<int64_t>();
    config.fp8_block_columns = (*block)[1].get<int64_t>();
  }
}

void parse_gemma(const Fields& fields, ModelConfig& config) {
  for (const char* key : {"hidden_activation", "hidden_act"}) {
    const auto act = fields.text(key).value_or("gelu_pytorch_tanh");
    check(act == "gelu_pytorch_tanh", fields.name(key), " is '", act,
          "'; only gelu_pytorch_tanh is supported for gemma2");
  }
  check(!fields.flag("attention_bias", false), fields.name("attention_bias"),
        ": true is not supported for gemma2");
  check(!fields.flag("use_bidirectional_attention", false), fields.name("use_bidirectional_attention"),
        ": true is not supported");
  // An absent key means transformers' default, null means no cap.
  config.attention_cap =
      fields.has("attn_logit_softcapping") ? fields.positive("attn_logit_softcapping").value_or(0) : 50;
  config.logit_cap =
      fields.has("final_logit_softcapping") ? fields.positive("final_logit_softcapping").value_or(0) : 30;
  config.query_scalar = fields.positive("query_pre_attn_scalar").value_or(256);
}

void write_gemma(const ModelConfig& config, Json& json) {
  const auto or_null = [](double value) { return value > 0 ? Json(value) : Json(nullptr); };
  json.erase("hidden_act");
  json["hidden_activation"] = "gelu_pytorch_tanh";
  json["attn_logit_softcapping"] = or_null(config.attention_cap);
  json["final_logit_softcapping"] = or_null(config.logit_cap);
  json["query_pre_attn_scalar"] = config.query_scalar == std::floor(config.query_scalar)
                                      ? Json(static_cast<int64_t>(config.query_scalar))
                                      : Json(config.query_scalar);
}

}  // namespace

ModelConfig parse_model_config(const Json& json, const std::string& where) {
  const Fields fields(json, where, "");
  ModelConfig config;
  config.family = parse_family(fields);
  const auto& family = traits(config.family);
  if (stored_quantization(json, where) == Quantization::kNone) parse_fp8(fields, where, config);

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
  } else if (config.family == Family::kGemma2 && !fields.has("head_dim")) {
    config.head_dim = 256;
  } else if (config.family == Family::kDeepseekV3) {
    config.head_dim = 2;  // of the rope, read below
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
  if (config.family == Family::kGemma2) {
    parse_gemma(fields, config);
  } else {
    const auto act = fields.text("hidden_act").value_or("silu");
    check(act == "silu", fields.name("hidden_act"), " is '", act, "'; only silu is supported");
  }

  config.tie_word_embeddings = fields.flag("tie_word_embeddings", config.family == Family::kGemma2);
  if (config.family == Family::kQwen2) config.qkv_bias = true;
  if (config.family == Family::kLlama || config.family == Family::kQwen3)
    config.qkv_bias = config.o_bias = fields.flag("attention_bias", false);
  if (config.family == Family::kLlama) config.mlp_bias = fields.flag("mlp_bias", false);
  config.qk_norm = config.family == Family::kQwen3;
  if (config.family == Family::kDeepseekV3) parse_deepseek(fields, config);
  config.sliding_window = parse_windows(fields, config.family, config.num_hidden_layers);
  config.rope = parse_rope(fields, where, config);
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
  const bool told = config.family != Family::kQwen2 && config.family != Family::kPhi3;
  if (told || !implied || json.contains("head_dim")) json["head_dim"] = config.head_dim;
  json["max_position_embeddings"] = config.max_position_embeddings;
  json["rms_norm_eps"] = config.rms_norm_eps;
  if (config.family != Family::kGemma2) json["hidden_act"] = "silu";
  json["tie_word_embeddings"] = config.tie_word_embeddings;
  if (config.family == Family::kLlama || config.family == Family::kQwen3)
    json["attention_bias"] = config.qkv_bias;
  if (config.family == Family::kLlama) json["mlp_bias"] = config.mlp_bias;
  if (config.family == Family::kDeepseekV3) write_deepseek(config, json);
  if (config.family == Family::kGemma2) write_gemma(config, json);
  write_windows(json, config);
  if (config.fp8_block_rows == 0) json.erase("quantization_config");

  json["rope_theta"] = config.rope.theta;
  if (config.family == Family::kPhi3) json["partial_rotary_factor"] = config.rope.partial_rotary_factor;
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
