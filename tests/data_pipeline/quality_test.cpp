#include "data_pipeline/quality.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "core/json.h"
#include "core/random.h"
#include "data_pipeline/phrases.h"
#include "data_pipeline/repetition.h"

namespace decant {
namespace {

std::map<std::string, float> all_numbers(std::string_view text) {
  TextScan scan;
  scan.scan(text);
  std::map<std::string, float> numbers;
  const auto put = [&](const char* name, const float& value, const char*) { numbers[name] = value; };
  const Quality quality = measure_quality(scan);
  const Repetition repetition = measure_repetition(scan);
  Quality::visit(quality, put);
  Repetition::visit(repetition, put);
  return numbers;
}

Quality quality(std::string_view text) {
  TextScan scan;
  scan.scan(text);
  return measure_quality(scan);
}

Repetition repetition(std::string_view text) {
  TextScan scan;
  scan.scan(text);
  return measure_repetition(scan);
}

// make_quality.py ran datatrove's filters beside each of these numbers.
TEST(QualityGolden, TheNumbersAreDatatroves) {
  const Json golden = read_json("tests/golden/quality.json");
  int64_t cases = 0, numbers = 0;
  for (const Json& c : golden["cases"]) {
    const auto text = c["text"].get<std::string>();
    const auto ours = all_numbers(text);
    ++cases;
    for (const auto& [name, value] : c["values"].items()) {
      ASSERT_TRUE(ours.contains(name)) << name;
      const double expected = value.get<double>();
      EXPECT_NEAR(ours.at(name), expected, 1e-6 * std::max(1.0, std::abs(expected)))
          << name << " of " << text;
      ++numbers;
    }
  }
  EXPECT_EQ(cases, 179);
  EXPECT_GT(numbers, 5000);
}

TEST(QualityGolden, WordsAreThoseBetweenUnicodesDefaultBoundaries) {
  const Json golden = read_json("tests/golden/quality.json");
  TextScan scan;
  int64_t words = 0;
  for (const Json& c : golden["cases"]) {
    if (c["words"].is_null()) continue;
    const auto text = c["text"].get<std::string>();
    scan.scan(text);
    ASSERT_EQ(scan.words.size(), c["words"].size()) << text;
    for (size_t i = 0; i < scan.words.size(); ++i, ++words)
      EXPECT_EQ(scan.words[i].hash, word_hash(c["words"][i].get<std::string>())) << i << " of " << text;
  }
  EXPECT_GT(words, 500);
}

TEST(TextScan, CountsEveryCharacterOnce) {
  TextScan scan;
  const std::string text = "Aé9 中\u0301#…{(（\uFFFD\n";
  scan.scan(text);
  EXPECT_EQ(scan.characters, 13u);
  EXPECT_EQ(scan.letters, 3u);
  EXPECT_EQ(scan.numbers, 1u);
  EXPECT_EQ(scan.spaces, 2u);
  EXPECT_EQ(scan.marks, 1u);
  EXPECT_EQ(scan.others, 6u);
  EXPECT_EQ(scan.letters + scan.numbers + scan.spaces + scan.marks + scan.others, scan.characters);
  EXPECT_EQ(scan.parentheses, 2u);
  EXPECT_EQ(scan.replacements, 1u);
}

TEST(TextScan, HashOfWordsInARowIsThatOfTheirBytes) {
  TextScan scan;
  scan.scan("tele phone");
  ASSERT_EQ(scan.words.size(), 2u);
  const auto joined = plus_mod_p(times_mod_p(scan.words[0].hash, scan.words[1].power), scan.words[1].hash);
  EXPECT_EQ(joined, word_hash("telephone"));
  EXPECT_NE(word_hash(std::string(1, '\0')), word_hash(""));
}

TEST(TextScan, ATextThatIsTooLongIsCutAtACharacter) {
  std::string text(TextScan::kMostBytes - 1, 'a');
  text += "中文";
  TextScan scan;
  scan.scan(text);
  EXPECT_EQ(scan.text.size(), TextScan::kMostBytes - 1);
  EXPECT_EQ(scan.characters, TextScan::kMostBytes - 1);
}

TEST(Quality, OfNothingIsNothing) {
  for (const char* text : {"", " ", "\n\n\n"})
    for (const auto& [name, value] : all_numbers(text)) {
      EXPECT_TRUE(std::isfinite(value)) << name;
      if (std::string_view(text).empty()) {
        EXPECT_EQ(value, 0) << name;
      }
    }
}

TEST(Quality, LeftoversAreSeen) {
  EXPECT_EQ(quality("<p>Hi</p> &nbsp;a<br/>").html_tags, 4);
  EXPECT_EQ(quality("<user> a < b > c & d; 3<4, x<y>z <name>").html_tags, 0);
  EXPECT_GT(quality("Je suis trÃ¨s dÃ©Ã§u").mojibake, 10);
  EXPECT_GT(quality("锟斤拷锟斤拷").mojibake, 30);
  EXPECT_EQ(quality("très déçu 中文 Ãrvore").mojibake, 0);
  EXPECT_EQ(quality("a\uFFFDb").replacement_characters, 1);
  const Quality urls = quality("see https://a.example/b?c=d，谢谢 www.example.com now");
  EXPECT_EQ(urls.urls, 2);
  EXPECT_NEAR(urls.url_ratio, (23 + 15) / 51.0, 0.02);
  EXPECT_EQ(quality("http: //x ftp://y w ww :// http://").urls, 0);
}

TEST(Quality, SentencesOfBothScripts) {
  const auto sentences = [](std::string_view text) { return quality(text).c4_sentences; };
  EXPECT_EQ(sentences("This is one. Is this two? It's \"three.\""), 3);
  EXPECT_EQ(sentences("The price is 3.14 dollars."), 1);
  EXPECT_EQ(sentences("no end here at all"), 0);  // not a line that C4 keeps
}

TEST(Repetition, OfACopiedTextIsHalf) {
  std::string text;
  for (int i = 0; i < 200; ++i) text += "word" + std::to_string(i * i) + " ";
  const Repetition once = repetition(text), twice = repetition(text + text);
  EXPECT_EQ(once.dup_10gram, 0);
  EXPECT_NEAR(once.unique_word_fraction, 1, 1e-6);
  EXPECT_NEAR(twice.unique_word_fraction, 0.5, 1e-6);
  EXPECT_NEAR(twice.compressible - once.compressible, 0.5, 0.2);
  EXPECT_GT(twice.dup_5gram, 0.4);
  EXPECT_LE(twice.dup_5gram, 0.5);
}

TEST(Repetition, FractionsStayBetween0And1) {
  const std::vector<std::string> parts = {"a",          "b ", "\n", "\n\n", "好", "...",
                                          "a b c d e ", "#",  " ",  "x\n",  "é",  "1"};
  RepetitionMeter meter;
  TextScan scan;
  for (uint64_t n = 0; n < 3000; ++n) {
    std::string text;
    for (uint64_t k = 0; k < n % 60; ++k) text += parts[philox(8, n, k)[0] % (2 + n % 11)];
    scan.scan(text);
    const Repetition r = meter.measure(scan);
    Repetition::visit(r, [&](const char* name, float value, const char*) {
      ASSERT_GE(value, 0) << name << text;
      // The most frequent n-gram may overlap itself.
      if (!std::string_view(name).starts_with("top_")) {
        ASSERT_LE(value, 1) << name << text;
      }
    });
    const Repetition fresh = measure_repetition(scan);
    Repetition::visit(fresh, [&](const char*, float, const char*) {});
    ASSERT_EQ(fresh.char_repetition, r.char_repetition);
    ASSERT_EQ(fresh.compressible, r.compressible);
    ASSERT_EQ(fresh.dup_5gram, r.dup_5gram);
  }
}

TEST(Repetition, AMegabyteOfOneCharacter) {
  const std::string text(1'000'000, 'a');
  const Repetition r = repetition(text);
  EXPECT_GT(r.compressible, 0.99);
  EXPECT_EQ(r.dup_5gram, 0);  // one word
  EXPECT_NEAR(r.char_repetition, 1, 1e-6);
  std::string han;
  for (int i = 0; i < 300'000; ++i) han += "哈";
  EXPECT_GT(repetition(han).dup_5gram, 0.99);
}

// Gopher's copies and most frequent n-grams, straight from their definition.
float copied(const std::vector<std::string>& words, size_t n, double characters) {
  std::set<std::string> seen;
  double repeated = 0;
  for (size_t i = 0; i + n <= words.size();) {
    std::string gram;
    for (size_t k = 0; k < n; ++k) gram += words[i + k];
    const bool is_new = seen.insert(gram).second;
    if (!is_new) repeated += static_cast<double>(gram.size());
    i += is_new ? 1 : n;
  }
  return static_cast<float>(repeated / characters);
}

float most_frequent(const std::vector<std::string>& words, size_t n, double characters) {
  std::map<std::string, int> counts;
  std::vector<std::string> grams;
  for (size_t i = 0; i + n <= words.size(); ++i) {
    std::string gram = words[i];
    for (size_t k = 1; k < n; ++k) gram += " " + words[i + k];
    ++counts[gram];
    grams.push_back(gram);
  }
  std::string top;
  for (const std::string& gram : grams)
    if (top.empty() || counts[gram] > counts[top]) top = gram;
  return top.empty() ? 0 : static_cast<float>(static_cast<double>(top.size()) * counts[top] / characters);
}

// Few short words, so that copies begin and end within words: "ab a" and "a ba" are the same when joined.
TEST(Repetition, WordsOfFewLettersAreCountedAsTheirDefinitionsSay) {
  const std::vector<std::string> kinds = {"a", "ab", "ba", "b", "aab", "abababab", "bbbbbbbbbbbbbbbb",
                                          "c", "ca"};
  std::mt19937 random(11);
  for (int round = 0; round < 3000; ++round) {
    const size_t count = 1 + random() % (round % 3 == 0 ? 400 : 40), used = 2 + random() % (kinds.size() - 1);
    std::vector<std::string> words;
    std::string text;
    for (size_t i = 0; i < count; ++i) {
      words.push_back(random() % 4 == 0 && round % 2 == 0 ? std::to_string(random() % 9999)
                                                          : kinds[random() % used]);
      text += (i > 0 ? " " : "") + words.back();
    }
    const auto characters = static_cast<double>(text.size());
    const Repetition r = repetition(text);
    const float top[] = {r.top_2gram, r.top_3gram, r.top_4gram};
    for (size_t n = 2; n <= 4; ++n) ASSERT_EQ(top[n - 2], most_frequent(words, n, characters)) << n << text;
    const float copies[] = {r.dup_5gram, r.dup_6gram, r.dup_7gram, r.dup_8gram, r.dup_9gram, r.dup_10gram};
    for (size_t n = 5; n <= 10; ++n) ASSERT_EQ(copies[n - 5], copied(words, n, characters)) << n << text;
    std::map<std::vector<std::string>, int> tens;
    for (size_t i = 0; i + 10 <= words.size(); ++i) ++tens[{words.begin() + i, words.begin() + i + 10}];
    double again = 0;
    for (const auto& [gram, times] : tens) again += times > 1 ? times : 0;
    ASSERT_EQ(r.word_repetition,
              count < 10 ? 0 : static_cast<float>(again / static_cast<double>(words.size() - 9)));
    const std::set<std::string> different(words.begin(), words.end());
    ASSERT_EQ(r.unique_word_fraction,
              static_cast<float>(static_cast<double>(different.size()) / static_cast<double>(count)));
  }
}

TEST(Phrases, EveryPlaceOfALongText) {
  const std::vector<std::string> known = {"ab", "aba", "c,", "请勿", "\xFFz"};
  const Phrases phrases = {"ab", "aba", "c,", "请勿", "\xFFz"};
  const std::vector<std::string> parts = {"a", "B", "c", ",", "请", "勿", "\xFF", "z", " ", "xyz", "aBa"};
  std::mt19937 random(5);
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    for (size_t n = random() % 90; n > 0; --n) text += parts[random() % parts.size()];
    std::string low = text;
    for (char& c : low) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    int64_t expected = 0;
    for (size_t i = 0; i < low.size();) {
      size_t longest = 0;
      for (const std::string& phrase : known)
        if (low.compare(i, phrase.size(), phrase) == 0) longest = std::max(longest, phrase.size());
      expected += longest > 0;
      i += std::max<size_t>(longest, 1);
    }
    ASSERT_EQ(phrases.count(text), expected) << text;
  }
}

TEST(Phrases, TheLongestAtEachPlaceInEitherCase) {
  const Phrases phrases = {"ab", "abc", "请勿回复"};
  EXPECT_EQ(phrases.count("ABC ab aB x请勿回复"), 4);
  EXPECT_EQ(phrases.count(""), 0);
  EXPECT_EQ(phrases.count("a"), 0);
  EXPECT_EQ(phrases.count("请勿"), 0);
}

}  // namespace
}  // namespace decant
