// Ids of Hugging Face tokenizers and llama.cpp, on every vector whose vocabulary is at hand.
#include <gtest/gtest.h>

#include <array>

#include "core/hash.h"
#include "data_pipeline/unicode.h"
#include "tests/data_pipeline/tokenizer_support.h"

namespace decant::test {
namespace {

class TokenizerVectors : public ::testing::TestWithParam<const char*> {};

#define NEEDS_VOCABULARY(name)  \
  if (vocabulary(name).empty()) \
  GTEST_SKIP() << "the vocabulary " << name << " is not on this machine (DECANT_SHARED, DECANT_NODE_MODULES)"

// The vectors of golden/tokenizer, 349 strings each, with special tokens matched and as text.
TEST_P(TokenizerVectors, GoldenCases) {
  const std::string name = GetParam();
  NEEDS_VOCABULARY(name);
  if (name == "llama3_1") GTEST_SKIP() << "golden/tokenizer has no llama3_1 cases";
  const auto tokenizer = open_vocabulary(name);
  int seen = 0, as_text = 0;
  for (const Json& row : json_lines(conformance("golden/tokenizer/" + name + "_cases.jsonl"))) {
    const std::string text = row["text"];
    const auto ids = id_list(row["ids"]);
    EXPECT_EQ(tokenizer->encode(text, SpecialMode::kMatch), ids) << row["text"];
    const auto plain = row.contains("ids_specials_as_text") ? id_list(row["ids_specials_as_text"]) : ids;
    EXPECT_EQ(tokenizer->encode(text, SpecialMode::kAsText), plain) << row["text"];
    as_text += plain != ids;
    ++seen;
  }
  EXPECT_EQ(seen, 349);
  EXPECT_EQ(as_text > 0, name != "deepseek_v3");  // whose cases hold none that differs
}

// tokenizer-vectors: 111 strings each, made with another binding of Hugging Face's library; decoding gives
// the text back.
TEST_P(TokenizerVectors, HandWrittenStrings) {
  const std::string name = GetParam();
  NEEDS_VOCABULARY(name);
  if (name == "smollm2") GTEST_SKIP() << "tokenizer-vectors has no smollm2 file";
  const auto tokenizer = open_vocabulary(name);
  int seen = 0;
  for (const Json& row : json_lines(conformance("tokenizer-vectors/" + name + ".jsonl"))) {
    const std::string text = row["text"];
    const auto ids = id_list(row["ids"]);
    EXPECT_EQ(tokenizer->encode(text, SpecialMode::kMatch), ids) << row["text"];
    EXPECT_EQ(repair_utf8(tokenizer->decode(ids)),
              row.contains("decoded") ? row["decoded"].get<std::string>() : text);
    ++seen;
  }
  EXPECT_EQ(seen, 111);
}

// Every non-empty line of real corpora, by digest of all ids.
TEST_P(TokenizerVectors, CorpusChecksums) {
  const std::string name = GetParam();
  NEEDS_VOCABULARY(name);
  const auto tokenizer = open_vocabulary(name);
  int seen = 0;
  for (const Json& row : read_json(conformance("golden/tokenizer/corpus_id_checksums.json"))) {
    if (row["tokenizer"] != name) continue;
    const std::string file = row["file"];
    const std::string text =
        unpacked(shared_folder() / (file.rfind("data/", 0) == 0 ? file : "data/" + file));
    Sha256 digest;
    int64_t lines = 0, tokens = 0;
    std::vector<int64_t> ids;
    std::string bytes;
    for (size_t at = 0; at < text.size();) {
      const size_t end = std::min(text.find('\n', at), text.size());
      if (end > at) {
        ids.clear();
        tokenizer->encode(std::string_view(text).substr(at, end - at), SpecialMode::kMatch, ids);
        bytes.clear();
        const auto put = [&](uint32_t v) {
          for (int i = 0; i < 4; ++i) bytes += static_cast<char>(v >> (8 * i));
        };
        put(static_cast<uint32_t>(ids.size()));
        for (const int64_t id : ids) put(static_cast<uint32_t>(id));
        digest.update(bytes);
        ++lines;
        tokens += static_cast<int64_t>(ids.size());
      }
      at = end + 1;
    }
    EXPECT_EQ(lines, row["lines"].get<int64_t>()) << file;
    EXPECT_EQ(tokens, row["tokens"].get<int64_t>()) << file;
    EXPECT_EQ(digest.hex(), row["ids_sha256"].get<std::string>()) << file;
    ++seen;
  }
  if (seen == 0) GTEST_SKIP() << "no checksums of " << name;
}

INSTANTIATE_TEST_SUITE_P(Vocabularies, TokenizerVectors,
                         ::testing::Values("smollm2", "minimind", "qwen3", "deepseek_v3", "llama3_1"),
                         [](const auto& info) { return std::string(info.param); });

// golden/smollm2: ids, decoded text, decoded text without special tokens.
TEST(TokenizerGolden, SmolLM2Cases) {
  NEEDS_VOCABULARY("smollm2");
  const auto tokenizer = open_vocabulary("smollm2");
  const Json file = read_json(conformance("golden/smollm2/tokenizer_cases.json"));
  int seen = 0;
  for (const Json& row : file["cases"]) {
    const std::string text = row["text"];
    const auto ids = id_list(row["ids"]);
    EXPECT_EQ(tokenizer->encode(text, SpecialMode::kMatch), ids) << row["text"];
    EXPECT_EQ(repair_utf8(tokenizer->decode(ids)), row["decoded"].get<std::string>());
    EXPECT_EQ(repair_utf8(tokenizer->decode(ids, true)), row["decoded_skip_special"].get<std::string>());
    ++seen;
  }
  EXPECT_GT(seen, 20);
}

TEST(TokenizerGolden, InvalidUtf8IsRepairedAsPythonDoes) {
  NEEDS_VOCABULARY("smollm2");
  const auto tokenizer = open_vocabulary("smollm2");
  int seen = 0;
  for (const Json& row : json_lines(conformance("golden/tokenizer/invalid_utf8.jsonl"))) {
    const std::string hex = row["hex"];
    std::string bytes;
    for (size_t i = 0; i < hex.size(); i += 2)
      bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
    EXPECT_EQ(repair_utf8(bytes), row["python_replace"].get<std::string>()) << hex;
    EXPECT_EQ(tokenizer->encode(bytes, SpecialMode::kMatch), id_list(row["ids_hf_after_replace"])) << hex;
    ++seen;
  }
  EXPECT_EQ(seen, 9);
}

// llama.cpp's own test strings: <name>.inp, separated by a line, and <name>.out.
int expect_llamacpp_ids(const Tokenizer& tokenizer, const std::string& name) {
  const std::string inputs = read_file(conformance("llama.cpp-vocab/" + name + ".gguf.inp"));
  std::istringstream outputs(read_file(conformance("llama.cpp-vocab/" + name + ".gguf.out")));
  const std::string separator = "\n__ggml_vocab_test__\n";
  int seen = 0;
  for (size_t at = 0; at <= inputs.size();) {
    const size_t end = std::min(inputs.find(separator, at), inputs.size());
    std::string line;
    if (!std::getline(outputs, line)) line.clear();  // the last input is the empty text
    std::istringstream numbers(line);
    std::vector<int64_t> ids;
    for (int64_t id; numbers >> id;) ids.push_back(id);
    const std::string text = inputs.substr(at, end - at);
    EXPECT_EQ(tokenizer.encode(text, SpecialMode::kAsText), ids) << name << ": '" << text << "'";
    ++seen;
    at = end + separator.size();
  }
  return seen;
}

TEST(TokenizerLlamaCpp, Qwen2) {
  NEEDS_VOCABULARY("qwen3");
  EXPECT_EQ(expect_llamacpp_ids(*open_vocabulary("qwen3"), "ggml-vocab-qwen2"), 47);
}

TEST(TokenizerLlamaCpp, LlamaBpe) {
  NEEDS_VOCABULARY("llama3_1");
  EXPECT_EQ(expect_llamacpp_ids(*open_vocabulary("llama3_1"), "ggml-vocab-llama-bpe"), 47);
}

TEST(TokenizerLlamaCpp, Gpt2Gguf) {
  DECANT_NEEDS_SHARED("conformance/llama.cpp-vocab/ggml-vocab-gpt-2.gguf");
  const auto tokenizer = load_tokenizer(conformance("llama.cpp-vocab/ggml-vocab-gpt-2.gguf"));
  EXPECT_EQ(expect_llamacpp_ids(*tokenizer, "ggml-vocab-gpt-2"), 47);
  EXPECT_EQ(tokenizer->vocab_size(), 50257);
}

TEST(TokenizerLlamaCpp, DeepSeekCoderGguf) {
  DECANT_NEEDS_SHARED("conformance/llama.cpp-vocab/ggml-vocab-deepseek-coder.gguf");
  EXPECT_EQ(
      expect_llamacpp_ids(*load_tokenizer(conformance("llama.cpp-vocab/ggml-vocab-deepseek-coder.gguf")),
                          "ggml-vocab-deepseek-coder"),
      47);
}

// The tokenizer.json made from the demo model's GGUF gives the ids of the golden cases.
TEST(TokenizerGguf, DemoModel) {
  if (!std::filesystem::exists(demo_gguf())) GTEST_SKIP() << "no " << demo_gguf();
  DECANT_NEEDS_SHARED("conformance/golden/tokenizer/smollm2_cases.jsonl");
  const std::string json = tokenizer_json_from_gguf(demo_gguf());
  const auto tokenizer = tokenizer_from_json(json, "from the GGUF");
  int seen = 0;
  for (const Json& row : json_lines(conformance("golden/tokenizer/smollm2_cases.jsonl"))) {
    const std::string text = row["text"];
    const auto ids = id_list(row["ids"]);
    EXPECT_EQ(tokenizer->encode(text, SpecialMode::kMatch), ids) << row["text"];
    const auto plain = row.contains("ids_specials_as_text") ? id_list(row["ids_specials_as_text"]) : ids;
    EXPECT_EQ(tokenizer->encode(text, SpecialMode::kAsText), plain) << row["text"];
    ++seen;
  }
  EXPECT_EQ(seen, 349);
  EXPECT_EQ(tokenizer_json_from_gguf(demo_gguf()), json);
  EXPECT_EQ(load_tokenizer(demo_gguf())->sha256(), tokenizer->sha256());
  // As the tokenizer.json that transformers makes, but for what its pre-tokenizer lacks.
  const auto golden = open_vocabulary("smollm2");
  ASSERT_EQ(golden->vocab_size(), tokenizer->vocab_size());
  for (int64_t id = 0; id < golden->vocab_size(); ++id) {
    EXPECT_EQ(golden->decode({id}), tokenizer->decode({id})) << id;
    EXPECT_EQ(golden->is_special(id), tokenizer->is_special(id)) << id;
  }
}

// A SentencePiece model as a file and inside a GGUF are the same tokenizer, and both give the ids of
// llama2.c.
TEST(TokenizerGguf, Stories260K) {
  DECANT_NEEDS_SHARED("conformance/models-stories260K/reference.json");
  const auto file = load_tokenizer(conformance("models-stories260K/hf"));
  const auto gguf = load_tokenizer(conformance("models-stories260K/gguf/stories260K-f16.gguf"));
  int seen = 0;
  for (const Json& row : read_json(conformance("models-stories260K/reference.json"))) {
    const std::string prompt = row["prompt"];
    auto ids = id_list(row["tokens"]);
    ids.erase(ids.begin());  // BOS
    EXPECT_EQ(file->encode(prompt, SpecialMode::kAsText), ids) << prompt;
    EXPECT_EQ(gguf->encode(prompt, SpecialMode::kAsText), ids) << prompt;
    EXPECT_EQ(gguf->decode(ids), prompt);
    ++seen;
  }
  EXPECT_EQ(seen, 5);
  for (const char* text :
       {"", " ", "  two  spaces ", "\n\n", "naïve 你好 🙂", "<s>Once</s> upon", "1234567890"}) {
    EXPECT_EQ(file->encode(text, SpecialMode::kMatch), gguf->encode(text, SpecialMode::kMatch)) << text;
    EXPECT_EQ(file->encode(text, SpecialMode::kAsText), gguf->encode(text, SpecialMode::kAsText)) << text;
  }
}

// What has no vocabulary in the conformance data.
TEST(TokenizerLlamaCpp, VocabulariesThatAreNotThere) {
  GTEST_SKIP() << "no vocabulary: ggml-vocab-deepseek-llm, ggml-vocab-llama-spm, ggml-vocab-phi-3; "
                  "WordPiece, which decant does "
                  "not read: ggml-vocab-bert-bge";
}

}  // namespace
}  // namespace decant::test
