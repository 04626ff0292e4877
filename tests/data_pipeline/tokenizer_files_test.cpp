#include "data_pipeline/tokenizer_files.h"

#include <gtest/gtest.h>

#include "tests/data_pipeline/tokenizer_support.h"
#include "tests/support/expect_error.h"

namespace decant::test {
namespace {

TEST(TokenizerFiles, StopIdsComeFromGenerationConfigThenConfig) {
  const auto folder = scratch_folder();
  EXPECT_ERROR(stop_ids(folder), "neither generation_config.json nor config.json has an eos_token_id");
  write_file(folder / "config.json", R"({"eos_token_id": 7})");
  EXPECT_EQ(stop_ids(folder), std::vector<int64_t>{7});
  write_file(folder / "generation_config.json", R"({"eos_token_id": null})");
  EXPECT_EQ(stop_ids(folder), std::vector<int64_t>{7});
  write_file(folder / "generation_config.json", R"({"eos_token_id": [2, 5]})");
  EXPECT_EQ(stop_ids(folder), (std::vector<int64_t>{2, 5}));
  for (const char* bad : {R"({"eos_token_id": -1})", R"({"eos_token_id": "2"})", R"({"eos_token_id": [1.5]})",
                          R"({"eos_token_id": 1e30})"}) {
    write_file(folder / "generation_config.json", bad);
    EXPECT_ERROR(stop_ids(folder), "eos_token_id must be a token id or a list of them");
  }
  write_file(folder / "generation_config.json", "[]");
  EXPECT_ERROR(stop_ids(folder), "expected a JSON object");
}

TEST(TokenizerFiles, PaddedRowsAreTheModelsLessTheTokenizers) {
  DECANT_NEEDS_SHARED("conformance/tokenizers/minimind/tokenizer.json");
  const auto tokenizer = open_vocabulary("minimind");
  const int64_t ids = tokenizer->vocab_size();
  const auto folder = scratch_folder();
  EXPECT_ERROR(padded_rows(*tokenizer, folder), "config.json");
  const auto with = [&](const Json& config) {
    write_file(folder / "config.json", config.dump());
    return padded_rows(*tokenizer, folder);
  };
  EXPECT_EQ(with({{"vocab_size", ids}}), 0);
  EXPECT_EQ(with({{"vocab_size", ids + 64}}), 64);
  EXPECT_EQ(with({{"text_config", {{"vocab_size", ids + 1}}}}), 1);
  EXPECT_ERROR(with({{"vocab_size", ids - 1}}), "they do not belong together");
  for (const Json& bad : {Json::object(), Json{{"vocab_size", "7"}}, Json{{"vocab_size", -1}},
                          Json{{"vocab_size", 1e300}}, Json{{"text_config", 3}}})
    EXPECT_ERROR(with(bad), "expected vocab_size");
}

TEST(TokenizerFiles, ChatTemplateFromEitherFile) {
  const auto folder = scratch_folder();
  EXPECT_EQ(chat_template_text(folder), "");
  write_file(folder / "tokenizer_config.json", R"({"chat_template": "a"})");
  EXPECT_EQ(chat_template_text(folder), "a");
  write_file(folder / "chat_template.jinja", "a");
  EXPECT_EQ(chat_template_text(folder), "a");
  write_file(folder / "chat_template.jinja", "b");
  EXPECT_ERROR(chat_template_text(folder), "differ");
  write_file(folder / "tokenizer_config.json", "{}");
  EXPECT_EQ(chat_template_text(folder), "b");
  std::filesystem::remove(folder / "chat_template.jinja");
  write_file(
      folder / "tokenizer_config.json",
      R"({"chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]})");
  EXPECT_EQ(chat_template_text(folder), "d");
  write_file(folder / "tokenizer_config.json",
             R"({"chat_template": [{"name": "tool_use", "template": "t"}]})");
  EXPECT_ERROR(chat_template_text(folder), "without one named 'default'");
  write_file(folder / "tokenizer_config.json", R"({"chat_template": 3})");
  EXPECT_ERROR(chat_template_text(folder), "must be a text or a list");
}

