#include "core/model/load_model.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <system_error>
#include <utility>

#include "core/error.h"
#include "core/file.h"
#include "core/instruction_set.h"
#include "core/model/fp8_weights.h"
#include "core/model/layer_walk.h"
#include "core/model/stored_quantization.h"
#include "core/random.h"
#include "core/tensor_file.h"

namespace decant {

namespace {

constexpr size_t kNamesShown = 5;

// What a tensor of the checkpoint is, for random initialisation.
enum class Role { kMatrix, kNorm, kOffsetNorm, kBias, kCounter };

// The tensor of a name, in the compute dtype and of this shape; and, where a linear's weight is quantized,
// that instead.
struct Get {
  std::function<at::Tensor(const std::string& name, at::IntArrayRef shape, Role role)> tensor;
  std::function<QuantizedWeight(const std::string& name, at::IntArrayRef shape)> quantized;  // may be empty
};

Parameter get_parameter(const Get& get, const std::string& name, at::IntArrayRef shape, Role role) {
  return {name, get.tensor(name, shape, role), {}, false};
}

Linear get_linear(const Get& get, const std::string& name, int64_t outputs, int64_t inputs, bool bias) {
  Linear one;
  one.name = name;
  one.weight.name = name + ".weight";
  if (get.quantized) one.quantized = get.quantized(one.weight.name, {outputs, inputs});
  if (!one.quantized.defined())
    one.weight = get_parameter(get, one.weight.name, {outputs, inputs}, Role::kMatrix);
  if (bias) one.bias = get_parameter(get, name + ".bias", {outputs}, Role::kBias);
  return one;
}

FeedForward get_feed_forward(const ModelConfig& config, const Get& get, const std::string& at,
                             int64_t inner) {
  const auto width = config.hidden_size;
  FeedForward one;
  if (config.family == Family::kPhi3)
    one.gate_up = make_projection({get_linear(get, at + "gate_up_proj", 2 * inner, width, false)});
  else
    one.gate_up = make_projection({get_linear(get, at + "gate_proj", inner, width, config.mlp_bias),
                                   get_linear(get, at + "up_proj", inner, width, config.mlp_bias)});
  one.down = make_projection({get_linear(get, at + "down_proj", width, inner, config.mlp_bias)});
  return one;
}

LatentAttention get_latent(const ModelConfig& config, const Get& get, const std::string& at) {
  const auto& latent = *config.latent;
  const auto width = config.hidden_size, heads = config.num_attention_heads, q = heads * latent.qk_head_dim();
  LatentAttention attention;
  auto kv_a = get_linear(get, at + "kv_a_proj_with_mqa", latent.kv_lora_rank + latent.qk_rope_head_dim, width,
                         config.qkv_bias);
  if (latent.q_lora_rank > 0) {
    attention.inputs = make_projection(
        {get_linear(get, at + "q_a_proj", latent.q_lora_rank, width, config.qkv_bias), std::move(kv_a)});
    attention.q_a_layernorm =
        get_parameter(get, at + "q_a_layernorm.weight", {latent.q_lora_rank}, Role::kNorm);
    attention.q_b = make_projection({get_linear(get, at + "q_b_proj", q, latent.q_lora_rank, false)});
  } else {
    attention.inputs = make_projection({get_linear(get, at + "q_proj", q, width, false), std::move(kv_a)});
  }
  attention.kv_a_layernorm =
      get_parameter(get, at + "kv_a_layernorm.weight", {latent.kv_lora_rank}, Role::kNorm);
  attention.kv_b = make_projection(
      {get_linear(get, at + "kv_b_proj", heads * (latent.qk_nope_head_dim + latent.v_head_dim),
                  latent.kv_lora_rank, false)});
  return attention;
}

MixtureOfExperts get_experts(const ModelConfig& config, const Get& get, const std::string& at) {
  const auto& experts = *config.experts;
  MixtureOfExperts mixture;
  mixture.router =
      get_parameter(get, at + "gate.weight", {experts.routed, config.hidden_size}, Role::kMatrix);
  mixture.correction =
      get_parameter(get, at + "gate.e_score_correction_bias", {experts.routed}, Role::kCounter);
  for (int64_t e = 0; e < experts.routed; ++e)
    mixture.experts.push_back(
        get_feed_forward(config, get, concat(at, "experts.", e, "."), experts.intermediate_size));
  mixture.shared =
      get_feed_forward(config, get, at + "shared_experts.", experts.shared * experts.intermediate_size);
  return mixture;
}

Decoder build(const ModelConfig& config, const Get& get) {
  const auto width = config.hidden_size;
  const auto q = config.num_attention_heads * config.head_dim,
             kv = config.num_key_value_heads * config.head_dim;
  const auto norm = config.family == Family::kGemma2 ? Role::kOffsetNorm : Role::kNorm;
  Decoder model;
  model.config = config;
  model.embed_tokens =
      get_parameter(get, "model.embed_tokens.weight", {config.vocab_size, width}, Role::kMatrix);
  for (int64_t i = 0; i < config.num_hidden_layers; ++i) {
    const auto at = concat("model.layers.", i, ".");
    const auto attention = at + "self_attn.", mlp = at + "mlp.";
    DecoderLayer layer;
    if (config.latent)
      layer.latent = get_latent(config, get, attention);
    else if (config.family == Family::kPhi3)
      layer.qkv = make_projection({get_linear(get, attention + "qkv_proj", q + 2 * kv, width, false)});
    else
      layer.qkv = make_projection({get_linear(get, attention + "q_proj", q, width, config.qkv_bias),
                                   get_linear(get, attention + "k_proj", kv, width, config.qkv_bias),
                                   get_linear(get, attention + "v_proj", kv, width, config.qkv_bias)});
    const auto mixed = config.latent ? config.num_attention_heads * config.latent->v_head_dim : q;
    layer.o = make_projection({get_linear(get, attention + "o_proj", width, mixed, config.o_bias)});
    if (config.qk_norm) {
      layer.q_norm = get_parameter(get, attention + "q_norm.weight", {config.head_dim}, Role::kNorm);
      layer.k_norm = get_parameter(get, attention + "k_norm.weight", {config.head_dim}, Role::kNorm);
    }
    if (config.has_experts(i)) {
      layer.experts = get_experts(config, get, mlp);
    } else {
      auto dense = get_feed_forward(config, get, mlp, config.intermediate_size);
      layer.gate_up = std::move(dense.gate_up);
      layer.down = std::move(dense.down);
    }
    layer.input_layernorm = get_parameter(get, at + "input_layernorm.weight", {width}, norm);
    layer.post_attention_layernorm =
        get_parameter(get, at + "post_attention_layernorm.weight", {width}, norm);
    if (config.family == Family::kGemma2) {
      layer.pre_feedforward_layernorm =
          get_parameter(get, at + "pre_feedforward_layernorm.weight", {width}, norm);
      layer.post_feedforward_layernorm =
          get_parameter(get, at + "post_feedforward_layernorm.weight", {width}, norm);
    }
    model.layers.push_back(std::move(layer));
  }
  model.norm = get_parameter(get, "model.norm.weight", {width}, norm);
  if (!config.tie_word_embeddings)
    model.lm_head = get_parameter(get, "lm_head.weight", {config.vocab_size, width}, Role::kMatrix);
  return model;
}

// A config may claim more layers than memory has room for names; the walk stops at the first name that
// `visit` refuses.
void each_name(const ModelConfig& config, const std::function<void(const std::string&)>& visit) {
  visit("model.embed_tokens.weight");
  const auto linear = [&](const std::string& name, bool bias) {
    visit(name + ".weight");
    if (bias) visit(name + ".bias");
  };
  for (int64_t i = 0; i < config.num_hidden_layers; ++i) {
    const auto at = concat("model.layers.", i, ".");
    const auto feed_forward = [&](const std::string& where) {
      if (config.family == Family::kPhi3)
        linear(where + "gate_up_proj", false);
      else
        for (const char* name : {"gate_proj", "up_proj"}) linear(where + name, config.mlp_bias);
      linear(where + "down_proj", config.mlp_bias);
    };
    if (config.latent) {
      linear(at + "self_attn.kv_a_proj_with_mqa", config.qkv_bias);
      linear(at + "self_attn.kv_b_proj", false);
      visit(at + "self_attn.kv_a_layernorm.weight");
      if (config.latent->q_lora_rank > 0) {
        linear(at + "self_attn.q_a_proj", config.qkv_bias);
        linear(at + "self_attn.q_b_proj", false);
        visit(at + "self_attn.q_a_layernorm.weight");
      } else {
        linear(at + "self_attn.q_proj", false);
      }
    } else if (config.family == Family::kPhi3) {
      linear(at + "self_attn.qkv_proj", false);
    } else {
      for (const char* name : {"q_proj", "k_proj", "v_proj"})
        linear(at + "self_attn." + name, config.qkv_bias);
    }
    linear(at + "self_attn.o_proj", config.o_bias);
    if (config.qk_norm)
      for (const char* name : {"q_norm", "k_norm"}) visit(at + "self_attn." + name + ".weight");
    if (config.has_experts(i)) {
      visit(at + "mlp.gate.weight");
      visit(at + "mlp.gate.e_score_correction_bias");
      for (int64_t e = 0; e < config.experts->routed; ++e) feed_forward(concat(at, "mlp.experts.", e, "."));
      feed_forward(at + "mlp.shared_experts.");
    } else {
      feed_forward(at + "mlp.");
    }
    visit(at + "input_layernorm.weight");
    visit(at + "post_attention_layernorm.weight");
    if (config.family == Family::kGemma2)
      for (const char* name : {"pre", "post"}) visit(concat(at, name, "_feedforward_layernorm.weight"));
  }
  visit("model.norm.weight");
  if (!config.tie_word_embeddings) visit("lm_head.weight");
}

std::string some_of(const std::vector<std::string>& names) {
  std::string text;
  for (size_t i = 0; i < std::min(names.size(), kNamesShown); ++i) text += (i == 0 ? "" : ", ") + names[i];
  if (names.size() > kNamesShown) text += concat(" and ", names.size() - kNamesShown, " more");
  return text;
}

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

// Layers after the last, of which config.json says that they predict further tokens, are not part of the
// model.
bool is_further_prediction(const ModelConfig& config, const std::string& name) {
  const Json& source = config.source;
  if (config.family != Family::kDeepseekV3 || !source.contains("num_nextn_predict_layers")) return false;
  const Json& count = source["num_nextn_predict_layers"];
  if (!count.is_number_integer() || count < 1 || count > 16) return false;
  for (int64_t i = 0; i < count.get<int64_t>(); ++i)
    if (name.starts_with(concat("model.layers.", config.num_hidden_layers + i, "."))) return true;
  return false;
}

// Both differences of the sets, in one letter.
void check_names(const ModelConfig& config, const TensorFile& file, const std::string& where) {
  std::vector<std::string> missing;
  std::set<std::string> expected;
  each_name(config, [&](const std::string& name) {
    expected.insert(name);
    if (!file.contains(name)) missing.push_back(name);
  });
  std::vector<std::string> unexpected;
  for (const auto& name : file.names())
    if (expected.count(quantized_owner(name)) == 0 && !ends_with(name, "rotary_emb.inv_freq") &&
        !(config.tie_word_embeddings && name == "lm_head.weight") && !is_fp8_scale(file, name) &&
        !is_further_prediction(config, name))
      unexpected.push_back(name);
  if (missing.empty() && unexpected.empty()) return;
  std::string text = where + ": the tensors are not those of its config.json";
  if (!missing.empty()) text += concat("; missing ", missing.size(), ": ", some_of(missing));
  if (!unexpected.empty()) text += concat("; unexpected ", unexpected.size(), ": ", some_of(unexpected));
  if (missing.size() == 1 && missing[0] == "lm_head.weight")
    text += " (should config.json say \"tie_word_embeddings\": true?)";
  fail(text);
}

std::string shape_text(at::IntArrayRef shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += concat(i == 0 ? "" : ", ", shape[i]);
  return text + "]";
}

void check_shape(const std::string& name, at::IntArrayRef expected, at::IntArrayRef found) {
  check(expected == found, name, ": expected shape ", shape_text(expected), " by the config, found ",
        shape_text(found),
        name == "model.embed_tokens.weight" && found.size() == 2 && found[0] != expected[0]
            ? " ('vocab_size' does not match the embedding's rows)"
            : "");
}

const char* dtype_name(Dtype dtype) { return dtype == Dtype::kBf16 ? "bfloat16" : "float32"; }

// One pass without temporaries (at::isfinite makes four): a NaN is the least and the most.
bool all_finite(const at::Tensor& x) {
  if (x.numel() == 0) return true;
  const auto [least, most] = at::aminmax(x);
  return std::isfinite(least.item<double>()) && std::isfinite(most.item<double>());
}

Parameter clone(const Parameter& parameter) {
  return {parameter.name, parameter.value.clone(at::MemoryFormat::Contiguous), {}, false};
}

}  // namespace

bool stays_fp32(const std::string& name) { return ends_with(name, ".e_score_correction_bias"); }

at::ScalarType to_torch(Dtype dtype) { return dtype == Dtype::kBf16 ? at::kBFloat16 : at::kFloat; }

Dtype fastest_dtype() {
  return instruction_set() >= InstructionSet::kAvx512Bf16 ? Dtype::kBf16 : Dtype::kFp32;
}

namespace {

// Checked, in the compute dtype.
at::Tensor model_tensor(const at::Tensor& given, const std::string& name, at::IntArrayRef shape, Dtype dtype,
                        Role role = Role::kMatrix) {
  check(given.defined(), name, ": the tensor is missing");
  check_shape(name, shape, given.sizes());
  check(at::isFloatingType(given.scalar_type()), name, ": expected a floating-point tensor, found ",
        c10::toString(given.scalar_type()));
  const auto value = given.to(role == Role::kCounter ? at::kFloat : to_torch(dtype)).contiguous();
  check(all_finite(value), name, ": holds values that are not finite (NaN or infinity)",
        given.scalar_type() == value.scalar_type() ? "" : concat(" in ", dtype_name(dtype)));
  return value;
}

// Copies the parts of `weight` into `room`. Codes and scales would else be allocated behind the tensor that
// they are made from, and every tensor that is freed would leave a hole in the heap.
void move_into(const at::Tensor& room, QuantizedWeight& weight) {
  constexpr int64_t kAlign = 64;
  int64_t at = 0;
  for (auto* part : {&weight.codes, &weight.absmax, &weight.nested_absmax, &weight.nested_map}) {
    if (!part->defined()) continue;
    const auto bytes = static_cast<int64_t>(part->nbytes());
    const auto place = room.narrow(0, at, bytes).view(part->scalar_type()).view(part->sizes());
    place.copy_(*part);
    *part = place;
    at += (bytes + kAlign - 1) / kAlign * kAlign;
  }
}

Get get_from(const TensorSource& source, Dtype dtype, Quantization kind) {
  Get get;
  get.tensor = [&source, dtype](const std::string& name, at::IntArrayRef shape, Role role) {
    return model_tensor(source(name), name, shape, dtype, role);
  };
  if (kind != Quantization::kNone)
    get.quantized = [&source, dtype, kind](const std::string& name, at::IntArrayRef shape) {
      const auto room = at::empty({quantized_bytes(shape[0], shape[1], kind) + 4 * 64}, at::kByte);
      auto weight = quantize_weight(model_tensor(source(name), name, shape, dtype), kind);
      move_into(room, weight);
      return weight;
    };
  return get;
}

void write_cache(Decoder& model, const std::filesystem::path& file) {
  NamedTensors tensors;
  for (const auto* one : model.linears()) append_quantized(tensors, one->weight.name, one->quantized);
  uint64_t bytes = 0;
  for (const auto& [name, tensor] : tensors) bytes += tensor.nbytes();
  std::error_code ignored;
  std::filesystem::create_directories(file.parent_path(), ignored);
  check(std::filesystem::is_directory(file.parent_path()), file.parent_path().string(),
        ": cannot make this folder");
  check_free_disk(file.parent_path(), bytes + (bytes >> 6));
  write_tensors(file, tensors);
}

// Error when the folder is quantized already, and otherwise than asked for.
Quantization kind_of(const ModelConfig& config, Quantization asked) {
  const auto stored = stored_quantization(config.source, "config.json");
  check(stored == Quantization::kNone || asked == Quantization::kNone || asked == stored,
        "config.json: the model is quantized to ", to_string(stored), " already, and cannot be quantized to ",
        to_string(asked), "; leave the quantization out, or start from the unquantized model");
  return stored != Quantization::kNone ? stored : asked;
}

}  // namespace

Decoder make_decoder(const ModelConfig& config, Dtype dtype, const TensorSource& source, Quantization kind) {
  return build(config, get_from(source, dtype, kind));
}

Decoder load_model(const std::filesystem::path& folder, Dtype dtype, const LoadQuantized& quantized) {
  auto config = read_model_config(folder);
  const TensorFile file(folder);
  const auto where = folder.string();
  check_names(config, file, where);
  try {
    const auto rows = config.fp8_block_rows, columns = config.fp8_block_columns;
    config.fp8_block_rows = config.fp8_block_columns = 0;  // the model's own weights are not fp8
    const auto kind = kind_of(config, quantized.kind);
    const bool stored = stored_quantization(config.source, where) != Quantization::kNone;
    const bool cached = !stored && kind != Quantization::kNone && !quantized.cache.empty() &&
                        std::filesystem::exists(quantized.cache);
    const TensorSource source = [&](const std::string& name) {
      if (is_fp8(file.entry(name))) {
        check(rows > 0, name, ": the weight is fp8, but config.json has no 'quantization_config'");
        return load_fp8(file, name, rows, columns);
      }
      return file.load(name);
    };
    Get get = get_from(source, dtype, kind);
    if (cached || stored) {
      const auto from =
          cached ? std::make_shared<TensorFile>(quantized.cache) : std::make_shared<TensorFile>(file);
      get.quantized = [from, kind](const std::string& name, at::IntArrayRef shape) {
        auto weight = read_quantized(*from, name, shape[0], shape[1]);
        check(!weight || weight->kind == kind, name, ": expected ", to_string(kind), ", found ",
              weight ? to_string(weight->kind) : "");
        return weight.value_or(QuantizedWeight{});
      };
    }
    auto model = build(config, get);
    if (cached)
      check(quantization_of(model) == kind, quantized.cache.string(),
            ": holds no quantized linears; remove the file");
    if (config.tie_word_embeddings && file.contains("lm_head.weight")) {
      const auto head = file.load("lm_head.weight"), embedding = file.load("model.embed_tokens.weight");
      check(head.scalar_type() == embedding.scalar_type() && at::equal(head, embedding),
            "lm_head.weight: config.json says that it is tied to model.embed_tokens.weight, but the file's "
            "differs");
    }
    if (!cached && !stored && kind != Quantization::kNone && !quantized.cache.empty())
      write_cache(model, quantized.cache);
    return model;
  } catch (const Error& e) {
    const std::string text = e.what();
    throw Error(text.find(where) == std::string::npos ? where + ": " + text : text, e.code());
  }
}

Decoder random_decoder(const ModelConfig& config, Dtype dtype, uint64_t seed, double deviation) {
  uint64_t index = 0;
  Get get;
  get.tensor = [&](const std::string&, at::IntArrayRef shape, Role role) {
    const uint64_t stream = purpose_stream(Purpose::kInit, index++);
    if (role == Role::kNorm) return at::ones(shape, to_torch(dtype));
    if (role == Role::kBias || role == Role::kOffsetNorm) return at::zeros(shape, to_torch(dtype));
    if (role == Role::kCounter) return at::zeros(shape, at::kFloat);
    const auto value = at::empty(shape, at::kFloat);
    auto* data = value.mutable_data_ptr<float>();
    at::parallel_for(0, value.numel(), 4096, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        data[i] = static_cast<float>(deviation * standard_normal(seed, stream, static_cast<uint64_t>(i)));
    });
    return value.to(to_torch(dtype));
  };
  return build(config, get);
}

