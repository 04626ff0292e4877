#include "export/gguf_writer.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "export/ggml_rows.h"
#include "export/gguf_header.h"
#include "export/gguf_tokenizer.h"

namespace decant {
namespace {

constexpr double kPi = 3.14159265358979323846;

struct PlannedTensor {
  std::string name;
  at::Tensor value;   // as in the model
  int64_t heads = 0;  // rows of so many heads are permuted; 0: none
  GgufTensorType type = GgufTensorType::kF32;
};

// Null for a family that is not written.
const char* architecture(Family family) {
  switch (family) {
    case Family::kLlama:
    case Family::kMistral:
      return "llama";
    case Family::kQwen2:
      return "qwen2";
    case Family::kQwen3:
      return "qwen3";
    case Family::kDeepseekV3:
    case Family::kGemma2:
    case Family::kPhi3:
      return nullptr;
  }
  return nullptr;
}

uint32_t file_type(GgufType type) {
  switch (type) {
    case GgufType::kF32:
      return 0;
    case GgufType::kF16:
      return 1;
    case GgufType::kQ8_0:
      return 7;
    case GgufType::kBf16:
      return 32;
  }
  fail("no such GGUF type");
}

// "model.layers.3.self_attn.q_proj.weight" -> "blk.3.attn_q.weight".
std::string gguf_name(const std::string& name) {
  if (name == "model.embed_tokens.weight") return "token_embd.weight";
  if (name == "model.norm.weight") return "output_norm.weight";
  if (name == "lm_head.weight") return "output.weight";
  static constexpr std::pair<const char*, const char*> kParts[] = {
      {"input_layernorm", "attn_norm"},    {"post_attention_layernorm", "ffn_norm"},
      {"self_attn.q_proj", "attn_q"},      {"self_attn.k_proj", "attn_k"},
      {"self_attn.v_proj", "attn_v"},      {"self_attn.o_proj", "attn_output"},
      {"self_attn.q_norm", "attn_q_norm"}, {"self_attn.k_norm", "attn_k_norm"},
      {"mlp.gate_proj", "ffn_gate"},       {"mlp.up_proj", "ffn_up"},
      {"mlp.down_proj", "ffn_down"}};
  const std::string prefix = "model.layers.";
  const size_t dot = name.find('.', prefix.size());
  const size_t last = name.rfind('.');
  if (name.starts_with(prefix) && dot != std::string::npos && last > dot) {
    const std::string part = name.substr(dot + 1, last - dot - 1);
    for (const auto& [from, to] : kParts)
      if (part == from)
        return "blk." + name.substr(prefix.size(), dot - prefix.size()) + "." + to + name.substr(last);
  }
  fail("GGUF has no name for the tensor '", name, "'");
}

GgufTensorType tensor_type(GgufType type, const std::vector<int64_t>& shape) {
  if (shape.size() == 1) return GgufTensorType::kF32;
  switch (type) {
    case GgufType::kF32:
      return GgufTensorType::kF32;
    case GgufType::kF16:
      return GgufTensorType::kF16;
    case GgufType::kBf16:
      return GgufTensorType::kBf16;
    case GgufType::kQ8_0:
      return shape.back() % static_cast<int64_t>(kQ8Block) == 0 ? GgufTensorType::kQ8_0
                                                                : GgufTensorType::kF16;
  }
  fail("no such GGUF type");
}

// llama3 scaling as the divisors that llama.cpp multiplies into the wavelengths (its PR 8676).
at::Tensor llama3_rope_factors(const ModelConfig& config) {
  const RopeConfig& rope = config.rope;
  const int64_t half = config.head_dim / 2;
  at::Tensor factors = at::empty({half}, at::kFloat);
  float* out = factors.data_ptr<float>();
  for (int64_t i = 0; i < half; ++i) {
    const double frequency =
        1.0 / std::pow(rope.theta, 2.0 * static_cast<double>(i) / static_cast<double>(config.head_dim));
    const double wavelength = 2 * kPi / frequency;
    const double original = rope.original_max_position_embeddings;
    if (wavelength < original / rope.high_freq_factor) {
      out[i] = 1;
    } else if (wavelength > original / rope.low_freq_factor) {
      out[i] = static_cast<float>(rope.factor);
    } else {
      const double smooth =
          (original / wavelength - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
      out[i] = static_cast<float>(1.0 / ((1.0 - smooth) / rope.factor + smooth));
    }
  }
  return factors;
}

// What transformers multiplies into cos and sin.
double yarn_attention_factor(const RopeConfig& rope) {
  if (rope.attention_factor > 0) return rope.attention_factor;
  const auto scale = [&](double mscale) {
    return rope.factor <= 1 ? 1.0 : 0.1 * mscale * std::log(rope.factor) + 1.0;
  };
  if (rope.mscale != 0 && rope.mscale_all_dim != 0) return scale(rope.mscale) / scale(rope.mscale_all_dim);
  return scale(1);
}

void add_rope(GgufHeader& header, const std::string& arch, const ModelConfig& config) {
  const RopeConfig& rope = config.rope;
  header.add_u32(arch + ".rope.dimension_count", static_cast<uint32_t>(config.head_dim));
  header.add_f32(arch + ".rope.freq_base", static_cast<float>(rope.theta));
  if (rope.kind == RopeConfig::Kind::kLinear) {
    header.add_text(arch + ".rope.scaling.type", "linear");
    header.add_f32(arch + ".rope.scaling.factor", static_cast<float>(rope.factor));
  }
  if (rope.kind == RopeConfig::Kind::kYarn) {
    check(rope.truncate,
          "GGUF: llama.cpp always truncates yarn's correction range; 'truncate: false' cannot be written");
    header.add_text(arch + ".rope.scaling.type", "yarn");
    header.add_f32(arch + ".rope.scaling.factor", static_cast<float>(rope.factor));
    header.add_u32(arch + ".rope.scaling.original_context_length",
                   static_cast<uint32_t>(rope.original_max_position_embeddings));
    // llama.cpp multiplies 0.1 ln(factor) + 1 by itself.
    const double own = 0.1 * std::log(rope.factor) + 1.0;
    header.add_f32(arch + ".rope.scaling.attn_factor", static_cast<float>(yarn_attention_factor(rope) / own));
    header.add_f32(arch + ".rope.scaling.yarn_beta_fast", static_cast<float>(rope.beta_fast));
    header.add_f32(arch + ".rope.scaling.yarn_beta_slow", static_cast<float>(rope.beta_slow));
  }
}

// llama.cpp's llama and qwen graphs know no sliding window. Up to the window's length full attention is the
// same thing.
int64_t context_length(const ModelConfig& config) {
  int64_t length = config.max_position_embeddings;
  for (const int64_t window : config.sliding_window)
    if (window > 0) length = std::min(length, window);
  return length;
}

void add_sampling(GgufHeader& header, const std::filesystem::path& folder) {
  const auto file = folder / "generation_config.json";
  if (!std::filesystem::exists(file)) return;
  const Json generation = read_json(file);
  const auto number = [&](const char* key) {
    return generation.contains(key) && generation[key].is_number();
  };
  if (number("temperature")) header.add_f32("general.sampling.temp", generation["temperature"].get<float>());
  if (number("top_p")) header.add_f32("general.sampling.top_p", generation["top_p"].get<float>());
  if (number("top_k")) header.add_i32("general.sampling.top_k", generation["top_k"].get<int32_t>());
}

GgufHeader make_header(const ModelConfig& config, const std::filesystem::path& tokenizer_folder,
                       GgufType type, const std::string& name) {
  GgufHeader header;
  const std::string arch = architecture(config.family);
  header.add_text("general.architecture", arch);
  header.add_text("general.type", "model");
  header.add_text("general.name", name);
  header.add_u32("general.file_type", file_type(type));
  header.add_u32("general.quantization_version", 2);
  add_sampling(header, tokenizer_folder);
  const auto size = [&](const char* key, int64_t value) {
    header.add_u32(arch + key, static_cast<uint32_t>(value));
  };
  size(".vocab_size", config.vocab_size);
  size(".context_length", context_length(config));
  size(".embedding_length", config.hidden_size);
  size(".block_count", config.num_hidden_layers);
  size(".feed_forward_length", config.intermediate_size);
  size(".attention.head_count", config.num_attention_heads);
  size(".attention.head_count_kv", config.num_key_value_heads);
  size(".attention.key_length", config.head_dim);
  size(".attention.value_length", config.head_dim);
  header.add_f32(arch + ".attention.layer_norm_rms_epsilon", static_cast<float>(config.rms_norm_eps));
  add_rope(header, arch, config);
  add_gguf_tokenizer(header, tokenizer_folder, config.vocab_size);
  return header;
}

std::vector<PlannedTensor> plan_tensors(const Decoder& model, GgufType type) {
  const ModelConfig& config = model.config;
  const bool permuted = config.family == Family::kLlama || config.family == Family::kMistral;
  std::vector<PlannedTensor> plan;
  if (config.rope.kind == RopeConfig::Kind::kLlama3)
    plan.push_back({"rope_freqs.weight", llama3_rope_factors(config), 0, GgufTensorType::kF32});
  for (const Parameter* parameter : model.parameters()) {
    PlannedTensor tensor{gguf_name(parameter->name), parameter->value, 0,
                         tensor_type(type, parameter->value.sizes().vec())};
    if (permuted && parameter->name.find("q_proj.") != std::string::npos)
      tensor.heads = config.num_attention_heads;
    if (permuted && parameter->name.find("k_proj.") != std::string::npos)
      tensor.heads = config.num_key_value_heads;
    plan.push_back(std::move(tensor));
  }
  return plan;
}

// Rows of a head from rotate-half order (i pairs with i + K/2) to llama.cpp's pairs (2i, 2i + 1).
at::Tensor permute_rows(const at::Tensor& value, int64_t heads) {
  const at::Tensor rows = value.dim() == 1 ? value.unsqueeze(1) : value;
  return rows.reshape({heads, 2, rows.size(0) / heads / 2, rows.size(1)})
      .transpose(1, 2)
      .reshape(value.sizes());
}

void write_rows(AtomicFile& file, const PlannedTensor& tensor, const at::Tensor& value,
                const std::filesystem::path& path) {
  const int64_t columns = value.size(-1);
  const int64_t rows = value.numel() / columns;
  const auto n = static_cast<size_t>(columns);
  std::string out(GgufHeader::tensor_bytes({columns}, tensor.type), '\0');
  const float* x = value.const_data_ptr<float>();
  for (int64_t row = 0; row < rows; ++row, x += n) {
    if (tensor.type == GgufTensorType::kF32) {
      file.write({reinterpret_cast<const char*>(x), n * sizeof(float)});
      continue;
    }
    if (tensor.type == GgufTensorType::kQ8_0) {
      quantize_q8_0(x, n, out.data());
      for (size_t block = 0; block < n / kQ8Block; ++block) {
        const auto high = static_cast<unsigned char>(out[block * kQ8BlockBytes + 1]);
        if ((high & 0x7c) == 0x7c)
          fail(path.string(), ": tensor '", tensor.name, "' row ", row,
               " is too large for a Q8_0 scale; export it as bf16");
      }
    } else {
      for (size_t i = 0; i < n; ++i) {
        const uint16_t bits = tensor.type == GgufTensorType::kF16 ? f16_bits(x[i]) : bf16_bits(x[i]);
        if (tensor.type == GgufTensorType::kF16 && (bits & 0x7c00u) == 0x7c00u)
          fail(path.string(), ": tensor '", tensor.name, "' holds ", x[i],
               ", which F16 cannot (largest 65504); export it as bf16");
        out[2 * i] = static_cast<char>(bits & 0xff);
        out[2 * i + 1] = static_cast<char>(bits >> 8);
      }
    }
    file.write(out);
  }
}

}  // namespace

bool has_gguf(Family family) { return architecture(family) != nullptr; }

void export_gguf(const Decoder& model, const std::filesystem::path& tokenizer_folder, GgufType type,
                 const std::string& name, const std::filesystem::path& path) {
  check(has_gguf(model.config.family), path.string(), ": GGUF of ",
        model.config.source.value("model_type", "this family"),
        " models is not supported; expected llama, mistral, qwen2 or qwen3 (export the Hugging Face folder)");
  GgufHeader header = make_header(model.config, tokenizer_folder, type, name);
  const std::vector<PlannedTensor> plan = plan_tensors(model, type);
  uint64_t total = 0;
  for (const PlannedTensor& tensor : plan) {
    header.add_tensor(tensor.name, tensor.value.sizes().vec(), tensor.type);
    total += GgufHeader::tensor_bytes(tensor.value.sizes().vec(), tensor.type) + GgufHeader::kAlignment;
  }
  check_free_disk(path.parent_path().empty() ? "." : path.parent_path(), total);
  AtomicFile file(path);
  file.write(header.bytes());
  for (const PlannedTensor& tensor : plan) {
    at::Tensor value = tensor.value.detach().to(at::kCPU, at::kFloat);
    if (tensor.heads > 0) value = permute_rows(value, tensor.heads);
    value = value.contiguous();
    check(at::isfinite(value).all().item<bool>(), path.string(), ": tensor '", tensor.name,
          "' holds values that are not finite");
    write_rows(file, tensor, value, path);
    const uint64_t bytes = GgufHeader::tensor_bytes(value.sizes().vec(), tensor.type);
    file.write(std::string((GgufHeader::kAlignment - bytes % GgufHeader::kAlignment) % GgufHeader::kAlignment,
                           '\0'));
  }
  file.commit();
}

}  // namespace decant