TEST(TokenizerFiles, FromTheDemoGguf) {
  if (!std::filesystem::exists(demo_gguf())) GTEST_SKIP() << "no " << demo_gguf();
  const auto folder = scratch_folder();
  import_gguf_tokenizer_files(demo_gguf(), folder);
  EXPECT_EQ(tokenizer_file_names(folder),
            (std::vector<std::string>{"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
                                      "chat_template.jinja", "generation_config.json"}));
  const auto tokenizer = load_tokenizer(folder);
  EXPECT_EQ(tokenizer->vocab_size(), 49152);
  EXPECT_EQ(tokenizer->id_of("<|im_end|>"), 2);
  EXPECT_EQ(stop_ids(folder), std::vector<int64_t>{2});
  EXPECT_THAT(chat_template_text(folder), ::testing::HasSubstr("<|im_start|>"));
  const Json config = read_json(folder / "tokenizer_config.json");
  EXPECT_EQ(config["bos_token"], "<|im_start|>");
  EXPECT_EQ(config["eos_token"], "<|im_end|>");
  EXPECT_EQ(config["pad_token"], "<|im_end|>");
  EXPECT_EQ(config["add_bos_token"], false);
  EXPECT_EQ(config["model_max_length"], 8192);
}

TEST(TokenizerFiles, FromASentencePieceGguf) {
  DECANT_NEEDS_SHARED("conformance/models-stories260K/gguf/stories260K-f32.gguf");
  const auto folder = scratch_folder();
  import_gguf_tokenizer_files(conformance("models-stories260K/gguf/stories260K-f32.gguf"), folder);
  const auto tokenizer = load_tokenizer(folder);
  EXPECT_EQ(tokenizer->vocab_size(), 512);
  EXPECT_EQ(stop_ids(folder), std::vector<int64_t>{2});
  EXPECT_EQ(tokenizer->encode("<s>Once", SpecialMode::kMatch).front(), 1);
  EXPECT_NE(tokenizer->encode("<s>Once", SpecialMode::kAsText).front(), 1);
  EXPECT_ERROR(import_gguf_tokenizer_files(conformance("llama.cpp-vocab/ggml-vocab-bert-bge.gguf"), folder),
               "tokenizer.ggml.model 'bert' is not supported");
}

// Hugging Face's own libraries load what is written for the demo model, with the same ids (transformers: the
// golden cases hold what its own import gets wrong).
TEST(TokenizerFiles, TransformersGivesTheSameIds) {
  if (!std::filesystem::exists(demo_gguf())) GTEST_SKIP() << "no " << demo_gguf();
  DECANT_NEEDS_SHARED("conformance/golden/tokenizer/smollm2_cases.jsonl");
  const char* given = std::getenv("DECANT_PEERS");
  const auto python = given != nullptr ? std::filesystem::path(given) / "bin/python"
                                       : demo_gguf().parent_path().parent_path() / "peers/bin/python";
  if (!std::filesystem::exists(python)) GTEST_SKIP() << "no Python peers (DECANT_PEERS)";
  const auto folder = scratch_folder();
  import_gguf_tokenizer_files(demo_gguf(), folder);
  write_file(folder / "check.py", R"(import json, sys
from tokenizers import Tokenizer
from transformers import AutoTokenizer
folder, cases = sys.argv[1:]
raw, auto = Tokenizer.from_file(folder + "/tokenizer.json"), AutoTokenizer.from_pretrained(folder)
wrong = seen = 0
for line in open(cases):
    row = json.loads(line)
    wrong += raw.encode(row["text"], add_special_tokens=False).ids != row["ids"]
    wrong += auto(row["text"])["input_ids"] != row["ids"]
    seen += 1
assert auto.eos_token == "<|im_end|>" and auto.model_max_length == 8192, (auto.eos_token, auto.model_max_length)
text = auto.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False, add_generation_prompt=True)
assert text.endswith("<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"), text
print("seen", seen, "wrong", wrong)
)");
  const std::string command = "HF_HUB_OFFLINE=1 '" + python.string() + "' '" +
                              (folder / "check.py").string() + "' '" + folder.string() + "' '" +
                              conformance("golden/tokenizer/smollm2_cases.jsonl").string() + "' 2>&1";
  FILE* pipe = ::popen(command.c_str(), "r");
  ASSERT_NE(pipe, nullptr);
  std::string output;
  char block[4096];
  for (size_t n; (n = std::fread(block, 1, sizeof(block), pipe)) > 0;) output.append(block, n);
  EXPECT_EQ(::pclose(pipe), 0) << output;
  EXPECT_THAT(output, ::testing::HasSubstr("seen 349 wrong 0"));
}

}  // namespace
}  // namespace decant::test