void save_model(const Decoder& model, const std::filesystem::path& folder, Dtype dtype,
                int64_t max_shard_bytes) {
  check(quantization_of(model) == Quantization::kNone, folder.string(), ": a model quantized to ",
        to_string(quantization_of(model)),
        " is not written: what a folder holds must be the weights; load it unquantized");
  NamedTensors tensors;
  uint64_t bytes = 0;
  for (const auto* parameter : model.parameters()) {
    const auto type = stays_fp32(parameter->name) ? at::kFloat : to_torch(dtype);
    tensors.emplace_back(parameter->name, parameter->value.to(at::kCPU, type).contiguous());
    bytes += tensors.back().second.nbytes();
  }
  std::error_code ignored;
  std::filesystem::create_directories(folder, ignored);
  check(std::filesystem::is_directory(folder), folder.string(), ": cannot make this folder");
  check_free_disk(folder, bytes + (bytes >> 6));

  write_sharded(folder, tensors, max_shard_bytes);
  // Shards of an earlier, larger model would make the folder two models.
  std::set<std::string> written;
  if (static_cast<int64_t>(bytes) <= max_shard_bytes) {
    written.insert("model.safetensors");
    std::filesystem::remove(folder / "model.safetensors.index.json");
  } else {
    const auto index = read_json(folder / "model.safetensors.index.json");
    for (const auto& [name, file] : index.at("weight_map").items()) written.insert(file.get<std::string>());
  }
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const auto name = entry.path().filename().string();
    if (name.rfind("model", 0) == 0 && ends_with(name, ".safetensors") && written.count(name) == 0)
      std::filesystem::remove(entry.path());
  }
  write_json(folder / "config.json", model_config_json(model.config, dtype_name(dtype)));
}

