// Random texts through Hugging Face's own library and through ours: mixed scripts, emoji, runs of white
// space, what is not UTF-8, long runs without a break, tokens in random order; special tokens matched and as
// text.
#include <gtest/gtest.h>

#include "data_pipeline/unicode.h"
#include "tests/data_pipeline/tokenizer_support.h"

namespace decant::test {
namespace {

constexpr int kTexts = 3000;

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t below(uint64_t n) {
    state_ = state_ * 6364136223846793005ull + 1442695040888963407ull;
    return (state_ >> 33) % n;
  }
  uint32_t between(uint32_t first, uint32_t last) {
    return first + static_cast<uint32_t>(below(last - first + 1));
  }

 private:
  uint64_t state_;
};

const std::vector<std::pair<uint32_t, uint32_t>> kScripts = {
    {'a', 'z'},          {'A', 'Z'},         {'0', '9'},         {0x20, 0x7E},       {0x00, 0x1F},
    {0xA0, 0x17F},       {0x300, 0x36F},     {0x370, 0x3FF},     {0x400, 0x4FF},     {0x5D0, 0x5EA},
    {0x600, 0x6FF},      {0x900, 0x97F},     {0xE00, 0xE7F},     {0x1100, 0x11FF},   {0x1E00, 0x1EFF},
    {0x2000, 0x206F},    {0x2100, 0x214F},   {0x2200, 0x22FF},   {0x3000, 0x303F},   {0x3040, 0x30FF},
    {0x3100, 0x318F},    {0x3400, 0x4DBF},   {0x4DC0, 0x4E10},   {0x4E00, 0x9FA5},   {0x9FA0, 0x9FFF},
    {0xAC00, 0xD7A3},    {0xE000, 0xE010},   {0xF900, 0xFAD9},   {0xFE00, 0xFE0F},   {0xFF00, 0xFFEF},
    {0xFFF0, 0xFFFF},    {0x1F300, 0x1F6FF}, {0x1F900, 0x1F9FF}, {0x20000, 0x20100}, {0x1D400, 0x1D7FF},
    {0x10FFF0, 0x10FFFF}};

// The Han characters of everyday text, roughly by how often they come.
const char* const kCommonHan =
    "的一是不了在有我他这中大来上国个到说们为子和你地出道也时年得就那要下以生会自着去之过家学对可她里后小么心"
    "多天而能好都然没"
    "日于起还发成事只作当想看文无开手十用主行方又如前所本见经头面公同三已老从动两长知民样现分将外但身些与高意"
    "进把法此实回二理"
    "需张你择括拒什五何单号您请问退款订购优惠券快递";

std::string random_run(Random& random) {
  std::string text;
  const auto& [first, last] = kScripts[random.below(kScripts.size())];
  switch (random.below(8)) {
    case 0:
      for (uint64_t n = random.below(6) + 1; n > 0; --n) append_utf8(text, random.between(first, last));
      break;
    case 1: {
      std::string one;
      append_utf8(one, random.between(first, last));
      for (uint64_t n = random.below(40) + 1; n > 0; --n) text += one;
      break;
    }
    case 2:
      for (uint64_t n = random.below(30) + 1; n > 0; --n)
        text += " \t\n\r\u00a0\u3000\u0085\v"[random.below(4)];
      break;
    case 3: {
      static const std::vector<std::string> parts = {"\r\n",
                                                     "\n\n",
                                                     "  ",
                                                     "\u3000",
                                                     "\u00a0",
                                                     "\u2028",
                                                     "'s",
                                                     "'LL",
                                                     "'\u017f",
                                                     "\U0001F469\u200d\U0001F467",
                                                     "\U0001F44D\U0001F3FD",
                                                     "e\u0301",
                                                     "\u1112\u1161\u11ab",
                                                     "\uff0c",
                                                     "\u3002",
                                                     "...",
                                                     "\u2014",
                                                     "<|im_end|>",
                                                     "<|endoftext|>",
                                                     "<tool_call>",
                                                     "<\uff5cUser\uff5c>",
                                                     "<|eot_id|>",
                                                     "<think>",
                                                     "http://",
                                                     "3.14",
                                                     "2024"};
      for (uint64_t n = random.below(4) + 1; n > 0; --n) text += parts[random.below(parts.size())];
      break;
    }
    case 4:
    case 5: {
      const std::string common = kCommonHan;
      for (uint64_t n = random.below(25) + 1; n > 0; --n)
        text += common.substr(3 * random.below(common.size() / 3), 3);
      break;
    }
    case 6:
      for (uint64_t n = random.below(12) + 1; n > 0; --n)
        text += static_cast<char>("etaoinshrdlu"[random.below(12)]);
      break;
    default:
      for (uint64_t n = random.below(5) + 1; n > 0; --n) text += static_cast<char>(random.below(256));
  }
  return text;
}

std::vector<std::string> random_texts(const Tokenizer& tokenizer, uint64_t seed) {
  Random random(seed);
  std::vector<std::string> texts;
  while (texts.size() < kTexts) {
    std::string text;
    if (texts.size() % 10 == 9) {
      // Tokens in random order: the merges that a text of them needs are others than theirs.
      for (uint64_t n = random.below(30); n > 0; --n) {
        const auto id = static_cast<int64_t>(random.below(static_cast<uint64_t>(tokenizer.vocab_size())));
        try {
          text += tokenizer.decode({id});
        } catch (const Error&) {
          continue;  // an id without a token
        }
      }
    } else {
      for (uint64_t n = random.below(texts.size() % 4 == 0 ? 40 : 8); n > 0; --n) text += random_run(random);
    }
    texts.push_back(std::move(text));
  }
  // Long, and without a break in most grammars.
  for (const char* unit : {"a", "ab", "\u597d", "\u4f60\u597d", " ", "\n", "!", "\U0001F600", "the",
                           "\u30fc\u30b7\u30e7\u30f3"}) {
    std::string text;
    for (int n = 0; n < 2000; ++n) text += unit;
    texts.push_back(text);
  }
  return texts;
}

constexpr const char* kScript = R"(import json, sys
from tokenizers import Tokenizer
folder = sys.argv[1]
tokenizer = Tokenizer.from_file(folder + "/tokenizer.json")
texts = [json.loads(line) for line in open(folder + "/texts.jsonl", encoding="utf-8", newline="\n")]
for name in ("match", "text"):
    tokenizer.encode_special_tokens = name == "text"
    with open(f"{folder}/{name}.jsonl", "w") as out:
        for encoding in tokenizer.encode_batch(texts, add_special_tokens=False):
            out.write(json.dumps(encoding.ids) + "\n")
print("texts", len(texts))
)";

