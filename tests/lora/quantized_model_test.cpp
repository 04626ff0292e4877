// A model with quantized linears: loading, the cache, bitsandbytes' folders, training adapters on it, and
// what it refuses.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <malloc.h>

#include <cmath>
#include <fstream>

#include "core/file.h"
#include "core/kernels/gemm.h"
#include "core/model/load_model.h"
#include "core/model/stored_quantization.h"
#include "lora/attach.h"
#include "lora/merge.h"
#include "tests/support/expect_error.h"
#include "tests/support/shared.h"

namespace decant {
namespace {

namespace fs = std::filesystem;

const std::vector<Quantization> kKinds = {Quantization::kInt8, Quantization::kNf4, Quantization::kNf4Dq};

ModelConfig tiny() {
  auto json =
      Json::parse(R"({"model_type": "qwen2", "vocab_size": 64, "hidden_size": 96, "intermediate_size": 160,
    "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 24,
    "max_position_embeddings": 64, "tie_word_embeddings": false})");
  return parse_model_config(json, "tiny");
}

fs::path saved_model() {
  const auto folder = test::scratch_folder() / "model";
  save_model(random_decoder(tiny(), Dtype::kBf16, 5, 0.1), folder, Dtype::kBf16);
  return folder;
}

Batch two_documents() { return make_batch({{1, 2, 3, 4, 5, 6, 7}, {9, 8, 7, 6, 5}}); }

double relative(const at::Tensor& got, const at::Tensor& want) {
  const auto a = got.to(at::kDouble), b = want.to(at::kDouble);
  return ((a - b).norm() / (b.norm() + 1e-30)).item<double>();
}

void expect_same_weights(Decoder& a, Decoder& b) {
  const auto x = a.linears(), y = b.linears();
  ASSERT_EQ(x.size(), y.size());
  ASSERT_EQ(x.size(), 21U);
  for (size_t i = 0; i < x.size(); ++i) {
    EXPECT_EQ(x[i]->quantized.kind, y[i]->quantized.kind);
    EXPECT_TRUE(at::equal(x[i]->weight_values(at::kFloat), y[i]->weight_values(at::kFloat))) << x[i]->name;
    EXPECT_TRUE(at::equal(x[i]->quantized.codes.flatten(), y[i]->quantized.codes.flatten())) << x[i]->name;
    EXPECT_TRUE(at::equal(x[i]->quantized.absmax, y[i]->quantized.absmax)) << x[i]->name;
  }
  EXPECT_TRUE(at::equal(a.embed_tokens.value, b.embed_tokens.value));
  EXPECT_TRUE(at::equal(a.lm_head.value, b.lm_head.value));
}

TEST(QuantizedModel, LoadingQuantizesTheLinearsAndNothingElse) {
  const auto folder = saved_model();
  for (const auto kind : kKinds) {
    auto plain = load_model(folder, Dtype::kBf16), model = load_model(folder, Dtype::kBf16, {kind, {}});
    EXPECT_EQ(quantization_of(model), kind);
    const auto linears = model.linears(), originals = plain.linears();
    for (size_t i = 0; i < linears.size(); ++i) {
      const auto expected = quantize_weight(originals[i]->weight.value, kind);
      EXPECT_FALSE(linears[i]->weight.value.defined());
      EXPECT_TRUE(at::equal(linears[i]->quantized.codes, expected.codes)) << linears[i]->name;
      if (originals[i]->bias.defined()) {
        EXPECT_TRUE(at::equal(linears[i]->bias.value, originals[i]->bias.value));
      }
    }
    EXPECT_TRUE(at::equal(model.embed_tokens.value, plain.embed_tokens.value));
    EXPECT_TRUE(at::equal(model.lm_head.value, plain.lm_head.value));
    EXPECT_TRUE(at::equal(model.norm.value, plain.norm.value));
  }
}

TEST(QuantizedModel, TheCacheHoldsTheSameModel) {
  const auto folder = saved_model();
  for (const auto kind : kKinds) {
    const auto cache = quantized_cache_file(folder.parent_path() / "cache", std::string(64, 'a'), kind);
    auto first = load_model(folder, Dtype::kBf16, {kind, cache});
    ASSERT_TRUE(fs::exists(cache));
    const auto bytes = read_file(cache);
    auto second = load_model(folder, Dtype::kBf16, {kind, cache});
    expect_same_weights(first, second);
    EXPECT_EQ(read_file(cache), bytes);
  }
  const auto wrong =
      quantized_cache_file(folder.parent_path() / "cache", std::string(64, 'a'), Quantization::kNf4);
  EXPECT_ERROR(load_model(folder, Dtype::kBf16, {Quantization::kNf4Dq, wrong}), "expected nf4_dq, found nf4");
}

// Kilobytes of a line of /proc/self/status.
int64_t status_kib(const std::string& key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(key + ":")) return std::strtoll(line.c_str() + key.size() + 1, nullptr, 10);
  return 0;
}

