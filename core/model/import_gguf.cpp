#include <ATen/ATen.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <numbers>
#include <optional>
#include <set>

#include "core/error.h"
#include "core/gguf_file.h"
#include "core/model/gguf_model_config.h"
#include "core/model/load_model.h"

namespace decant {

namespace {

// f32 metadata as a person wrote it: 1e-05, not 9.999999747378752e-06.
double shortest(double value) {
  char text[32];
  const auto [end, error] = std::to_chars(text, text + sizeof text - 1, static_cast<float>(value));
  check(error == std::errc(), "gguf: a number cannot be written");
  *end = '\0';
  return std::strtod(text, nullptr);
}

int64_t size_of(const GgufFile& gguf, const std::string& key) {
  constexpr int64_t kMost = int64_t{1} << 30;
  const int64_t value = gguf.integer(key);
  check(value >= 1 && value <= kMost, gguf.path().string(), ": '", key, "' must be from 1 to ", kMost,
        ", found ", value);
  return value;
}

// rope_freqs.weight holds what llama3's scaling divides each frequency by; the settings that made it are
// found again by trying them.
std::optional<Json> llama3_scaling(const GgufFile& gguf, const GgufTensor& tensor, int64_t head_dim,
                                   double theta) {
  const std::string where = gguf.path().string() + ": 'rope_freqs.weight'";
  check(tensor.shape == std::vector<int64_t>{head_dim / 2}, where, " must have ", head_dim / 2,
        " elements, found ", tensor.elements());
  std::vector<float> found(static_cast<size_t>(tensor.elements()));
  gguf.dequantize(tensor, found.data());
  const double factor = shortest(found.back());
  if (std::all_of(found.begin(), found.end(), [](float v) { return v == 1; })) return std::nullopt;
  constexpr double kLow = 1, kHigh = 4;
  const auto fits = [&](double original) {
    for (size_t i = 0; i < found.size(); ++i) {
      const double wavelength =
          2 * std::numbers::pi * std::pow(theta, 2 * static_cast<double>(i) / static_cast<double>(head_dim));
      double expected = factor;
      if (wavelength < original / kHigh) {
        expected = 1;
      } else if (wavelength <= original / kLow) {
        const double smooth = (original / wavelength - kLow) / (kHigh - kLow);
        expected = 1 / ((1 - smooth) / factor + smooth);
      }
      if (!(std::fabs(found[i] - expected) <= 1e-4 * expected)) return false;
    }
    return true;
  };
  std::vector<int64_t> originals = {8192};
  for (int64_t original = 16; original <= (int64_t{1} << 22); original *= 2) originals.push_back(original);
  for (const int64_t original : originals)
    if (factor > 0 && fits(static_cast<double>(original)))
      return Json{{"rope_type", "llama3"},
                  {"factor", factor},
                  {"low_freq_factor", kLow},
                  {"high_freq_factor", kHigh},
                  {"original_max_position_embeddings", original}};
  fail(where, " is no rope scaling that decant knows (llama3 with low_freq_factor 1, high_freq_factor 4)");
}

// Null when there is none.
Json rope_scaling(const GgufFile& gguf, const std::string& arch, int64_t head_dim, double theta) {
  const std::string prefix = arch + ".rope.scaling.";
  const std::string type = gguf.find_value(prefix + "type") != nullptr ? gguf.text(prefix + "type") : "none";
  const double old_linear = gguf.number_or(arch + ".rope.scale_linear", 1);
  const GgufTensor* frequencies = gguf.find("rope_freqs.weight");
  std::optional<Json> llama3;
  if (frequencies != nullptr) llama3 = llama3_scaling(gguf, *frequencies, head_dim, theta);
  Json scaling;
  if (type == "linear" || (type == "none" && old_linear != 1)) {
    scaling["rope_type"] = "linear";
    scaling["factor"] = shortest(gguf.number_or(prefix + "factor", old_linear));
  } else if (type == "yarn") {
    scaling["rope_type"] = "yarn";
    scaling["factor"] = shortest(gguf.number(prefix + "factor"));
    scaling["original_max_position_embeddings"] = size_of(gguf, prefix + "original_context_length");
    if (gguf.find_value(prefix + "yarn_beta_fast") != nullptr)
      scaling["beta_fast"] = shortest(gguf.number(prefix + "yarn_beta_fast"));
    if (gguf.find_value(prefix + "yarn_beta_slow") != nullptr)
      scaling["beta_slow"] = shortest(gguf.number(prefix + "yarn_beta_slow"));
    for (const char* key : {"attn_factor", "yarn_attn_factor", "yarn_ext_factor", "yarn_log_multiplier"})
      check(gguf.find_value(prefix + key) == nullptr, gguf.path().string(), ": '", prefix, key,
            "' is not supported");
  } else {
    check(type == "none", gguf.path().string(), ": '", prefix, "type' is '", type,
          "'; supported are none, linear, yarn");
  }
  check(!(llama3 && !scaling.is_null()), gguf.path().string(), ": has both 'rope_freqs.weight' and '", prefix,
        "type'");
  return llama3 ? *llama3 : scaling;
}

Json config_of(const GgufFile& gguf, const std::string& arch, Dtype dtype) {
  const std::string where = gguf.path().string();
  const auto key = [&](const char* name) { return arch + "." + name; };
  for (const char* name : {"expert_count", "attention.sliding_window"})
    check(gguf.integer_or(key(name), 0) == 0, where, ": '", key(name), "' is not supported, found ",
          gguf.integer_or(key(name), 0));
  const GgufTensor* embedding = gguf.find("token_embd.weight");
  check(embedding != nullptr, where,
        ": the tensor 'token_embd.weight' is missing; is this a file of the vocabulary alone?");
  check(embedding->shape.size() == 2, where, ": 'token_embd.weight' must have 2 dimensions");
  const int64_t width = size_of(gguf, key("embedding_length")),
                heads = size_of(gguf, key("attention.head_count"));
  const int64_t layers = size_of(gguf, key("block_count"));
  const bool given = gguf.find_value(key("attention.key_length")) != nullptr;
  check(given || width % heads == 0, where, ": '", key("embedding_length"), "' ", width,
        " is not a multiple of ", heads, " heads");
  const int64_t head_dim = given ? size_of(gguf, key("attention.key_length")) : width / heads;
  for (const char* name : {"attention.value_length", "rope.dimension_count"})
    check(gguf.integer_or(key(name), head_dim) == head_dim, where, ": '", key(name),
          "' must be the head width ", head_dim, ", found ", gguf.integer_or(key(name), head_dim));
  check(head_dim % 2 == 0, where, ": the head width must be even, found ", head_dim);
  const double theta = shortest(gguf.number_or(key("rope.freq_base"), 10000));
  const bool llama = arch == "llama";

  Json json;
  json["architectures"] = {llama ? "LlamaForCausalLM" : "Qwen2ForCausalLM"};
  json["model_type"] = arch;
  json["attention_dropout"] = 0.0;
  if (llama) {
    json["attention_bias"] = gguf.find("blk.0.attn_q.bias") != nullptr;
    json["mlp_bias"] = gguf.find("blk.0.ffn_gate.bias") != nullptr;
    json["pretraining_tp"] = 1;
  } else {
    json["use_sliding_window"] = false;
    json["max_window_layers"] = layers;
  }
  const std::pair<const char*, const char*> ids[] = {{"bos_token_id", "tokenizer.ggml.bos_token_id"},
                                                     {"eos_token_id", "tokenizer.ggml.eos_token_id"},
                                                     {"pad_token_id", "tokenizer.ggml.padding_token_id"}};
  for (const auto& [name, source] : ids) {
    if (gguf.find_value(source) == nullptr) continue;
    const int64_t id = gguf.integer(source);
    check(id >= 0 && id < embedding->shape[0], where, ": '", source, "' is ", id, ", the vocabulary has ",
          embedding->shape[0]);
    json[name] = id;
  }
  json["head_dim"] = head_dim;
  json["hidden_act"] = "silu";
  json["hidden_size"] = width;
  json["initializer_range"] = 0.02;
  json["intermediate_size"] = size_of(gguf, key("feed_forward_length"));
  json["max_position_embeddings"] = size_of(gguf, key("context_length"));
  json["num_attention_heads"] = heads;
  json["num_hidden_layers"] = layers;
  json["num_key_value_heads"] = gguf.find_value(key("attention.head_count_kv")) != nullptr
                                    ? size_of(gguf, key("attention.head_count_kv"))
                                    : heads;
  json["rms_norm_eps"] = shortest(gguf.number(key("attention.layer_norm_rms_epsilon")));
  const Json scaling = rope_scaling(gguf, arch, head_dim, theta);
  json["rope_theta"] = theta;
  if (!scaling.is_null()) json["rope_scaling"] = scaling;
  json["rope_parameters"] = scaling.is_null() ? Json{{"rope_type", "default"}} : scaling;
  json["rope_parameters"]["rope_theta"] = theta;
  json["tie_word_embeddings"] = gguf.find("output.weight") == nullptr;
  json["torch_dtype"] = json["dtype"] = dtype == Dtype::kBf16 ? "bfloat16" : "float32";
  json["use_cache"] = true;
  json["vocab_size"] = embedding->shape[0];
  return json;
}

// "model.layers.3.mlp.up_proj.weight" -> "blk.3.ffn_up.weight"
std::string gguf_name(const std::string& name) {
  if (name == "model.embed_tokens.weight") return "token_embd.weight";
  if (name == "model.norm.weight") return "output_norm.weight";
  if (name == "lm_head.weight") return "output.weight";
  static const std::pair<const char*, const char*> kParts[] = {
      {"input_layernorm", "attn_norm"}, {"post_attention_layernorm", "ffn_norm"},
      {"self_attn.q_proj", "attn_q"},   {"self_attn.k_proj", "attn_k"},
      {"self_attn.v_proj", "attn_v"},   {"self_attn.o_proj", "attn_output"},
      {"mlp.gate_proj", "ffn_gate"},    {"mlp.up_proj", "ffn_up"},
      {"mlp.down_proj", "ffn_down"}};
  constexpr std::string_view kLayers = "model.layers.";
  if (name.starts_with(kLayers)) {
    const size_t dot = name.find('.', kLayers.size());
    const size_t kind = name.rfind('.');
    const std::string part = name.substr(dot + 1, kind - dot - 1);
    for (const auto& [ours, theirs] : kParts)
      if (part == ours)
        return "blk." + name.substr(kLayers.size(), dot - kLayers.size()) + "." + theirs + name.substr(kind);
  }
  throw std::logic_error("import_gguf: no name for " + name);
}

}  // namespace

namespace {

ModelConfig read_config(const GgufFile& gguf, Dtype dtype) {
  const std::string where = gguf.path().string();
  check(gguf.integer_or("split.count", 1) <= 1, where,
        ": is one part of a split model; join the parts with llama.cpp's gguf-split");
  const std::string arch = gguf.text("general.architecture");
  check(arch == "llama" || arch == "qwen2", where, ": the architecture is '", arch,
        "'; llama and qwen2 are read");
  return parse_model_config(config_of(gguf, arch, dtype), where);
}

}  // namespace

ModelConfig read_gguf_model_config(const std::filesystem::path& path) {
  return read_config(GgufFile(path), Dtype::kBf16);
}

Decoder import_gguf(const std::filesystem::path& path, Dtype dtype) {
  const GgufFile gguf(path);
  const std::string where = path.string();
  const ModelConfig config = read_config(gguf, dtype);
  const std::string arch = gguf.text("general.architecture");

  std::set<std::string> used = {"rope_freqs.weight"};
  const auto load = [&](const std::string& name) {
    const std::string theirs = gguf_name(name);
    const GgufTensor* tensor = gguf.find(theirs);
    if (tensor == nullptr) fail(where, ": the tensor '", theirs, "' is missing");
    used.insert(theirs);
    at::Tensor value = at::empty(tensor->shape, at::kFloat);
    gguf.dequantize(*tensor, value.data_ptr<float>());
    check(at::isfinite(value).all().item<bool>(), where, ": '", theirs, "' holds values that are not finite");
    // llama.cpp rotates neighbours where transformers rotates halves: the converter has permuted the rows of
    // q and k, of llama only.
    const bool q = theirs.find(".attn_q.") != std::string::npos,
               k = theirs.find(".attn_k.") != std::string::npos;
    if (config.family == Family::kLlama && (q || k)) {
      const int64_t heads = q ? config.num_attention_heads : config.num_key_value_heads;
      check(value.dim() >= 1 && value.size(0) == heads * config.head_dim, where, ": '", theirs,
            "' must have ", heads * config.head_dim, " rows, found ", value.sizes());
      const auto shape = value.sizes().vec();
      value = value.view({heads, config.head_dim / 2, 2, -1}).transpose(1, 2).reshape(shape);
    }
    return value;
  };
  Decoder model = make_decoder(config, dtype, load);
  for (const auto& tensor : gguf.tensors())
    check(used.contains(tensor.name), where, ": the tensor '", tensor.name, "' is not part of a ", arch,
          " model as decant knows it");
  return model;
}

}  // namespace decant
