// GGUF models as decoders: the weights of the same model in Hugging Face's form, and SmolLM2's reference
// log-probabilities.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <map>

#include "core/model/load_model.h"
#include "core/model/score.h"
#include "core/tensor_file.h"
#include "tests/support/expect_error.h"
#include "tests/support/gguf_writer.h"
#include "tests/support/shared.h"

namespace decant {
namespace {

namespace fs = std::filesystem;
using namespace test;  // NOLINT(google-build-using-namespace): the writer's small functions

// A llama of one layer: width 4, 2 heads of 2, vocabulary 3. `scaling` is more metadata, `more` more tensors
// (F32, one element row).
struct Tiny {
  std::string arch = "llama";
  std::string extra_values;
  int64_t extra_count = 0;
  std::vector<std::pair<std::string, std::vector<int64_t>>> tensors = {
      {"token_embd.weight", {4, 3}},   {"blk.0.attn_norm.weight", {4}},
      {"blk.0.attn_q.weight", {4, 4}}, {"blk.0.attn_k.weight", {4, 4}},
      {"blk.0.attn_v.weight", {4, 4}}, {"blk.0.attn_output.weight", {4, 4}},
      {"blk.0.ffn_norm.weight", {4}},  {"blk.0.ffn_gate.weight", {4, 8}},
      {"blk.0.ffn_up.weight", {4, 8}}, {"blk.0.ffn_down.weight", {8, 4}},
      {"output_norm.weight", {4}}};
  std::vector<float> frequencies;