TEST(QuantizedModel, LoadingHoldsOneTensorUnquantizedAtATime) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "what is freed stays for a while under AddressSanitizer";
#endif
  auto json =
      Json::parse(R"({"model_type": "llama", "vocab_size": 64, "hidden_size": 512, "intermediate_size": 1536,
    "num_hidden_layers": 12, "num_attention_heads": 8, "num_key_value_heads": 8, "max_position_embeddings": 64})");
  const auto folder = test::scratch_folder() / "model";
  int64_t bytes = 0;
  {
    const auto model = random_decoder(parse_model_config(json, "test"), Dtype::kBf16, 5, 0.1);
    bytes = 2 * model.config.linear_parameters();
    save_model(model, folder, Dtype::kBf16);
  }
  ::malloc_trim(0);
  std::ofstream reset("/proc/self/clear_refs");
  if (!(reset << "5" << std::flush)) GTEST_SKIP() << "the peak of memory cannot be reset here";
  const int64_t before = status_kib("VmRSS");
  const auto model = load_model(folder, Dtype::kBf16, {Quantization::kNf4Dq, {}});
  const auto growth = 1024.0 * static_cast<double>(status_kib("VmHWM") - before);
  EXPECT_LT(growth, 0.6 * static_cast<double>(bytes)) << "of which the quantized weights are 0.26";
  EXPECT_GT(growth, 0.2 * static_cast<double>(bytes));
}

// A folder as transformers saves a model that bitsandbytes quantized.
fs::path bitsandbytes_folder(const fs::path& folder,
                             const std::function<void(std::string&, at::Tensor&)>& spoil = {}) {
  auto model = load_model(folder, Dtype::kBf16, {Quantization::kNf4Dq, {}});
  NamedTensors tensors;
  for (const auto* one : model.linears()) append_quantized(tensors, one->weight.name, one->quantized);
  for (const auto* parameter : model.parameters())
    if (parameter->value.defined()) tensors.emplace_back(parameter->name, parameter->value);
  if (spoil)
    for (auto& [name, tensor] : tensors) spoil(name, tensor);
  const auto out = folder.parent_path() / "bitsandbytes";
  fs::create_directories(out);
  write_tensors(out / "model.safetensors", tensors);
  auto json = read_json(folder / "config.json");
  json["quantization_config"] = {{"quant_method", "bitsandbytes"},
                                 {"load_in_4bit", true},
                                 {"bnb_4bit_quant_type", "nf4"},
                                 {"bnb_4bit_use_double_quant", true}};
  write_json(out / "config.json", json);
  return out;
}

TEST(QuantizedModel, AFolderOfBitsandbytesIsReadAsItIs) {
  const auto folder = saved_model();
  const auto stored = bitsandbytes_folder(folder);
  auto model = load_model(stored, Dtype::kBf16),
       expected = load_model(folder, Dtype::kBf16, {Quantization::kNf4Dq, {}});
  expect_same_weights(model, expected);
  EXPECT_ERROR(load_model(stored, Dtype::kBf16, {Quantization::kInt8, {}}), "is quantized to nf4_dq already");
}

TEST(QuantizedModel, ASpoiledFolderOfBitsandbytesIsAnError) {
  const auto folder = saved_model();
  const std::string one = "model.layers.1.mlp.up_proj.weight";
  const auto spoiled = [&](const std::string& part, const std::function<at::Tensor(at::Tensor)>& change,
                           const std::string& message) {
    const auto stored = bitsandbytes_folder(folder, [&](std::string& name, at::Tensor& tensor) {
      if (name == one + part) tensor = change(tensor);
    });
    EXPECT_ERROR(load_model(stored, Dtype::kBf16), message);
  };
  const auto text = [](const std::string& json) {
    auto bytes = at::empty({static_cast<int64_t>(json.size())}, at::kByte);
    std::copy(json.begin(), json.end(), bytes.mutable_data_ptr<uint8_t>());
    return bytes;
  };
  const auto shorter = [](const at::Tensor& x) { return x.slice(0, 1).clone(); };
  const std::string state = ".quant_state.bitsandbytes__nf4";
  spoiled("", shorter, "up_proj.weight: expected 7680 values, found 7679");
  spoiled(".absmax", shorter, "up_proj.weight.absmax: expected 240 values, found 239");
  spoiled(
      ".quant_map", [](const at::Tensor& x) { return x * 2; }, "is not the 16 levels of nf4");
  spoiled(
      ".nested_absmax", [](const at::Tensor& x) { return x * NAN; }, "not finite");
  spoiled(
      ".nested_quant_map", [](const at::Tensor& x) { return x.to(at::kHalf); }, "expected Float, found Half");
  spoiled(
      state, [&](const at::Tensor&) { return text("{"); }, state);
  spoiled(
      state, [&](const at::Tensor&) { return text(R"({"shape": [160, 97], "blocksize": 64})"); },
      "expected 'shape' [160, 96] by the config, found [160,97]");
  spoiled(
      state, [&](const at::Tensor&) { return text(R"({"shape": [160, 96], "blocksize": 0})"); },
      "'blocksize' must be a power of two from 32 to 4096, found 0");
  spoiled(
      state,
      [&](const at::Tensor&) {
        return text(R"({"shape": [160, 96], "blocksize": 64, "nested_blocksize": 256})");
      },
      "'nested_offset' must be a finite number, found nothing");
}

