#include "export/gguf_writer.h"

#include <gtest/gtest.h>

#include <set>

#include "core/gguf_file.h"
#include "export/gguf_tokenizer.h"
#include "tests/support/expect_error.h"
#include "tests/support/shared.h"
#include "tests/support/tiny_release.h"

namespace decant {
namespace {

namespace fs = std::filesystem;
using test::tiny_config;
using test::tiny_decoder;

fs::path tokenizer_folder(const std::string& grammar = "smollm") {
  const fs::path folder = test::scratch_folder() / "tokenizer";
  test::write_tiny_tokenizer(folder, grammar);
  return folder;
}

fs::path exported(const Decoder& model, GgufType type, const fs::path& tokenizer) {
  const fs::path file = tokenizer.parent_path() / "model.gguf";
  export_gguf(model, tokenizer, type, "tiny", file);
  return file;
}

TEST(GgufWriter, MetadataIsWhatLlamaCppAsksFor) {
  const auto folder = tokenizer_folder();
  const GgufFile file(exported(tiny_decoder(tiny_config("llama")), GgufType::kQ8_0, folder));
  EXPECT_EQ(file.version(), 3u);
  EXPECT_EQ(file.text("general.architecture"), "llama");
  EXPECT_EQ(file.text("general.type"), "model");
  EXPECT_EQ(file.integer("general.file_type"), 7);
  EXPECT_EQ(file.integer("general.quantization_version"), 2);
  EXPECT_FLOAT_EQ(static_cast<float>(file.number("general.sampling.temp")), 0.6f);
  EXPECT_EQ(file.integer("llama.block_count"), 2);
  EXPECT_EQ(file.integer("llama.context_length"), 256);
  EXPECT_EQ(file.integer("llama.embedding_length"), 64);
  EXPECT_EQ(file.integer("llama.feed_forward_length"), 96);
  EXPECT_EQ(file.integer("llama.attention.head_count"), 4);
  EXPECT_EQ(file.integer("llama.attention.head_count_kv"), 2);
  EXPECT_EQ(file.integer("llama.rope.dimension_count"), 16);
  EXPECT_EQ(file.integer("llama.vocab_size"), test::kTinyRows);
  EXPECT_FLOAT_EQ(static_cast<float>(file.number("llama.attention.layer_norm_rms_epsilon")), 1e-5f);
  EXPECT_EQ(file.text("tokenizer.ggml.model"), "gpt2");
  EXPECT_EQ(file.text("tokenizer.ggml.pre"), "smollm");
  EXPECT_EQ(file.integer("tokenizer.ggml.bos_token_id"), 1);
  EXPECT_EQ(file.integer("tokenizer.ggml.eos_token_id"), 2);
  EXPECT_EQ(file.integer("tokenizer.ggml.padding_token_id"), 2);
  EXPECT_FALSE(file.boolean("tokenizer.ggml.add_bos_token"));
  EXPECT_EQ(file.text("tokenizer.chat_template"), test::tiny_template());

  const auto& tokens = file.strings("tokenizer.ggml.tokens");
  const auto& types = file.numbers("tokenizer.ggml.token_type");
  ASSERT_EQ(tokens.size(), static_cast<size_t>(test::kTinyRows));
  ASSERT_EQ(types.size(), tokens.size());
  EXPECT_EQ(std::set<std::string>(tokens.begin(), tokens.end()).size(), tokens.size());
  EXPECT_EQ(types[0], 3);  // special
  EXPECT_EQ(types[3], 1);  // a byte
  EXPECT_EQ(tokens[269], "<think>");
  EXPECT_EQ(types[269], 4);  // added, not special
  EXPECT_EQ(tokens[300], "[PAD300]");
  EXPECT_EQ(types[300], 5);
  EXPECT_EQ(file.strings("tokenizer.ggml.merges").size(), 10u);
}

TEST(GgufWriter, NormsAndBiasesAreF32AndTheRestTheAskedType) {
  const auto folder = tokenizer_folder("qwen2");
  const Decoder model = tiny_decoder(tiny_config("qwen2"));
  const std::pair<GgufType, uint32_t> cases[] = {
      {GgufType::kF32, 0}, {GgufType::kF16, 1}, {GgufType::kBf16, 30}, {GgufType::kQ8_0, 8}};
  for (const auto& [type, code] : cases) {
    const GgufFile file(exported(model, type, folder));
    EXPECT_EQ(file.tensors().size(), 3u + 2u * 12u);
    for (const GgufTensor& tensor : file.tensors())
      EXPECT_EQ(tensor.type, tensor.shape.size() == 1 ? 0u : code) << tensor.name;
    EXPECT_NE(file.find("blk.1.attn_k.bias"), nullptr);
  }
}

TEST(GgufWriter, LlamaRowsArePermutedAndQwenRowsAreNot) {
  const auto folder = tokenizer_folder();
  for (const std::string family : {"llama", "qwen2", "qwen3", "mistral"}) {
    const Decoder model = tiny_decoder(tiny_config(family));
    const GgufFile file(exported(model, GgufType::kF32, folder));
    const at::Tensor& k = model.layers[0].qkv.linears[1].weight.value;
    ASSERT_EQ(model.layers[0].qkv.linears[1].name, "model.layers.0.self_attn.k_proj");
    const GgufTensor* tensor = file.find("blk.0.attn_k.weight");
    ASSERT_NE(tensor, nullptr);
    at::Tensor found = at::empty({k.size(0), k.size(1)}, at::kFloat);
    file.dequantize(*tensor, found.data_ptr<float>());
    const bool permuted = family == "llama" || family == "mistral";
    // Row 1 of a head is channel K/2 of the checkpoint.
    const int64_t head = k.size(0) / 2;
    EXPECT_TRUE(found[1].equal(k[permuted ? head / 2 : 1])) << family;
    EXPECT_TRUE(found[head + 2].equal(k[head + (permuted ? 1 : 2)])) << family;
  }
}

TEST(GgufWriter, TiedHeadsAreLeftOut) {
  const auto folder = tokenizer_folder();
  const GgufFile file(
      exported(tiny_decoder(tiny_config("llama", {{"tie_word_embeddings", true}})), GgufType::kF16, folder));
  EXPECT_EQ(file.find("output.weight"), nullptr);
  EXPECT_NE(file.find("token_embd.weight"), nullptr);
}

TEST(GgufWriter, Llama3RopeIsATensorAndYarnIsKeys) {
  const auto folder = tokenizer_folder();
  const Json llama3 = {{"rope_type", "llama3"},
                       {"factor", 8.0},
                       {"low_freq_factor", 1.0},
                       {"high_freq_factor", 4.0},
                       {"original_max_position_embeddings", 64}};
  {
    const GgufFile file(
        exported(tiny_decoder(tiny_config("llama", {{"rope_scaling", llama3}})), GgufType::kF32, folder));
    const GgufTensor* factors = file.find("rope_freqs.weight");
    ASSERT_NE(factors, nullptr);
    std::vector<float> values(8);
    file.dequantize(*factors, values.data());
    EXPECT_EQ(values.front(), 1.0f);  // wavelength 6.3 is below 64 / 4
    EXPECT_EQ(values.back(), 8.0f);   // and 2 pi 10000^(14/16) above 64
    EXPECT_EQ(file.find_value("llama.rope.scaling.type"), nullptr);
  }
  const Json yarn = {{"rope_type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 64}};
  const GgufFile file(
      exported(tiny_decoder(tiny_config("qwen2", {{"rope_scaling", yarn}})), GgufType::kF32, folder));
  EXPECT_EQ(file.text("qwen2.rope.scaling.type"), "yarn");
  EXPECT_EQ(file.number("qwen2.rope.scaling.factor"), 4.0);
  EXPECT_EQ(file.integer("qwen2.rope.scaling.original_context_length"), 64);
  EXPECT_NEAR(file.number("qwen2.rope.scaling.attn_factor"), 1.0, 1e-6);
}

TEST(GgufWriter, AWindowShortensTheContext) {
  const auto folder = tokenizer_folder();
  const GgufFile file(exported(tiny_decoder(tiny_config("mistral")), GgufType::kF32, folder));
  EXPECT_EQ(file.text("general.architecture"), "llama");
  EXPECT_EQ(file.integer("llama.context_length"), 8);
}

TEST(GgufWriter, RowsThatAreNoMultipleOf32AreF16InAQ8File) {
  const auto folder = tokenizer_folder();
  const Json config =
      tiny_config("llama", {{"hidden_size", 72}, {"num_attention_heads", 9}, {"num_key_value_heads", 3}});
  const GgufFile file(exported(tiny_decoder(config), GgufType::kQ8_0, folder));
  EXPECT_EQ(file.find("token_embd.weight")->type, 1u);
  EXPECT_EQ(file.find("blk.0.ffn_down.weight")->type, 8u);  // rows of 96
}

TEST(GgufWriter, SameModelSameBytes) {
  const auto folder = tokenizer_folder();
  const Decoder model = tiny_decoder(tiny_config("llama"));
  const std::string first = read_file(exported(model, GgufType::kQ8_0, folder));
  EXPECT_TRUE(first == read_file(exported(model, GgufType::kQ8_0, folder)));
}

TEST(GgufWriter, ErrorsNameWhatIsWrong) {
  const auto folder = tokenizer_folder();
  const fs::path out = folder.parent_path() / "bad.gguf";
  Decoder model = tiny_decoder(tiny_config("llama"));
  model.layers[1].down.linears[0].weight.value[3][5] = 70000.0;
  EXPECT_ERROR(export_gguf(model, folder, GgufType::kF16, "tiny", out),
               "blk.1.ffn_down.weight' holds 70000, which F16 cannot");
  EXPECT_FALSE(fs::exists(out));
  model.layers[1].down.linears[0].weight.value[3][5] = 1e30;
  EXPECT_ERROR(export_gguf(model, folder, GgufType::kQ8_0, "tiny", out), "too large for a Q8_0 scale");
  export_gguf(model, folder, GgufType::kBf16, "tiny", out);
  model.layers[1].down.linears[0].weight.value[3][5] = NAN;
  EXPECT_ERROR(export_gguf(model, folder, GgufType::kBf16, "tiny", out), "not finite");

  const Decoder small = tiny_decoder(tiny_config("llama", {{"vocab_size", 260}}));
  EXPECT_ERROR(export_gguf(small, folder, GgufType::kF32, "tiny", out),
               "but the model's embedding has 260 rows; this tokenizer belongs to another model");
  fs::remove(folder / "tokenizer.json");
  EXPECT_ERROR(export_gguf(small, folder, GgufType::kF32, "tiny", out), "no tokenizer.json");
}

TEST(GgufTokenizer, GrammarsHaveLlamaCppsNames) {
  for (const std::string grammar : {"gpt-2", "smollm", "qwen2", "llama-bpe"})
    EXPECT_EQ(gguf_pre_tokenizer(test::tiny_tokenizer(grammar), "t"), grammar);
  Json other = test::tiny_tokenizer("gpt-2");
  other["pre_tokenizer"] = Json{{"type", "Metaspace"}};
  EXPECT_ERROR(gguf_pre_tokenizer(other, "t"), "llama.cpp has no name for this pre-tokenizer (Metaspace )");
}

TEST(GgufTokenizer, SpacesInsidePartsOfAMergeAreLetters) {
  const auto folder = tokenizer_folder();
  Json tokenizer = test::tiny_tokenizer();
  tokenizer["model"]["merges"] = Json::array({Json::array({"a b", "c"}), "x y"});
  write_json(folder / "tokenizer.json", tokenizer);
  const GgufFile file(exported(tiny_decoder(tiny_config("llama")), GgufType::kF32, folder));
  EXPECT_EQ(file.strings("tokenizer.ggml.merges"), (std::vector<std::string>{"a\u0120b c", "x y"}));
}

}  // namespace
}  // namespace decant
