#include "data_pipeline/decontaminate.h"

#include <gtest/gtest.h>

#include "core/file.h"
#include "core/random.h"
#include "tests/support/config_text.h"
#include "tests/support/expect_error.h"
#include "tests/support/shared.h"

namespace decant {
namespace {

const std::string kEnglish =
    "Janet’s ducks lay 16 eggs per day. She eats three for breakfast every morning and bakes muffins for her "
    "friends.";
const std::string kChinese = "小明有十五个苹果，给了小红3个，又买了二十个，请问他现在一共有多少个苹果？";
const std::string kShort = "怎么修改收货地址？";

std::vector<EvaluationItem> items() {
  return {
      {"gsm", "", "e1", kEnglish,
       "She makes 9 * 2 = 18 dollars every day at the farmers market, as the text says."},
      {"zh", "", "z1", kChinese, "32"},
      {"zh", "", "z2", kShort, ""},
      {"zh", "", "z3", "你好", ""},
      {"own", "shop", "s1",
       "What is the internal code word of the winter campaign that only shop employees may know about?", ""}};
}

Contamination judged(const DecontaminationIndex& index, std::vector<std::string_view> texts,
                     std::string_view tenant = "other") {
  DecontaminationIndex::Scratch scratch;
  DocumentScan scan;
  index.scan(tenant, texts, scratch, scan);
  NgramCounts counts;
  counts.add(scan);
  return index.judge(scan, counts);
}

TEST(Decontaminate, FindsACopyWhateverItsForm) {
  const DecontaminationIndex index({}, items());
  EXPECT_EQ(index.too_short(), 1u);
  for (const std::string& text :
       {kEnglish, "user said: " + kEnglish + " thanks",
        std::string(
            "janets DUCKS lay  16 eggs,per day -- she (eats) three for breakfast; every morning & bakes"),
        std::string("ＪＡＮＥＴＳ ｄｕｃｋｓ ｌａｙ １６ ｅｇｇｓ per day she eats three for breakfast every "
                    "morning"),
        std::string(
            "Ja\u200bnet's du\u00adcks lay ١٦ eggs per day. She eats three for breakfast every morning"),
        std::string("小 明 有 十 五 个 苹 果 给 了 小 红 三 个 又"),
        std::string("【小明有拾伍个苹果，给了小红３个】又买了"), std::string("亲，怎么修改收货地址呢"),
        std::string("怎 么，修改\n收货地址")}) {
    EXPECT_TRUE(judged(index, {"x", text}).contaminated) << text;
  }
  for (const std::string& text :
       {std::string(
            "Janet has ducks. They lay eggs each day, and she eats some of them for breakfast with friends."),
        std::string(
            "ducks Janet’s lay eggs 16 per She day eats three breakfast for every morning and muffins bakes"),
        std::string(
            "Janet’s big ducks lay some 16 eggs just per day and she often eats her three now for breakfast"),
        std::string("小明有十五个梨，给了小红三个"), std::string("怎么修改地址"), std::string("你好"),
        std::string()}) {
    EXPECT_FALSE(judged(index, {text}).contaminated) << text;
  }
}

TEST(Decontaminate, SaysWhatMatchedAndWhere) {
  const DecontaminationIndex index({}, items());
  const std::string before = "好的。原题：", text = before + kChinese;
  const Contamination found = judged(index, {"hello", text});
  ASSERT_EQ(found.matches.size(), 1u);  // one run of n-grams
  const ContaminationMatch& match = found.matches[0];
  EXPECT_EQ(match.set, "zh");
  EXPECT_EQ(match.item, "z1");
  EXPECT_FALSE(match.in_answer);
  EXPECT_EQ(match.text, 1u);
  EXPECT_EQ(match.begin, before.size());
  EXPECT_EQ(match.end, text.size() - std::string("？").size());
  EXPECT_EQ(match.first_token, 0u);
  EXPECT_EQ(match.tokens, 33u);
  EXPECT_EQ(match.documents, 1);

  const Contamination answer =
      judged(index, {"Well: she makes 9*2=18 dollars every day at the farmers market, as the text says!"});
  ASSERT_EQ(answer.matches.size(), 1u);
  EXPECT_TRUE(answer.matches[0].in_answer);
  DecontaminateConfig questions;
  questions.answers = false;
  EXPECT_FALSE(judged(DecontaminationIndex(questions, items()),
                      {"she makes 9*2=18 dollars every day at the farmers market, as the text says!"})
                   .contaminated);
}

TEST(Decontaminate, ATenantsSetIsForThatTenantAlone) {
  const DecontaminationIndex index({}, items());
  const std::string text = items()[4].question;
  EXPECT_TRUE(judged(index, {text}, "shop").contaminated);
  EXPECT_FALSE(judged(index, {text}, "shoe").contaminated);
  EXPECT_TRUE(judged(index, {kChinese}, "shop").contaminated);
  EXPECT_TRUE(judged(index, {kChinese}, "").contaminated);
}

TEST(Decontaminate, CommonNgramsAreReportedAndNotFlagged) {
  DecontaminateConfig config;
  config.max_documents = 3;
  for (const bool flag : {false, true}) {
    config.common = flag ? CommonNgrams::kFlag : CommonNgrams::kIgnore;
    const DecontaminationIndex index(config, items());
    NgramCounts counts, other;
    DecontaminationIndex::Scratch scratch;
    DocumentScan common, rare;
    index.scan("t", {kShort}, scratch, common);
    index.scan("t", {kChinese, kShort, kShort}, scratch, rare);
    for (int i = 0; i < 3; ++i) counts.add(common);
    EXPECT_TRUE(index.judge(common, counts).contaminated);  // three documents are not more than three
    other.add(rare);
    counts.add(other);
    EXPECT_EQ(index.judge(common, counts).contaminated, flag);
    const Contamination both = index.judge(rare, counts);
    EXPECT_TRUE(both.contaminated);
    ASSERT_EQ(both.matches.size(), flag ? 2u : 1u);
    EXPECT_EQ(both.common.size(), flag ? 0u : 1u);
    if (!flag) {
      EXPECT_EQ(both.common[0].item, "z2");
      EXPECT_EQ(both.common[0].documents, 4);
    }
  }
}

// The long way: every n-gram of every item against every place of the document.
bool contains_ngram(const MatchingTokens& document, const MatchingTokens& item, size_t n) {
  for (size_t i = 0; i + n <= item.tokens.size(); ++i)
    for (size_t k = 0; k + n <= document.tokens.size(); ++k) {
      size_t equal = 0;
      while (equal < n && item.key_of(i + equal) == document.key_of(k + equal)) ++equal;
      if (equal == n) return true;
    }
  return false;
}

TEST(Decontaminate, AgreesWithTheLongWayAndACollisionNeverFlags) {
  DecontaminateConfig config;
  config.words = 4;
  config.characters = 4;
  config.min_ngram_bytes = 0;
  config.min_question_tokens = 2;
  const std::vector<std::string> words = {"a", "b", "c", "你", "好", "d"};
  const auto text = [&](uint64_t stream, uint64_t n, uint64_t length) {
    std::string joined;
    for (uint64_t k = 0; k < length; ++k)
      joined += words[philox(9, stream * 100000 + n, k)[0] % words.size()] + " ";
    return joined;
  };
  std::vector<EvaluationItem> sets;
  std::vector<MatchingTokens> tokens(30);
  for (uint64_t n = 0; n < tokens.size(); ++n) {
    sets.push_back({"s", "", std::to_string(n), text(1, n, 2 + n % 8), ""});
    matching_tokens(sets.back().question, tokens[n]);
  }
  const DecontaminationIndex index(config, sets), colliding(config, sets, 2);
  EXPECT_EQ(index.ngrams(), colliding.ngrams());
  int positive = 0;
  for (uint64_t n = 0; n < 3000; ++n) {
    const std::string document = text(2, n, 1 + n % 7);
    MatchingTokens document_tokens;
    matching_tokens(document, document_tokens);
    bool expected = false;
    for (const MatchingTokens& item : tokens)
      expected = expected || contains_ngram(document_tokens, item, std::min<size_t>(4, item.tokens.size()));
    ASSERT_EQ(judged(index, {document}).contaminated, expected) << document;
    ASSERT_EQ(judged(colliding, {document}).contaminated, expected) << document;
    positive += expected ? 1 : 0;
  }
  EXPECT_GT(positive, 300);
  EXPECT_LT(positive, 2700);
}

TEST(Decontaminate, NgramLengthFollowsTheShareOfScripts) {
  DecontaminateConfig config;
  config.words = 4;
  config.characters = 12;
  config.min_ngram_bytes = 0;
  const DecontaminationIndex index(config,
                                   {{"s", "", "1", "one two three four five six", ""},
                                    {"s", "", "2", "一二三四五六七八九十甲乙丙丁", ""},
                                    {"s", "", "3", "红 green 蓝 yellow 紫 orange 黑 white 灰 brown", ""}});
  EXPECT_TRUE(judged(index, {"two three four five"}).contaminated);
  EXPECT_FALSE(judged(index, {"二三四五六七八"}).contaminated);
  EXPECT_TRUE(judged(index, {"一二三四五六七八九十甲乙"}).contaminated);
  EXPECT_FALSE(judged(index, {"红green蓝yellow紫orange黑"}).contaminated);
  EXPECT_TRUE(judged(index, {"红green蓝yellow紫orange黑white"}).contaminated);  // eight
}

TEST(Decontaminate, ReadsSets) {
  const EvaluationSetConfig config{"s", "", "", "", ""};
  auto list = parse_evaluation_set(
      "{\"question\": \"q1\", \"answer\": \"a1\", \"id\": 7}\n\n"
      "{\"messages\": [{\"role\": \"user\", \"content\": \"q2\"}, "
      "{\"role\": \"assistant\", \"content\": \"a2\"}]}\r\n",
      config, "f");
  ASSERT_EQ(list.size(), 2u);
  EXPECT_EQ(list[0].id, "7");
  EXPECT_EQ(list[0].answer, "a1");
  EXPECT_EQ(list[1].id, "line 3");
  EXPECT_EQ(list[1].question, "q2");
  EXPECT_EQ(list[1].answer, "a2");
  list = parse_evaluation_set("q1\ta1\nq2\n", config, "f");
  ASSERT_EQ(list.size(), 2u);
  EXPECT_EQ(list[0].answer, "a1");
  EXPECT_EQ(list[1].id, "line 2");
  list = parse_evaluation_set("[{\"stem\": \"q\", \"choices\": [\"x\", \"y\"]}]",
                              {"s", "", "", "stem", "choices"}, "f");
  EXPECT_EQ(list[0].answer, "x\ny");
  EXPECT_ERROR(parse_evaluation_set("{\"a\": 1}\n", config, "f"), "f:1: an item has no question");
  EXPECT_ERROR(parse_evaluation_set("{\"question\": \"q\"}\n{]", config, "f"), "f:2");
  EXPECT_ERROR(parse_evaluation_set("[1]", config, "f"), "must be a JSON object");
  EXPECT_ERROR(parse_evaluation_set(" \n", config, "f"), "no item");
  EXPECT_ERROR(parse_evaluation_set("\xff", config, "f"), "UTF-8");
  DecontaminateConfig small;
  small.max_set_bytes = 3;
  EXPECT_ERROR(DecontaminationIndex(small, items()), "max_set_bytes");
}

TEST(Decontaminate, RealSets) {
  DECANT_NEEDS_SHARED("data/gsm8k/train.jsonl");
  const auto sets =
      read_evaluation_set({"gsm8k", "data/gsm8k/train.jsonl", "", "", ""}, test::shared_folder());
  ASSERT_GT(sets.size(), 7000u);
  const DecontaminationIndex index({}, sets);
  EXPECT_LT(index.memory_bytes(), index.ngrams() * 64 + (size_t{8} << 20));
  size_t found = 0, self = 0;
  DecontaminationIndex::Scratch scratch;
  DocumentScan scan;
  for (size_t i = 0; i < sets.size(); i += 10, ++self) {
    index.scan("t", {"Customer asks: " + sets[i].question.substr(0)}, scratch, scan);
    found += scan.empty() ? 0 : 1;
  }
  EXPECT_EQ(found, self);  // a whole question is always found
  const auto other =
      read_evaluation_set({"irc", "data/irc-ubuntu/irc_ubuntu_qa.jsonl", "", "", ""}, test::shared_folder());
  size_t flagged = 0;
  for (const auto& item : other) {
    index.scan("t", {item.question, item.answer}, scratch, scan);
    flagged += scan.empty() ? 0 : 1;
  }
  EXPECT_EQ(flagged, 0u);
}

TEST(Decontaminate, Config) {
  const DecontaminateConfig c = {
      {{"a", "a.jsonl", "shop", "q", "a"}}, 8, 9, 10, 11, 12, CommonNgrams::kFlag, false, 1000};
  EXPECT_EQ(test::read_config_text<DecontaminateConfig>(write_config(c)), c);
  const auto error = [](const std::string& yaml, const char* part) {
    EXPECT_ERROR(test::read_config_text<DecontaminateConfig>(yaml), part);
  };
  error("words: 1", "must be 2 to 1000");
  error("sets: [{name: a}]", "needs a name and a path");
  error("sets: [{name: a, path: x}, {name: a, path: y}]", "two sets are named 'a'");
  error("sets: [{name: a, path: x, tenant: A B}]", "the tenant of 'a'");
}

}  // namespace
}  // namespace decant