struct Step {
  at::Tensor hidden;
  std::vector<at::Tensor> grads;
};

// Forward and backward with an adapter whose B is not zero.
Step step(Decoder& model, bool checkpoint) {
  for (auto* linear : model.linears()) linear->terms.clear();
  attach_lora(model, {});
  for (auto* p : model.adapter_parameters())
    if (p->name.ends_with("lora_B.weight"))
      p->value.copy_(at::cos(at::arange(p->value.numel(), at::kFloat)).view(p->value.sizes()) * 0.01);
  Saved saved;
  saved.checkpoint = checkpoint;
  Step result;
  result.hidden = forward(model, two_documents(), &saved);
  const auto d = at::sin(at::arange(result.hidden.numel(), at::kFloat)).view(result.hidden.sizes());
  backward(model, two_documents(), saved, d.to(result.hidden.scalar_type()));
  for (const auto* p : model.adapter_parameters()) result.grads.push_back(p->grad.clone());
  return result;
}

TEST(QuantizedModel, TrainsAdaptersAsOnTheDequantizedWeights) {
  const auto folder = saved_model();
  for (const auto kind : kKinds)
    for (const auto dtype : {Dtype::kFp32, Dtype::kBf16}) {
      auto model = load_model(folder, dtype, {kind, {}}), plain = load_model(folder, dtype, {kind, {}});
      dequantize_model(plain);
      EXPECT_EQ(quantization_of(plain), Quantization::kNone);
      const Step got = step(model, false), again = step(model, true), want = step(plain, false);
      const double tolerance = dtype == Dtype::kFp32 ? 1e-5 : 2e-2;
      EXPECT_LT(relative(got.hidden, want.hidden), tolerance) << to_string(kind);
      ASSERT_EQ(got.grads.size(), 42U);
      for (size_t i = 0; i < got.grads.size(); ++i) {
        EXPECT_LT(relative(got.grads[i], want.grads[i]), tolerance) << to_string(kind) << " " << i;
        EXPECT_TRUE(at::equal(got.grads[i], again.grads[i]))
            << "checkpointed, " << to_string(kind) << " " << i;
      }
    }
}

TEST(QuantizedModel, AnAdapterNamesItsBasesQuantization) {
  const auto folder = saved_model();
  auto model = load_model(folder, Dtype::kBf16, {Quantization::kNf4Dq, {}});
  const LoraConfig config;
  attach_lora(model, config);
  write_adapter(folder.parent_path() / "adapter", collect_adapter(model, config, "base", "", {}));
  EXPECT_EQ(read_adapter(folder.parent_path() / "adapter").config.base_quantization, "nf4_dq");
}

TEST(QuantizedModel, RefusesToTrainToBeMergedAndToBeWritten) {
  const auto folder = saved_model();
  auto model = load_model(folder, Dtype::kBf16, {Quantization::kNf4, {}});
  EXPECT_ERROR(make_trainable(model), "is quantized (nf4), and quantized weights cannot be trained");
  EXPECT_ERROR(save_model(model, folder.parent_path() / "out", Dtype::kBf16),
               "a model quantized to nf4 is not written");
  const LoraConfig config;
  attach_lora(model, config);
  const auto adapter = collect_adapter(model, config, "base", "", {});
  EXPECT_ERROR(merge_adapter(model, adapter), "q_proj.weight is quantized to nf4");
  dequantize_model(model);
  EXPECT_EQ(merge_adapter(model, adapter).modules.size(), 21U);
  EXPECT_ERROR(keep_layers(load_model(folder, Dtype::kBf16, {Quantization::kNf4, {}}), {0}), "is quantized");
}

}  // namespace
}  // namespace decant
