#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "data_pipeline/tokenizer.h"
#include "export/verify_bytes.h"
#include "export/verify_parts.h"
#include "export/verify_safetensors.h"

namespace decant::verifying {
namespace {

namespace fs = std::filesystem;

const std::string kConfig = "config.json";

struct Config {
  Tree tree;
  std::string family;
  PlainModel model;  // without weights
  int64_t width = 0, feed_forward = 0, shared = 0, expert_width = 0;
  bool tied = false, qkv_bias = false, o_bias = false, mlp_bias = false;
};

// Rope from either spelling; both must say the same when both are there.
void read_rope(const Tree& tree, Config& config) {
  const Tree v5 = has(tree, "rope_parameters") ? tree.at("rope_parameters") : Tree::object();
  const Tree v4 = has(tree, "rope_scaling") ? tree.at("rope_scaling") : Tree::object();
  expect(has(tree, "rope_theta"), kConfig,
         ": no top-level 'rope_theta'; readers of transformers 4 would use 10000 in silence");
  expect(has(v5, "rope_theta"), kConfig,
         ": no 'rope_parameters.rope_theta'; readers of transformers 5 look there");
  const double theta = number_or(tree, "rope_theta", 0, kConfig);
  expect(theta == number_or(v5, "rope_theta", 0, kConfig), kConfig, ": 'rope_theta' ", theta,
         " and 'rope_parameters.rope_theta' ", number_or(v5, "rope_theta", 0, kConfig), " differ");
  PlainRope rope;
  rope.theta = theta;
  rope.kind = text_or(v5, "rope_type", "default", kConfig);
  const std::string kind4 = text_or(v4, "rope_type", text_or(v4, "type", "default", kConfig), kConfig);
  expect(rope.kind == kind4, kConfig, ": 'rope_scaling' says ", kind4, ", 'rope_parameters' says ",
         rope.kind);
  for (const auto& [key, value] : v4.items())
    if (value.is_number())
      expect(
          has(v5, key.c_str()) && v5.at(key).is_number() && v5.at(key).get<double>() == value.get<double>(),
          kConfig, ": '", key, "' differs between 'rope_scaling' and 'rope_parameters'");
  if (rope.kind == "llama3")
    for (const char* key : {"factor", "low_freq_factor", "high_freq_factor"})
      expect(has(v5, key) && v5.at(key).is_number_float(), kConfig, ": llama3 rope needs '", key,
             "' as a number with a decimal point");
  rope.factor = number_or(v5, "factor", 1, kConfig);
  rope.low = number_or(v5, "low_freq_factor", 1, kConfig);
  rope.high = number_or(v5, "high_freq_factor", 4, kConfig);
  rope.original = number_or(v5, "original_max_position_embeddings",
                            number_or(tree, "max_position_embeddings", 0, kConfig), kConfig);
  rope.beta_fast = number_or(v5, "beta_fast", 32, kConfig);
  rope.beta_slow = number_or(v5, "beta_slow", 1, kConfig);
  rope.truncate = flag_or(v5, "truncate", true, kConfig);
  if (rope.kind == "yarn") {
    const auto scale = [&](double m) { return rope.factor <= 1 ? 1.0 : 0.1 * m * std::log(rope.factor) + 1; };
    const double m = number_or(v5, "mscale", 0, kConfig), all = number_or(v5, "mscale_all_dim", 0, kConfig);
    config.model.rotation_scale =
        number_or(v5, "attention_factor", m != 0 && all != 0 ? scale(m) / scale(all) : scale(1), kConfig);
  }
  if (rope.kind == "longrope") {  // golden texts are shorter than the original context
    expect(has(v5, "short_factor") && v5.at("short_factor").is_array(), kConfig, ": no 'short_factor'");
    for (const Tree& one : v5.at("short_factor")) {
      expect(one.is_number() && one.get<double>() > 0, kConfig, ": 'short_factor' must hold numbers above 0");
      rope.divisors.push_back(one.get<double>());
    }
    const double factor =
        rope.factor <= 1 ? 1 : std::sqrt(1 + std::log(rope.factor) / std::log(rope.original));
    config.model.rotation_scale = number_or(v5, "attention_factor", factor, kConfig);
  }
  const double partial = number_or(v5, "partial_rotary_factor", 1, kConfig);
  const auto turning = static_cast<int64_t>(static_cast<double>(config.model.head_dim) * partial);
  expect(partial > 0 && partial <= 1 && turning % 2 == 0, kConfig, ": 'partial_rotary_factor' is ", partial);
  config.model.frequencies = rope_frequencies(rope, turning);
  if (config.model.latent && rope.kind != "default") {
    const double all = number_or(v5, "mscale_all_dim", 0, kConfig);
    const double m = rope.factor <= 1 ? 1 : 0.1 * all * std::log(rope.factor) + 1;
    config.model.attention_scale *= m * m;
  }
}

void read_deepseek(const Tree& tree, Config& config) {
  const auto size = [&](const char* key) {
    const int64_t value = integer(tree, key, kConfig);
    expect(value > 0 && value < (1 << 24), kConfig, ": '", key, "' is ", value);
    return value;
  };
  PlainLatent latent;
  latent.q_rank = has(tree, "q_lora_rank") && !tree.at("q_lora_rank").is_null() ? size("q_lora_rank") : 0;
  latent.kv_rank = size("kv_lora_rank");
  latent.nope = size("qk_nope_head_dim");
  latent.rope = size("qk_rope_head_dim");
  latent.v = size("v_head_dim");
  latent.interleaved = flag_or(tree, "rope_interleave", true, kConfig);
  PlainExperts experts;
  experts.first_layer = integer_or(tree, "first_k_dense_replace", 3, kConfig);
  experts.routed = size("n_routed_experts");
  experts.per_token = size("num_experts_per_tok");
  experts.groups = size("n_group");
  experts.groups_per_token = size("topk_group");
  experts.scale = number_or(tree, "routed_scaling_factor", 2.5, kConfig);
  experts.normalize = flag_or(tree, "norm_topk_prob", true, kConfig);
  expect(experts.routed % experts.groups == 0 && experts.routed / experts.groups >= 2, kConfig, ": ",
         experts.routed, " experts do not make ", experts.groups, " groups");
  config.shared = size("n_shared_experts");
  config.expert_width = size("moe_intermediate_size");
  config.model.head_dim = latent.rope;
  config.model.attention_scale = 1 / std::sqrt(static_cast<double>(latent.nope + latent.rope));
  config.model.latent = latent;
  config.model.experts = experts;
}

void read_gemma(const Tree& tree, Config& config) {
  const auto cap = [&](const char* key) {
    return has(tree, key) && !tree.at(key).is_null() ? number_or(tree, key, 0, kConfig) : 0;
  };
  config.model.gemma = true;
  config.model.attention_cap = cap("attn_logit_softcapping");
  config.model.logit_cap = cap("final_logit_softcapping");
  config.model.attention_scale = 1 / std::sqrt(number_or(tree, "query_pre_attn_scalar", 256, kConfig));
}

Config read_config_json(const fs::path& folder) {
  Config config;
  const Tree& tree = config.tree = read_tree(folder / kConfig);
  config.family = text_or(tree, "model_type", "", kConfig);
  static const std::set<std::string> kFamilies = {"llama",       "qwen2",  "qwen3", "mistral",
                                                  "deepseek_v3", "gemma2", "phi3"};
  expect(kFamilies.contains(config.family), kConfig, ": model_type '", config.family,
         "' is not one that decant writes");
  expect(has(tree, "architectures"), kConfig, ": no 'architectures'; servers do not know what to load");
  PlainModel& model = config.model;
  const auto size = [&](const char* key) {
    const int64_t value = integer(tree, key, kConfig);
    expect(value > 0 && value < (1 << 30), kConfig, ": '", key, "' is ", value);
    return value;
  };
  config.width = size("hidden_size");
  config.feed_forward = size("intermediate_size");
  model.layers = size("num_hidden_layers");
  model.heads = size("num_attention_heads");
  model.kv_heads = has(tree, "num_key_value_heads") ? size("num_key_value_heads") : model.heads;
  model.vocabulary = size("vocab_size");
  expect(model.heads % model.kv_heads == 0, kConfig, ": ", model.heads, " heads do not share ",
         model.kv_heads, " key/value heads");
  if (!has(tree, "head_dim"))
    expect(config.width % model.heads == 0 && config.family != "qwen3", kConfig,
           ": 'head_dim' is missing and cannot be told from hidden_size / num_attention_heads");
  model.head_dim = has(tree, "head_dim") ? size("head_dim") : config.width / model.heads;
  expect(model.head_dim % 2 == 0, kConfig, ": head_dim ", model.head_dim, " is odd");
  if (config.family == "deepseek_v3") read_deepseek(tree, config);
  if (config.family == "gemma2") read_gemma(tree, config);
  model.eps = number_or(tree, "rms_norm_eps", 1e-6, kConfig);
  model.qk_norm = config.family == "qwen3";
  config.tied = flag_or(tree, "tie_word_embeddings", false, kConfig);
  const bool attention_bias = flag_or(tree, "attention_bias", false, kConfig);
  config.qkv_bias = config.family == "qwen2" || attention_bias;
  config.o_bias = config.family != "qwen2" && attention_bias;
  config.mlp_bias = flag_or(tree, "mlp_bias", false, kConfig);
  const std::string dtype = text_or(tree, "dtype", "", kConfig),
                    torch_dtype = text_or(tree, "torch_dtype", "", kConfig);
  expect(!dtype.empty() && dtype == torch_dtype, kConfig, ": 'dtype' (", dtype, ") and 'torch_dtype' (",
         torch_dtype, ") must both be there and agree");
  read_rope(tree, config);

  const bool whole = config.family == "mistral" || config.family == "phi3", gemma = config.family == "gemma2";
  const bool windowed = whole || gemma || flag_or(tree, "use_sliding_window", false, kConfig);
  const int64_t window = windowed ? integer_or(tree, "sliding_window", 0, kConfig) : 0;
  model.windows.assign(static_cast<size_t>(model.layers), window);
  if (window > 0 && !whole) {
    const int64_t full = gemma ? 0 : integer_or(tree, "max_window_layers", model.layers, kConfig);
    for (int64_t i = 0; i < std::min(full, model.layers); ++i) model.windows[static_cast<size_t>(i)] = 0;
    if (has(tree, "layer_types"))
      for (size_t i = 0; i < model.windows.size() && i < tree.at("layer_types").size(); ++i)
        model.windows[i] = tree.at("layer_types")[i] == "sliding_attention" ? window : 0;
  }
  return config;
}

// Every tensor that the config asks for, with its shape.
std::map<std::string, std::vector<int64_t>> expected_tensors(const Config& config) {
  const PlainModel& m = config.model;
  const int64_t q = m.heads * m.head_dim, kv = m.kv_heads * m.head_dim, d = config.width,
                f = config.feed_forward;
  std::map<std::string, std::vector<int64_t>> out;
  out["model.embed_tokens.weight"] = {m.vocabulary, d};
  out["model.norm.weight"] = {d};
  if (!config.tied) out["lm_head.weight"] = {m.vocabulary, d};
  for (int64_t layer = 0; layer < m.layers; ++layer) {
    const std::string p = "model.layers." + std::to_string(layer) + ".";
    out[p + "input_layernorm.weight"] = out[p + "post_attention_layernorm.weight"] = {d};
    const auto linear = [&](const std::string& name, int64_t rows, int64_t columns, bool bias) {
      out[p + name + ".weight"] = {rows, columns};
      if (bias) out[p + name + ".bias"] = {rows};
    };
    const auto feed_forward = [&](const std::string& name, int64_t inner) {
      if (config.family == "phi3") {
        linear(name + "gate_up_proj", 2 * inner, d, false);
      } else {
        linear(name + "gate_proj", inner, d, config.mlp_bias);
        linear(name + "up_proj", inner, d, config.mlp_bias);
      }
      linear(name + "down_proj", d, inner, config.mlp_bias);
    };
    if (m.latent) {
      const PlainLatent& l = *m.latent;
      const int64_t queries = m.heads * (l.nope + l.rope);
      if (l.q_rank > 0) {
        linear("self_attn.q_a_proj", l.q_rank, d, config.qkv_bias);
        linear("self_attn.q_b_proj", queries, l.q_rank, false);
        out[p + "self_attn.q_a_layernorm.weight"] = {l.q_rank};
      } else {
        linear("self_attn.q_proj", queries, d, false);
      }
      linear("self_attn.kv_a_proj_with_mqa", l.kv_rank + l.rope, d, config.qkv_bias);
      linear("self_attn.kv_b_proj", m.heads * (l.nope + l.v), l.kv_rank, false);
      out[p + "self_attn.kv_a_layernorm.weight"] = {l.kv_rank};
      linear("self_attn.o_proj", d, m.heads * l.v, config.o_bias);
    } else {
      if (config.family == "phi3") {
        linear("self_attn.qkv_proj", q + 2 * kv, d, false);
      } else {
        linear("self_attn.q_proj", q, d, config.qkv_bias);
        linear("self_attn.k_proj", kv, d, config.qkv_bias);
        linear("self_attn.v_proj", kv, d, config.qkv_bias);
      }
      linear("self_attn.o_proj", d, q, config.o_bias);
    }
    if (m.experts && layer >= m.experts->first_layer) {
      out[p + "mlp.gate.weight"] = {m.experts->routed, d};
      out[p + "mlp.gate.e_score_correction_bias"] = {m.experts->routed};
      for (int64_t e = 0; e < m.experts->routed; ++e)
        feed_forward("mlp.experts." + std::to_string(e) + ".", config.expert_width);
      feed_forward("mlp.shared_experts.", config.shared * config.expert_width);
    } else {
      feed_forward("mlp.", f);
    }
    if (m.gemma)
      out[p + "pre_feedforward_layernorm.weight"] = out[p + "post_feedforward_layernorm.weight"] = {d};
    if (m.qk_norm) out[p + "self_attn.q_norm.weight"] = out[p + "self_attn.k_norm.weight"] = {m.head_dim};
  }
  return out;
}

std::string shape_text(at::IntArrayRef shape) {
  std::string out = "[";
  for (const int64_t size : shape) out += (out.size() > 1 ? ", " : "") + std::to_string(size);
  return out + "]";
}

void check_tensors(const Config& config, const PlainFile& file) {
  const auto wanted = expected_tensors(config);
  for (const auto& [name, shape] : wanted) {
    const auto found = file.tensors.find(name);
    expect(found != file.tensors.end(), "tensor ", name, " is missing");
    expect(found->second.sizes().vec() == shape, "tensor ", name, " has shape ",
           shape_text(found->second.sizes()), ", config.json asks for ", shape_text(shape));
  }
  const std::string dtype = text_or(config.tree, "dtype", "", kConfig);
  const std::string stored = dtype == "bfloat16" ? "BF16" : dtype == "float16" ? "F16" : "F32";
  for (const auto& [name, value] : file.tensors) {
    expect(name != "lm_head.weight" || !config.tied,
           "lm_head.weight is there although tie_word_embeddings is true; readers would ignore it");
    expect(wanted.contains(name), "tensor ", name, " is not one that config.json asks for");
    // The experts' routing corrections are released in fp32.
    const std::string own = name.ends_with(".e_score_correction_bias") ? "F32" : stored;
    expect(file.dtypes.at(name) == own, "tensor ", name, " is ", file.dtypes.at(name), ", config.json says ",
           dtype);
  }
}

PlainModel with_weights(const Config& config, const fs::path& folder) {
  PlainFile file = read_plain_checkpoint(folder, "model");
  check_tensors(config, file);
  PlainModel model = config.model;
  model.weights = std::move(file.tensors);
  return model;
}

std::string check_stop_ids(const fs::path& folder, const Tree& config, const Context& context) {
  const Tree generation = read_tree(folder / "generation_config.json");
  const std::set<int64_t> stops = ids_of(generation, "eos_token_id", "generation_config.json");
  expect(!stops.empty(), "generation_config.json has no eos_token_id: servers would never stop");
  const int64_t vocabulary = integer(config, "vocab_size", kConfig);
  for (const int64_t id : stops)
    expect(id >= 0 && id < vocabulary, "eos_token_id ", id, " is outside the vocabulary of ", vocabulary);
  const std::set<int64_t> in_config = ids_of(config, "eos_token_id", kConfig);
  for (const int64_t id : in_config)
    expect(stops.contains(id), "config.json stops at id ", id, ", generation_config.json does not");
  if (fs::exists(folder / "tokenizer.json")) {
    const PlainVocabulary vocabulary_file =
        read_plain_vocabulary(read_tree(folder / "tokenizer.json"), "tokenizer.json");
    const std::string eos = named_token(read_tree_if_there(folder / "tokenizer_config.json"), "eos_token");
    if (!eos.empty()) {
      const auto id = vocabulary_file.id_of(eos);
      expect(id.has_value(), "tokenizer_config.json's eos_token '", eos, "' is not in the vocabulary");
      expect(stops.contains(*id), "tokenizer_config.json's eos_token '", eos, "' is id ", *id,
             ", at which generation_config.json does not stop");
    }
  }
  if (context.golden != nullptr)
    expect(stops == context.golden->eos,
           "the stop ids of generation_config.json are not those of the model that was exported");
  return std::to_string(stops.size()) + " stop id" + (stops.size() == 1 ? "" : "s");
}

std::string template_of(const fs::path& folder) {
  const fs::path jinja = folder / "chat_template.jinja";
  const std::string in_file = fs::exists(jinja) ? slurp(jinja) : std::string();
  const Tree config = read_tree_if_there(folder / "tokenizer_config.json");
  if (has(config, "chat_template") && config.at("chat_template").is_string()) {
    const auto in_config = config.at("chat_template").get<std::string>();
    expect(in_file.empty() || in_file == in_config,
           "chat_template.jinja and tokenizer_config.json's chat_template differ");
    return in_config;
  }
  return in_file;
}

// Does a text beginning with what the template writes first get a second BOS from the tokenizer?
void check_one_bos(const Tree& tokenizer_config, const std::string& chat_template) {
  const std::string bos = named_token(tokenizer_config, "bos_token");
  if (bos.empty() || !flag_or(tokenizer_config, "add_bos_token", false, "tokenizer_config.json")) return;
  const size_t first = chat_template.find_first_not_of(" \t\r\n");
  if (first == std::string::npos) return;
  const std::string rest = chat_template.substr(first);
  std::string squeezed;
  for (const char c : rest.substr(0, 64))
    if (c != ' ' && c != '-') squeezed += c;
  expect(!rest.starts_with(bos) && !squeezed.starts_with("{{bos_token"),
         "double BOS: the template begins with bos_token and the tokenizer adds it again (add_bos_token is "
         "true)");
}

std::string check_tokenizer(const fs::path& folder, int64_t vocabulary, const Context& context) {
  const fs::path file = folder / "tokenizer.json";
  if (!fs::exists(file)) {
    expect(fs::exists(folder / "tokenizer.model"), "neither tokenizer.json nor tokenizer.model is there");
    return "tokenizer.model";
  }
  const std::string bytes = slurp(file);
  const PlainVocabulary plain = read_plain_vocabulary(parse_tree(bytes, "tokenizer.json"), "tokenizer.json");
  expect(static_cast<int64_t>(plain.tokens.size()) <= vocabulary, "tokenizer.json has ids up to ",
         plain.tokens.size() - 1, ", the embedding has ", vocabulary, " rows");
  if (context.golden == nullptr) return std::to_string(plain.tokens.size()) + " ids";
  const Golden& golden = *context.golden;
  expect(golden.tokenizer_sha256.empty() || sha256_of(bytes) == golden.tokenizer_sha256,
         "tokenizer.json is not the file that the model was trained with (its SHA-256 differs from "
         "golden.jsonl's)");
  const auto tokenizer = load_tokenizer(folder);
  size_t texts = 0;
  for (const GoldenLine& line : golden.lines) {
    if (line.artefact != "model") continue;
    std::vector<int64_t> ids = tokenizer->encode(line.text, SpecialMode::kMatch);
    if (!line.whole) ids.resize(std::min(ids.size(), line.ids.size()));
    expect(ids == line.ids, "the tokenizer gives other ids than recorded for text ", texts + 1);
    ++texts;
  }
  return std::to_string(texts) + " texts give the recorded ids";
}

}  // namespace

PlainModel read_hf_model(const fs::path& folder) { return with_weights(read_config_json(folder), folder); }

void verify_hf(Checker& checker, const fs::path& folder, Context& context) {
  std::optional<Config> config;
  std::optional<PlainModel> model;
  checker.run("config", [&] {
    config = read_config_json(folder);
    if (context.golden != nullptr)
      expect(config->model.vocabulary == context.golden->vocabulary, "vocab_size ", config->model.vocabulary,
             ", the exported model had ", context.golden->vocabulary);
    return config->family + ", " + std::to_string(config->model.layers) + " layers";
  });
  if (!config.has_value()) return;
  checker.run("weights", [&] {
    model = with_weights(*config, folder);
    return std::to_string(model->weights.size()) + " tensors as config.json asks for";
  });
  checker.run("stop ids", [&] { return check_stop_ids(folder, config->tree, context); });
  checker.run("tokenizer", [&] { return check_tokenizer(folder, config->model.vocabulary, context); });
  checker.run("chat template", [&] {
    const std::string text = template_of(folder);
    check_one_bos(read_tree_if_there(folder / "tokenizer_config.json"), text);
    if (context.golden != nullptr) {
      const std::string& wanted = context.golden->template_sha256;
      expect(!text.empty() || wanted.empty(), "the chat template is missing");
      expect(text.empty() || sha256_of(text) == wanted,
             "the chat template is not the one that the model was trained with");
    }
    return text.empty() ? std::string("none") : "SHA-256 " + sha256_of(text).substr(0, 12);
  });
  if (model.has_value() && context.golden != nullptr)
    checker.run("log-probabilities",
                [&] { return compare_with_golden(*model, *context.golden, "model", kExact); });
  if (folder == context.model_folder) context.model = std::move(model);
}

}  // namespace decant::verifying
