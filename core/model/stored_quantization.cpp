#include "core/model/stored_quantization.h"

#include <ATen/ATen.h>

#include <cmath>

#include "core/error.h"

namespace decant {

namespace {

constexpr std::string_view kState = ".quant_state.bitsandbytes__nf4";
constexpr std::string_view kParts[] = {".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map",
                                       kState};

// A tensor of this dtype and number of values, as one row.
at::Tensor values_of(const TensorFile& file, const std::string& name, at::ScalarType dtype, int64_t count) {
  check(file.contains(name), name, ": the tensor is missing beside its quantized weight");
  const auto tensor = file.map(name);
  check(tensor.scalar_type() == dtype, name, ": expected ", c10::toString(dtype), ", found ",
        c10::toString(tensor.scalar_type()));
  check(tensor.numel() == count, name, ": expected ", count, " values, found ", tensor.numel());
  return tensor.reshape({count});
}

at::Tensor finite_values(const TensorFile& file, const std::string& name, int64_t count) {
  const auto values = values_of(file, name, at::kFloat, count);
  check(at::isfinite(values).all().item<bool>(), name,
        ": holds values that are not finite (NaN or infinity)");
  return values;
}

int64_t state_integer(const Json& state, const char* key, const std::string& where) {
  check(state.contains(key) && state[key].is_number_integer(), where, ": '", key,
        "' must be a whole number, found ", state.contains(key) ? state[key].dump() : "nothing");
  return state[key].get<int64_t>();
}

QuantizedWeight read_nf4(const TensorFile& file, const std::string& name, int64_t outputs, int64_t inputs) {
  const std::string where = name + std::string(kState);
  const auto text = file.load(where);
  check(text.scalar_type() == at::kByte, where, ": expected bytes of JSON, found ",
        c10::toString(text.scalar_type()));
  const Json state =
      parse_json({static_cast<const char*>(text.const_data_ptr()), static_cast<size_t>(text.numel())}, where);
  check(state.is_object(), where, ": expected an object, found ", state.type_name());
  check(state.contains("shape") && state["shape"] == Json({outputs, inputs}), where, ": expected 'shape' [",
        outputs, ", ", inputs, "] by the config, found ",
        state.contains("shape") ? state["shape"].dump() : "nothing");
  QuantizedWeight w;
  w.outputs = outputs;
  w.inputs = inputs;
  w.block = state_integer(state, "blocksize", where);
  check(w.block >= 32 && w.block <= 4096 && (w.block & (w.block - 1)) == 0, where,
        ": 'blocksize' must be a power of two from 32 to 4096, found ", w.block);
  const int64_t count = outputs * inputs, blocks = (count + w.block - 1) / w.block;
  w.codes = values_of(file, name, at::kByte, (count + 1) / 2);
  const auto levels = values_of(file, name + ".quant_map", at::kFloat, 16);
  check(at::equal(levels, nf4_levels()), name, ".quant_map: is not the 16 levels of nf4");
  if (!file.contains(name + ".nested_absmax")) {
    w.kind = Quantization::kNf4;
    w.absmax = finite_values(file, name + ".absmax", blocks);
    return w;
  }
  w.kind = Quantization::kNf4Dq;
  const int64_t nested = state_integer(state, "nested_blocksize", where);
  check(nested == 256, where, ": 'nested_blocksize' must be 256, found ", nested);
  check(state.contains("nested_offset") && state["nested_offset"].is_number() &&
            std::isfinite(state["nested_offset"].get<float>()),
        where, ": 'nested_offset' must be a finite number, found ",
        state.contains("nested_offset") ? state["nested_offset"].dump() : "nothing");
  w.offset = state["nested_offset"].get<float>();
  w.absmax = values_of(file, name + ".absmax", at::kByte, blocks);
  w.nested_absmax = finite_values(file, name + ".nested_absmax", (blocks + 255) / 256);
  w.nested_map = finite_values(file, name + ".nested_quant_map", 256);
  return w;
}

}  // namespace

Quantization stored_quantization(const Json& config, const std::string& where) {
  if (!config.is_object() || !config.contains("quantization_config")) return Quantization::kNone;
  const Json& q = config["quantization_config"];
  const auto is = [&](const char* key, const Json& value) {
    return q.is_object() && q.contains(key) && q[key] == value;
  };
  if (!is("quant_method", "bitsandbytes") || !is("load_in_4bit", true)) return Quantization::kNone;
  check(is("bnb_4bit_quant_type", "nf4"), where,
        ": 'quantization_config.bnb_4bit_quant_type' must be nf4, found ",
        q.contains("bnb_4bit_quant_type") ? q["bnb_4bit_quant_type"].dump() : "nothing (fp4)");
  return is("bnb_4bit_use_double_quant", true) ? Quantization::kNf4Dq : Quantization::kNf4;
}

std::optional<QuantizedWeight> read_quantized(const TensorFile& file, const std::string& name,
                                              int64_t outputs, int64_t inputs) {
  if (file.contains(name + std::string(kState))) return read_nf4(file, name, outputs, inputs);
  const std::string scales = name.substr(0, name.rfind('.')) + ".SCB";
  if (!file.contains(scales)) return std::nullopt;
  QuantizedWeight w;
  w.kind = Quantization::kInt8;
  w.outputs = outputs;
  w.inputs = inputs;
  w.codes = values_of(file, name, at::kChar, outputs * inputs).view({outputs, inputs});
  w.absmax = finite_values(file, scales, outputs);
  return w;
}

std::string quantized_owner(const std::string& tensor) {
  for (const auto part : kParts)
    if (tensor.ends_with(part) && tensor.size() > part.size()) {
      auto owner = tensor.substr(0, tensor.size() - part.size());
      if (owner.ends_with(".weight")) return owner;
    }
  if (tensor.ends_with(".SCB")) return tensor.substr(0, tensor.size() - 4) + ".weight";
  return tensor;
}

void append_quantized(NamedTensors& tensors, const std::string& name, const QuantizedWeight& w) {
  if (w.kind == Quantization::kInt8) {
    tensors.emplace_back(name, w.codes);
    tensors.emplace_back(name.substr(0, name.rfind('.')) + ".SCB", w.absmax);
    return;
  }
  Json state = {
      {"quant_type", "nf4"}, {"blocksize", w.block}, {"dtype", "bfloat16"}, {"shape", {w.outputs, w.inputs}}};
  tensors.emplace_back(name, w.codes.view({-1, 1}));
  tensors.emplace_back(name + ".absmax", w.absmax);
  tensors.emplace_back(name + ".quant_map", nf4_levels());
  if (w.kind == Quantization::kNf4Dq) {
    tensors.emplace_back(name + ".nested_absmax", w.nested_absmax);
    tensors.emplace_back(name + ".nested_quant_map", w.nested_map);
    state["nested_blocksize"] = 256;
    state["nested_dtype"] = "float32";
    state["nested_offset"] = static_cast<double>(w.offset);
  }
  const std::string text = state.dump();
  auto bytes = at::empty({static_cast<int64_t>(text.size())}, at::kByte);
  std::copy(text.begin(), text.end(), bytes.mutable_data_ptr<uint8_t>());
  tensors.emplace_back(name + std::string(kState), bytes);
}

std::filesystem::path quantized_cache_file(const std::filesystem::path& folder,
                                           const std::string& weights_digest, Quantization kind) {
  return folder / concat(weights_digest.substr(0, 32), "-", to_string(kind), ".safetensors");
}

}  // namespace decant