  fs::path write() const {
    std::string values = gguf_string("general.architecture", arch) + gguf_u32(arch + ".block_count", 1) +
                         gguf_u32(arch + ".context_length", 64) + gguf_u32(arch + ".embedding_length", 4) +
                         gguf_u32(arch + ".feed_forward_length", 8) +
                         gguf_u32(arch + ".attention.head_count", 2) +
                         gguf_f32(arch + ".attention.layer_norm_rms_epsilon", 1e-5F) +
                         gguf_u32("tokenizer.ggml.eos_token_id", 2) + extra_values;
    auto all = tensors;
    if (!frequencies.empty())
      all.emplace_back("rope_freqs.weight", std::vector<int64_t>{static_cast<int64_t>(frequencies.size())});
    std::string infos, data;
    for (const auto& [name, ne] : all) {
      infos += gguf_tensor(name, ne, 0, data.size());
      int64_t count = 1;
      for (const int64_t n : ne) count *= n;
      for (int64_t i = 0; i < count; ++i)
        data += raw(name == "rope_freqs.weight" ? frequencies[static_cast<size_t>(i)]
                                                : 0.01F * static_cast<float>(i));
      data = gguf_pad(data);
    }
    const fs::path path = scratch_folder() / "x.gguf";
    std::ofstream(path, std::ios::binary)
        << gguf_pad(gguf_head(static_cast<int64_t>(all.size()), 8 + extra_count) + values + infos) << data;
    return path;
  }
};

TEST(ImportGguf, ConfigIsCompleteAndRowsOfQAndKArePermutedBack) {
  const Decoder model = import_gguf(Tiny{}.write(), Dtype::kFp32);
  EXPECT_EQ(model.config.family, Family::kLlama);
  EXPECT_EQ(model.config.head_dim, 2);
  EXPECT_EQ(model.config.num_key_value_heads, 2);
  EXPECT_TRUE(model.config.tie_word_embeddings);
  EXPECT_EQ(model.config.rms_norm_eps, 1e-5);
  const Json& json = model.config.source;
  EXPECT_EQ(json["architectures"], Json({"LlamaForCausalLM"}));
  EXPECT_EQ(json["eos_token_id"], 2);
  EXPECT_FALSE(json.contains("bos_token_id"));
  EXPECT_EQ(json["rope_theta"], 10000.0);
  EXPECT_EQ(json["rope_parameters"], Json({{"rope_type", "default"}, {"rope_theta", 10000.0}}));
  EXPECT_FALSE(json.contains("rope_scaling"));
  EXPECT_EQ(json["torch_dtype"], "float32");
  EXPECT_EQ(json["dtype"], "float32");
}

TEST(ImportGguf, HeadsOfWidthFourShowThePermutation) {
  Tiny tiny;  // one head of 4: rows 0 1 2 3 of the file are rows 0 2 1 3 of the checkpoint
  tiny.extra_values = gguf_u32("llama.attention.key_length", 4) + gguf_u32("llama.attention.value_length", 4);
  tiny.extra_count = 2;
  tiny.tensors[2].second = tiny.tensors[3].second = tiny.tensors[4].second = {4, 8};
  tiny.tensors[5].second = {8, 4};
  const Decoder model = import_gguf(tiny.write(), Dtype::kFp32);
  const auto& linears = model.layers[0].qkv.linears;
  const at::Tensor file = at::arange(32, at::kFloat).view({8, 4}) * 0.01F;
  const at::Tensor rows = at::tensor({0, 2, 1, 3, 4, 6, 5, 7}, at::kLong);
  EXPECT_TRUE(at::allclose(linears[0].weight.value, file.index_select(0, rows)));
  EXPECT_TRUE(at::allclose(linears[1].weight.value, file.index_select(0, rows)));
  EXPECT_TRUE(at::allclose(linears[2].weight.value, file));  // v is not
}

TEST(ImportGguf, RopeScaling) {
  Tiny linear;
  linear.extra_values =
      gguf_string("llama.rope.scaling.type", "linear") + gguf_f32("llama.rope.scaling.factor", 2.5F);
  linear.extra_count = 2;
  const auto rope = import_gguf(linear.write(), Dtype::kFp32).config.rope;
  EXPECT_EQ(rope.kind, RopeConfig::Kind::kLinear);
  EXPECT_EQ(rope.factor, 2.5);
  Tiny yarn;
  yarn.extra_values = gguf_string("llama.rope.scaling.type", "yarn") +
                      gguf_f32("llama.rope.scaling.factor", 4) +
                      gguf_u32("llama.rope.scaling.original_context_length", 16);
  yarn.extra_count = 3;
  const auto model = import_gguf(yarn.write(), Dtype::kFp32);
  EXPECT_EQ(model.config.rope.kind, RopeConfig::Kind::kYarn);
  EXPECT_EQ(model.config.rope.original_max_position_embeddings, 16);
  EXPECT_EQ(model.config.source["rope_scaling"]["rope_type"], "yarn");
  EXPECT_EQ(model.config.source["rope_parameters"]["rope_type"], "yarn");
  Tiny other;
  other.extra_values = gguf_string("llama.rope.scaling.type", "longrope");
  other.extra_count = 1;
  EXPECT_ERROR(import_gguf(other.write(), Dtype::kFp32), "supported are none, linear, yarn");
  Tiny ones;
  ones.frequencies = {1};
  EXPECT_EQ(import_gguf(ones.write(), Dtype::kFp32).config.rope.kind, RopeConfig::Kind::kDefault);
  Tiny odd;
  odd.frequencies = {0.5F};
  EXPECT_ERROR(import_gguf(odd.write(), Dtype::kFp32), "is no rope scaling that decant knows");
}

TEST(ImportGguf, WhatIsNotAModelThatDecantKnows) {
  Tiny arch;
  arch.arch = "gemma2";
  EXPECT_ERROR(import_gguf(arch.write(), Dtype::kFp32),
               "the architecture is 'gemma2'; llama and qwen2 are read");
  Tiny missing;
  missing.tensors.erase(missing.tensors.begin() + 4);
  EXPECT_ERROR(import_gguf(missing.write(), Dtype::kFp32), "the tensor 'blk.0.attn_v.weight' is missing");
  Tiny extra;
  extra.tensors.emplace_back("blk.1.attn_v.weight", std::vector<int64_t>{4, 4});
  EXPECT_ERROR(import_gguf(extra.write(), Dtype::kFp32),
               "the tensor 'blk.1.attn_v.weight' is not part of a llama model");
  Tiny vocabulary;
  vocabulary.tensors.clear();
  EXPECT_ERROR(import_gguf(vocabulary.write(), Dtype::kFp32), "is this a file of the vocabulary alone?");
  Tiny qwen;
  qwen.arch = "qwen2";
  EXPECT_ERROR(import_gguf(qwen.write(), Dtype::kFp32), "attn_q.bias' is missing");
  Tiny rows;
  rows.tensors[2].second = {4, 6};
  EXPECT_ERROR(import_gguf(rows.write(), Dtype::kFp32), "must have 4 rows");
  Tiny split;
  split.extra_values = gguf_text("split.count") + raw<uint32_t>(2) + raw<uint16_t>(3);
  split.extra_count = 1;
  EXPECT_ERROR(import_gguf(split.write(), Dtype::kFp32), "is one part of a split model");
}

TEST(ImportGgufGolden, Stories260kHasTheCheckpointsWeights) {
  DECANT_NEEDS_SHARED("conformance/models-stories260K/gguf/stories260K-f32.gguf");
  const fs::path folder = shared_folder() / "conformance/models-stories260K";
  const Decoder model = import_gguf(folder / "gguf/stories260K-f32.gguf", Dtype::kFp32);
  const Decoder expected = load_model(folder / "hf", Dtype::kFp32);
  const auto ours = model.parameters(), theirs = expected.parameters();
  ASSERT_EQ(ours.size(), theirs.size());
  for (size_t i = 0; i < ours.size(); ++i) {
    EXPECT_EQ(ours[i]->name, theirs[i]->name);
    EXPECT_TRUE(at::equal(ours[i]->value, theirs[i]->value)) << ours[i]->name;
  }
  EXPECT_EQ(model.config.rope.theta, expected.config.rope.theta);
  EXPECT_EQ(model.config.rms_norm_eps, expected.config.rms_norm_eps);
}

TEST(ImportGgufGolden, SmolLm2HasTransformersLogProbabilities) {
  DECANT_NEEDS_SHARED("conformance/golden/smollm2/reference.safetensors");
  const char* deps = std::getenv("DECANT_DEPS");
  const char* home = std::getenv("HOME");
  const fs::path cache =
      deps != nullptr ? fs::path(deps) : fs::path(home != nullptr ? home : "") / ".cache/decant";
  const fs::path gguf = cache / "smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";
  if (!fs::exists(gguf)) GTEST_SKIP() << "no " << gguf << " (scripts/setup.sh brings it)";
  const TensorFile reference(shared_folder() / "conformance/golden/smollm2/reference.safetensors");
  const at::Tensor ids = reference.load("input_ids").flatten();
  const std::vector<int64_t> document(ids.data_ptr<int64_t>(), ids.data_ptr<int64_t>() + ids.numel());
  // The reference was made from this file's weights rounded to bf16, and computed in fp32.
  const Decoder rounded = import_gguf(gguf, Dtype::kBf16);
  std::map<std::string, at::Tensor> weights;
  for (const Parameter* p : rounded.parameters()) weights[p->name] = p->value;
  const Decoder model =
      make_decoder(rounded.config, Dtype::kFp32, [&](const std::string& name) { return weights.at(name); });
  const auto found = score(model, {document});
  const at::Tensor expected = reference.load("token_logprobs").flatten();
  ASSERT_EQ(found[0].size(), 95U);
  ASSERT_EQ(expected.numel(), 95);
  for (int64_t i = 0; i < 95; ++i)
    EXPECT_NEAR(found[0][static_cast<size_t>(i)], expected[i].item<float>(), 1e-4) << "token " << i + 1;
}

}  // namespace
}  // namespace decant