Decoder keep_layers(const Decoder& teacher, const std::vector<int64_t>& layers) {
  const auto count = static_cast<int64_t>(teacher.layers.size());
  check(!layers.empty(), "keep_layers: no layers given");
  Decoder student;
  student.config = teacher.config;
  student.config.num_hidden_layers = static_cast<int64_t>(layers.size());
  student.config.sliding_window.clear();
  if (student.config.experts) student.config.experts->first_layer = 0;
  student.embed_tokens = clone(teacher.embed_tokens);
  for (size_t to = 0; to < layers.size(); ++to) {
    const auto from = layers[to];
    check(from >= 0 && from < count, "keep_layers: layer ", from, " is not one of the model's 0..",
          count - 1);
    check(to == 0 || from > layers[to - 1], "keep_layers: layers must rise, but ", from, " follows ",
          to == 0 ? 0 : layers[to - 1]);
    const auto& source = teacher.layers[static_cast<size_t>(from)];
    const auto before = concat("model.layers.", from, "."), after = concat("model.layers.", to, ".");
    const auto renamed = [&](Parameter parameter) {
      parameter.name.replace(0, before.size(), after);
      return parameter;
    };
    const auto copy = [&](const Projection& projection) {
      std::vector<Linear> linears;
      for (const auto& one : projection.linears) {
        check(!one.quantized.defined(), "keep_layers: ", one.name,
              " is quantized; load the model unquantized");
        Linear mine;
        mine.name = after + one.name.substr(before.size());
        mine.weight = renamed(clone(one.weight));
        if (one.bias.defined()) mine.bias = renamed(clone(one.bias));
        linears.push_back(std::move(mine));
      }
      return make_projection(std::move(linears));
    };
    DecoderLayer layer = source;
    walk_layer(
        layer, [&](Projection& projection) { projection = copy(projection); },
        [&](Parameter& parameter) { parameter = renamed(clone(parameter)); });
    if (!layer.experts && student.config.experts)
      student.config.experts->first_layer = static_cast<int64_t>(to) + 1;
    student.layers.push_back(std::move(layer));
    student.config.sliding_window.push_back(teacher.config.sliding_window.at(static_cast<size_t>(from)));
  }
  student.norm = clone(teacher.norm);
  if (teacher.lm_head.defined()) student.lm_head = clone(teacher.lm_head);
  return student;
}

}  // namespace decant