class TokenizerDifferential : public ::testing::TestWithParam<const char*> {};

TEST_P(TokenizerDifferential, RandomTextsGetHuggingFacesIds) {
  const auto file = vocabulary(GetParam());
  if (file.empty()) GTEST_SKIP() << "the vocabulary " << GetParam() << " is not on this machine";
  const char* given = std::getenv("DECANT_PEERS");
  const auto python = given != nullptr ? std::filesystem::path(given) / "bin/python"
                                       : demo_gguf().parent_path().parent_path() / "peers/bin/python";
  if (!std::filesystem::exists(python)) GTEST_SKIP() << "no Python peers (DECANT_PEERS)";
  const auto folder = scratch_folder();
  write_file(folder / "tokenizer.json", unpacked(file));
  write_file(folder / "peer.py", kScript);
  const auto tokenizer = load_tokenizer(folder);
  const std::vector<std::string> texts = random_texts(*tokenizer, 20261125);
  std::string rows;
  for (const std::string& text : texts) rows += Json(repair_utf8(text)).dump() + "\n";
  write_file(folder / "texts.jsonl", rows);
  const std::string command = "TOKENIZERS_PARALLELISM=false '" + python.string() + "' '" +
                              (folder / "peer.py").string() + "' '" + folder.string() + "' 2>&1";
  FILE* pipe = ::popen(command.c_str(), "r");
  ASSERT_NE(pipe, nullptr);
  std::string output;
  char block[4096];
  for (size_t n; (n = std::fread(block, 1, sizeof(block), pipe)) > 0;) output.append(block, n);
  ASSERT_EQ(::pclose(pipe), 0) << output;
  for (const auto& [name, mode] : {std::pair("match", SpecialMode::kMatch), {"text", SpecialMode::kAsText}}) {
    const auto expected = json_lines(folder / (std::string(name) + ".jsonl"));
    ASSERT_EQ(expected.size(), texts.size());
    int wrong = 0;
    for (int pass = 0; pass < 2; ++pass)  // as new text, and from the cache
      for (size_t i = 0; i < texts.size() && wrong < 5; ++i) {
        const auto ids = tokenizer->encode(texts[i], mode);
        wrong += ids != id_list(expected[i]);
        EXPECT_EQ(ids, id_list(expected[i]))
            << name << ", text " << i << ": " << Json(repair_utf8(texts[i])).dump();
      }
  }
}

INSTANTIATE_TEST_SUITE_P(Vocabularies, TokenizerDifferential,
                         ::testing::Values("smollm2", "minimind", "qwen3", "deepseek_v3", "llama3_1"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace decant::test
