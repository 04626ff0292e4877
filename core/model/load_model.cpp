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
#include "core/random.h"
#include "core/tensor_file.h"

namespace decant {

namespace {

constexpr size_t kNamesShown = 5;

// What a tensor of the checkpoint is, for random initialisation.
enum class Role { kMatrix, kNorm, kBias };

// The tensor of a name, in the compute dtype and of this shape.
using Get = std::function<at::Tensor(const std::string& name, at::IntArrayRef shape, Role role)>;

Parameter get_parameter(const Get& get, const std::string& name, at::IntArrayRef shape, Role role) {
  return {name, get(name, shape, role), {}, false};
}

Linear get_linear(const Get& get, const std::string& name, int64_t outputs, int64_t inputs, bool bias) {
  Linear one;
  one.name = name;
  one.weight = get_parameter(get, name + ".weight", {outputs, inputs}, Role::kMatrix);
  if (bias) one.bias = get_parameter(get, name + ".bias", {outputs}, Role::kBias);
  return one;
}

Decoder build(const ModelConfig& config, const Get& get) {
  const auto width = config.hidden_size, inner = config.intermediate_size;
  const auto q = config.num_attention_heads * config.head_dim,
             kv = config.num_key_value_heads * config.head_dim;
  Decoder model;
  model.config = config;
  model.embed_tokens =
      get_parameter(get, "model.embed_tokens.weight", {config.vocab_size, width}, Role::kMatrix);
  for (int64_t i = 0; i < config.num_hidden_layers; ++i) {
    const auto at = concat("model.layers.", i, ".");
    const auto attention = at + "self_attn.", mlp = at + "mlp.";
    DecoderLayer layer;
    layer.qkv = make_projection({get_linear(get, attention + "q_proj", q, width, config.qkv_bias),
                                 get_linear(get, attention + "k_proj", kv, width, config.qkv_bias),
                                 get_linear(get, attention + "v_proj", kv, width, config.qkv_bias)});
    layer.o = make_projection({get_linear(get, attention + "o_proj", width, q, config.o_bias)});
    if (config.qk_norm) {
      layer.q_norm = get_parameter(get, attention + "q_norm.weight", {config.head_dim}, Role::kNorm);
      layer.k_norm = get_parameter(get, attention + "k_norm.weight", {config.head_dim}, Role::kNorm);
    }
    layer.gate_up = make_projection({get_linear(get, mlp + "gate_proj", inner, width, config.mlp_bias),
                                     get_linear(get, mlp + "up_proj", inner, width, config.mlp_bias)});
    layer.down = make_projection({get_linear(get, mlp + "down_proj", width, inner, config.mlp_bias)});
    layer.input_layernorm = get_parameter(get, at + "input_layernorm.weight", {width}, Role::kNorm);
    layer.post_attention_layernorm =
        get_parameter(get, at + "post_attention_layernorm.weight", {width}, Role::kNorm);
    model.layers.push_back(std::move(layer));
  }
  model.norm = get_parameter(get, "model.norm.weight", {width}, Role::kNorm);
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
    for (const char* name : {"q_proj", "k_proj", "v_proj"}) linear(at + "self_attn." + name, config.qkv_bias);
    linear(at + "self_attn.o_proj", config.o_bias);
    if (config.qk_norm)
      for (const char* name : {"q_norm", "k_norm"}) visit(at + "self_attn." + name + ".weight");
    for (const char* name : {"gate_proj", "up_proj", "down_proj"})
      linear(at + "mlp." + name, config.mlp_bias);
    visit(at + "input_layernorm.weight");
    visit(at + "post_attention_layernorm.weight");
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
    if (expected.count(name) == 0 && !ends_with(name, "rotary_emb.inv_freq") &&
        !(config.tie_word_embeddings && name == "lm_head.weight"))
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

at::ScalarType to_torch(Dtype dtype) { return dtype == Dtype::kBf16 ? at::kBFloat16 : at::kFloat; }

Dtype fastest_dtype() {
  return instruction_set() >= InstructionSet::kAvx512Bf16 ? Dtype::kBf16 : Dtype::kFp32;
}

Decoder make_decoder(const ModelConfig& config, Dtype dtype, const TensorSource& source) {
  return build(config, [&](const std::string& name, at::IntArrayRef shape, Role) {
    const auto given = source(name);
    check(given.defined(), name, ": the tensor is missing");
    check_shape(name, shape, given.sizes());
    check(at::isFloatingType(given.scalar_type()), name, ": expected a floating-point tensor, found ",
          c10::toString(given.scalar_type()));
    const auto value = given.to(to_torch(dtype)).contiguous();
    check(all_finite(value), name, ": holds values that are not finite (NaN or infinity)",
          given.scalar_type() == value.scalar_type() ? "" : concat(" in ", dtype_name(dtype)));
    return value;
  });
}

Decoder load_model(const std::filesystem::path& folder, Dtype dtype) {
  const auto config = read_model_config(folder);
  const TensorFile file(folder);
  const auto where = folder.string();
  check_names(config, file, where);
  try {
    auto model = make_decoder(config, dtype, [&](const std::string& name) { return file.load(name); });
    if (config.tie_word_embeddings && file.contains("lm_head.weight")) {
      const auto head = file.load("lm_head.weight"), embedding = file.load("model.embed_tokens.weight");
      check(head.scalar_type() == embedding.scalar_type() && at::equal(head, embedding),
            "lm_head.weight: config.json says that it is tied to model.embed_tokens.weight, but the file's "
            "differs");
    }
    return model;
  } catch (const Error& e) {
    const std::string text = e.what();
    throw Error(text.find(where) == std::string::npos ? where + ": " + text : text, e.code());
  }
}

Decoder random_decoder(const ModelConfig& config, Dtype dtype, uint64_t seed, double deviation) {
  uint64_t index = 0;
  return build(config, [&](const std::string&, at::IntArrayRef shape, Role role) {
    const uint64_t stream = purpose_stream(Purpose::kInit, index++);
    if (role == Role::kNorm) return at::ones(shape, to_torch(dtype));
    if (role == Role::kBias) return at::zeros(shape, to_torch(dtype));
    const auto value = at::empty(shape, at::kFloat);
    auto* data = value.mutable_data_ptr<float>();
    at::parallel_for(0, value.numel(), 4096, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        data[i] = static_cast<float>(deviation * standard_normal(seed, stream, static_cast<uint64_t>(i)));
    });
    return value.to(to_torch(dtype));
  });
}

void save_model(const Decoder& model, const std::filesystem::path& folder, Dtype dtype,
                int64_t max_shard_bytes) {
  NamedTensors tensors;
  uint64_t bytes = 0;
  for (const auto* parameter : model.parameters()) {
    tensors.emplace_back(parameter->name, parameter->value.to(at::kCPU, to_torch(dtype)).contiguous());
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
        Linear mine;
        mine.name = after + one.name.substr(before.size());
        mine.weight = renamed(clone(one.weight));
        if (one.bias.defined()) mine.bias = renamed(clone(one.bias));
        linears.push_back(std::move(mine));
      }
      return make_projection(std::move(linears));
    };
    DecoderLayer layer;
    layer.input_layernorm = renamed(clone(source.input_layernorm));
    layer.post_attention_layernorm = renamed(clone(source.post_attention_layernorm));
    layer.qkv = copy(source.qkv);
    layer.o = copy(source.o);
    if (source.q_norm.defined()) layer.q_norm = renamed(clone(source.q_norm));
    if (source.k_norm.defined()) layer.k_norm = renamed(clone(source.k_norm));
    layer.gate_up = copy(source.gate_up);
    layer.down = copy(source.down);
    student.layers.push_back(std::move(layer));
    student.config.sliding_window.push_back(teacher.config.sliding_window.at(static_cast<size_t>(from)));
  }
  student.norm = clone(teacher.norm);
  if (teacher.lm_head.defined()) student.lm_head = clone(teacher.lm_head);
  return student;
}

}  // namespace decant
