// Laws, edges and malformed files of the tokenizers, on vocabularies made here.
#include "data_pipeline/tokenizer.h"

#include <gtest/gtest.h>
#include <unicode/uchar.h>
#include <unicode/unorm2.h>

#include <sstream>
#include <thread>

#include "data_pipeline/bpe.h"
#include "data_pipeline/pre_tokenizer.h"
#include "data_pipeline/tokenize_lines.h"
#include "data_pipeline/tokenizer_byte_level.h"
#include "data_pipeline/unicode.h"
#include "tests/data_pipeline/tokenizer_support.h"
#include "tests/support/expect_error.h"

namespace decant::test {
namespace {

// All 256 bytes, then "he", "ll", "hell", "hello", " w"; added: <|a|> special, <b> not special.
Json byte_vocabulary() {
  Json vocab = Json::object();
  for (int b = 0; b < 256; ++b) vocab[byte_level_text(std::string(1, static_cast<char>(b)))] = b;
  int id = 256;
  for (const char* token : {"he", "ll", "hell", "hello", "\u0120w"}) vocab[token] = id++;
  Json model = {{"type", "BPE"},
                {"vocab", vocab},
                {"merges", Json::array({"h e", "l l", "he ll", "hell o", "\u0120 w"})}};
  const auto added = [](int number, const char* text, bool special) -> Json {
    return {{"id", number},    {"content", text},     {"single_word", false}, {"lstrip", false},
            {"rstrip", false}, {"normalized", false}, {"special", special}};
  };
  return {{"version", "1.0"},
          {"added_tokens", Json::array({added(261, "<|a|>", true), added(262, "<b>", false)})},
          {"normalizer", nullptr},
          {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}}},
          {"post_processor", nullptr},
          {"decoder", {{"type", "ByteLevel"}}},
          {"model", model}};
}

std::unique_ptr<Tokenizer> open(const Json& json) { return tokenizer_from_json(json.dump(), "t.json"); }
using Ids = std::vector<int64_t>;

TEST(Tokenizer, MergesByRankAndKeepsToPieces) {
  const auto tokenizer = open(byte_vocabulary());
  EXPECT_EQ(tokenizer->encode("hello", SpecialMode::kMatch), (Ids{259}));
  EXPECT_EQ(tokenizer->encode("hello world", SpecialMode::kMatch), (Ids{259, 260, 'o', 'r', 'l', 'd'}));
  EXPECT_EQ(tokenizer->encode("", SpecialMode::kMatch), Ids{});
  EXPECT_EQ(tokenizer->vocab_size(), 263);
  EXPECT_EQ(tokenizer->id_of("<|a|>"), 261);
  EXPECT_EQ(tokenizer->id_of("hell"), 258);
  EXPECT_EQ(tokenizer->id_of("hel"), std::nullopt);
  EXPECT_EQ(tokenizer->sha256().size(), 64u);
}

TEST(Tokenizer, SpecialTokensAreMatchedOrText) {
  const auto tokenizer = open(byte_vocabulary());
  EXPECT_EQ(tokenizer->encode("hello<|a|><b>", SpecialMode::kMatch), (Ids{259, 261, 262}));
  EXPECT_EQ(tokenizer->encode("hello<|a|><b>", SpecialMode::kAsText),
            (Ids{259, '<', '|', 'a', '|', '>', 262}));
  EXPECT_TRUE(tokenizer->is_special(261));
  EXPECT_FALSE(tokenizer->is_special(262));
  EXPECT_FALSE(tokenizer->is_special(-1));
  EXPECT_EQ(tokenizer->decode({259, 261, 262}), "hello<|a|><b>");
  EXPECT_EQ(tokenizer->decode({259, 261, 262}, true), "hello<b>");
  EXPECT_ERROR(tokenizer->decode({263}), "no token with id 263");
  EXPECT_ERROR(tokenizer->decode({-1}), "no token with id -1");
}

TEST(Tokenizer, FlagsOfAddedTokens) {
  Json json = byte_vocabulary();
  json["added_tokens"][0]["lstrip"] = true;
  json["added_tokens"][0]["rstrip"] = true;
  json["added_tokens"][1]["single_word"] = true;
  json["added_tokens"][1]["content"] = "bb";
  const auto tokenizer = open(json);
  EXPECT_EQ(tokenizer->encode("x \u00a0<|a|>\n\ny", SpecialMode::kMatch), (Ids{'x', 261, 'y'}));
  EXPECT_EQ(tokenizer->encode("bb,bb", SpecialMode::kMatch), (Ids{262, ',', 262}));
  EXPECT_EQ(tokenizer->encode("bbx", SpecialMode::kMatch), (Ids{'b', 'b', 'x'}));
  EXPECT_EQ(tokenizer->encode("\u00e9bb", SpecialMode::kMatch), (Ids{0xC3, 0xA9, 'b', 'b'}));
}

TEST(Tokenizer, TheLongestOfTheLeftmostAddedTokensWins) {
  Json json = byte_vocabulary();
  Json longer = json["added_tokens"][1];
  longer["content"] = "<b>>";
  longer["id"] = 263;
  json["added_tokens"].push_back(longer);
  EXPECT_EQ(open(json)->encode("<<b>>><b>", SpecialMode::kMatch), (Ids{'<', 263, '>', 262}));
}

TEST(Tokenizer, NormalizedAddedTokensAreFoundAfterNormalisation) {
  Json json = byte_vocabulary();
  json["normalizer"] = {{"type", "NFC"}};
  json["added_tokens"][1]["content"] = "\u00e9!";  // in the text as it stands that is e, U+0301, !
  json["added_tokens"][1]["normalized"] = true;
  EXPECT_EQ(open(json)->encode("e\u0301!", SpecialMode::kMatch), (Ids{262}));
  json["added_tokens"][1]["normalized"] = false;
  EXPECT_EQ(open(json)->encode("e\u0301!", SpecialMode::kMatch), (Ids{0xC3, 0xA9, '!'}));
}

TEST(Tokenizer, LostBytesAreCounted) {
  Json json = byte_vocabulary();
  json["model"]["vocab"].erase("\u0104");  // byte 0x04
  json["added_tokens"] = Json::array();
  const auto tokenizer = open(json);
  Ids ids;
  EXPECT_EQ(tokenizer->encode("a\x04\x04 b", SpecialMode::kMatch, ids), 2);
  EXPECT_EQ(ids, (Ids{'a', ' ', 'b'}));
  EXPECT_EQ(tokenizer->encode("a\x04\x04 b", SpecialMode::kMatch, ids), 2) << "from the cache, too";
  json["model"]["unk_token"] = "!";
  EXPECT_EQ(open(json)->encode("a\x04\x04", SpecialMode::kMatch), (Ids{'a', '!', '!'}));
  json["model"]["fuse_unk"] = true;
  EXPECT_EQ(open(json)->encode("a\x04\x04", SpecialMode::kMatch), (Ids{'a', '!'}));
}

TEST(Tokenizer, IgnoreMergesTakesAWholePieceFirst) {
  Json json = byte_vocabulary();
  json["model"]["merges"] = Json::array({"h e", "l l"});
  EXPECT_EQ(open(json)->encode("hello", SpecialMode::kMatch), (Ids{256, 257, 'o'}));
  json["model"]["ignore_merges"] = true;
  EXPECT_EQ(open(json)->encode("hello", SpecialMode::kMatch), (Ids{259}));
}

TEST(Tokenizer, PrefixSpace) {
  Json json = byte_vocabulary();
  json["pre_tokenizer"]["add_prefix_space"] = true;
  EXPECT_EQ(open(json)->encode("wo", SpecialMode::kMatch), (Ids{260, 'o'}));
  EXPECT_EQ(open(json)->encode(" wo", SpecialMode::kMatch), (Ids{260, 'o'}));
  EXPECT_EQ(open(json)->encode("w<b>w", SpecialMode::kMatch), (Ids{260, 262, 260}));
}

// Every byte string decodes to its repaired text, whatever the length of its pieces (scan or heap), from any
// thread.
TEST(Tokenizer, RoundTripOfRandomBytes) {
  const auto tokenizer = open(byte_vocabulary());
  const auto check_all = [&](uint64_t seed, int* wrong) {
    uint64_t state = seed;
    const auto next = [&] {
      return state = state * 6364136223846793005ull + 1442695040888963407ull, state >> 33;
    };
    for (int i = 0; i < 400; ++i) {
      std::string text;
      const uint64_t length = next() % 300, letters = next() % 3;
      for (uint64_t k = 0; k < length; ++k)
        text += letters == 0   ? "helo w"[next() % 6]
                : letters == 1 ? "hel"[next() % 3]
                               : static_cast<char>(next());
      *wrong += tokenizer->decode(tokenizer->encode(text, SpecialMode::kAsText)) != repair_utf8(text);
    }
  };
  int wrong[2] = {0, 0};
  std::thread other(check_all, 1, &wrong[0]);
  check_all(2, &wrong[1]);
  other.join();
  EXPECT_EQ(wrong[0] + wrong[1], 0);
}

std::vector<int64_t> encode_piece(const Bpe& bpe, const std::string& piece) {
  std::vector<int64_t> ids;
  bpe.encode(Pieces{piece}, piece.data() + piece.size(), ids);
  return ids;
}

uint64_t next_random(uint64_t& state) {
  return state = state * 6364136223846793005ull + 1442695040888963407ull, state >> 33;
}

// A vocabulary of random merges over `alphabet`; tokens of at most 12 bytes. `ordered`: no merge uses what a
// later one makes.
BpeModel random_model(const std::string& alphabet, size_t tokens, bool ordered, uint64_t seed) {
  BpeModel model;
  std::vector<std::string> texts;
  for (const char c : alphabet) texts.emplace_back(1, c);
  for (size_t i = 0; i < texts.size(); ++i) model.tokens.add(texts[i], static_cast<uint32_t>(i));
  while (texts.size() < tokens) {
    const auto left = static_cast<uint32_t>(next_random(seed) % texts.size());
    const auto right = static_cast<uint32_t>(next_random(seed) % texts.size());
    const std::string joined = texts[left] + texts[right];
    if (joined.size() > 12 || (ordered && model.tokens.find(joined) >= 0)) continue;
    auto id = static_cast<uint32_t>(texts.size());
    if (model.tokens.add(joined, id))
      texts.push_back(joined);
    else
      id = static_cast<uint32_t>(model.tokens.find(joined));
    bool there = false;
    for (const auto& merge : model.merges) there = there || (merge.left == left && merge.right == right);
    if (!there) model.merges.push_back({left, right, id});
  }
  return model;
}

// A plain reading of the rule: the lowest rank first, of equals the leftmost.
std::vector<int64_t> plain_bpe(const BpeModel& model, const std::string& piece) {
  std::vector<int64_t> ids;
  for (const char c : piece) ids.push_back(model.tokens.find(std::string_view(&c, 1)));
  while (true) {
    size_t best_rank = model.merges.size(), best_at = 0;
    for (size_t at = 0; at + 1 < ids.size(); ++at)
      for (size_t rank = 0; rank < best_rank; ++rank)
        if (model.merges[rank].left == ids[at] && model.merges[rank].right == ids[at + 1])
          best_rank = rank, best_at = at;
    if (best_rank == model.merges.size()) return ids;
    ids[best_at] = model.merges[best_rank].joined;
    ids.erase(ids.begin() + static_cast<ptrdiff_t>(best_at) + 1);
  }
}

TEST(Bpe, EqualsThePlainAlgorithm) {
  for (const uint64_t seed : {7, 8, 9}) {
    const BpeModel model = random_model("abcd", 120, false, seed);
    const Bpe bpe(model);
    uint64_t state = seed;
    for (int i = 0; i < 200; ++i) {
      std::string text;
      for (uint64_t k = next_random(state) % 150 + 1; k > 0; --k) text += "abcd"[next_random(state) % 4];
      ASSERT_EQ(encode_piece(bpe, text), plain_bpe(model, text)) << text;
      ASSERT_EQ(encode_piece(bpe, text), plain_bpe(model, text)) << text << " from the cache";
    }
  }
}

// Characters are joined first only where that changes nothing: random merges over few bytes, so that those
// across the ends of characters come as often before as after those inside.
TEST(Bpe, CharactersOfSeveralBytesEqualThePlainAlgorithm) {
  const std::string alphabet = "a\xC3\xE4\xA1\xB8";
  const std::vector<std::string> characters = {
      "a", "\xC3\xA1", "\xC3\xB8", "\xE4\xA1\xA1", "\xE4\xA1\xB8", "\xE4\xB8\xA1", "\xE4\xB8\xB8"};
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    const BpeModel model = random_model(alphabet, 15 + seed % 40, seed % 4 != 0, seed);
    const Bpe bpe(model);
    uint64_t state = seed;
    for (int i = 0; i < 60; ++i) {
      std::string text;
      for (uint64_t k = next_random(state) % 40 + 1; k > 0; --k)
        text += characters[next_random(state) % characters.size()];
      ASSERT_EQ(encode_piece(bpe, text), plain_bpe(model, text)) << seed << ' ' << Json(text).dump();
    }
  }
}

// The character can be made early, but the pair (character, a) would then come before (a, b).
TEST(Bpe, ATokenThatIsUsedBeforeItIsMadeAgain) {
  BpeModel model;
  enum : uint32_t { kE4, kA1, kB8, kA, kB, kTail, kHead, kCharacter, kCharacterA, kAB };
  const char* texts[] = {"\xE4", "\xA1", "\xB8", "a", "b", "\xA1\xB8", "\xE4\xA1", "\u4878", "\u4878a", "ab"};
  for (uint32_t id = 0; id < std::size(texts); ++id) model.tokens.add(texts[id], id);
  model.merges = {
      {kA1, kB8, kTail}, {kE4, kA1, kHead},       {kHead, kB8, kCharacter}, {kCharacter, kA, kCharacterA},
      {kA, kB, kAB},     {kE4, kTail, kCharacter}};
  EXPECT_EQ(encode_piece(Bpe(model), "\u4878ab"), (Ids{kCharacter, kAB}));
}

// A megabyte without a break: the work grows as its length (times the height of a heap).
TEST(Bpe, LongPiecesTakeLinearWork) {
  const Bpe bpe(random_model("abcd", 120, false, 7));
  const auto lookups = [&](const std::string& piece) {
    const uint64_t before = Bpe::pairs_looked_up();
    encode_piece(bpe, piece);
    return Bpe::pairs_looked_up() - before;
  };
  for (const char* unit : {"a", "ab", "abcd", "aab"}) {
    std::string piece;
    while (piece.size() < 1000000) piece += unit;
    EXPECT_LE(lookups(piece), 4 * piece.size()) << unit;
    for (size_t length = 1; length < 300; ++length)
      EXPECT_LE(lookups(piece.substr(0, length)), 4 * length) << unit << ' ' << length;
  }
}

std::vector<std::string> pieces_of(const std::vector<std::unique_ptr<PreTokenizerStep>>& steps,
                                   const std::string& text) {
  Pieces pieces{text}, finer;
  for (const auto& step : steps) {
    finer.clear();
    for (const auto piece : pieces) step->split(piece, finer);
    pieces.swap(finer);
  }
  return {pieces.begin(), pieces.end()};
}

// Text in which every kind of character meets every other.
std::string random_text(uint64_t& state) {
  static const std::vector<std::string> parts = {
      "a",      "Z",          "é",          "ſ",      "'s",     "'S",     "'ſ",     "'re",  "'LL",  "'ve",
      "'",      "1",          "23",         "٣",      "Ⅷ",      "½",      " ",      "  ",   "\t",   "\n",
      "\r",     "\r\n",       "\u00a0",     "\u0085", "\u180e", "\u200b", "\u3000", "!",    ".",    "...",
      "-",      "_",          "$",          "€",      "😀",      "́",       "\u0345", "你",   "好",   "ア",
      "・",     "ー",         "゛",         "\u3040", "한",     "न",      "ि",      "\x01", "\x7f", "\u0378",
      "\ue000", "\U0001E4D0", "\U00031350", "<",      ">",      "|",      "。",     "「"};
  std::string text;
  const auto next = [&] {
    return state = state * 6364136223846793005ull + 1442695040888963407ull, state >> 33;
  };
  // Short texts of all sorts, and texts with runs longer than what is read at once.
  const bool runs = next() % 4 == 0;
  for (uint64_t n = next() % 12; n > 0; --n) {
    const std::string& part = parts[next() % parts.size()];
    for (uint64_t k = runs ? next() % 40 + 1 : 1; k > 0; --k) text += part;
  }
  return text;
}

TEST(PreTokenizer, ScannersEqualTheirPatterns) {
  struct Grammar {
    const char* name;
    std::vector<std::unique_ptr<PreTokenizerStep>> scanner, patterns;
  };
  std::vector<Grammar> grammars(5);
  const auto set = [&](size_t i, const char* name, std::unique_ptr<PreTokenizerStep> scanner,
                       std::vector<std::string> patterns) {
    grammars[i].name = name;
    grammars[i].scanner.push_back(std::move(scanner));
    for (const auto& pattern : patterns) grammars[i].patterns.push_back(pattern_step(pattern, name));
  };
  set(0, "gpt2", gpt2_step(), {kGpt2Pattern});
  set(1, "digits + gpt2", digits_gpt2_step(), {R"(\p{N})", kGpt2Pattern});
  set(2, "qwen2", qwen2_step(1), {kQwen2Pattern});
  set(3, "llama3", qwen2_step(3), {kLlama3Pattern});
  set(4, "deepseek-v3", deepseek_v3_step(),
      {kDeepSeekV3Patterns[0], kDeepSeekV3Patterns[1], kDeepSeekV3Patterns[2]});
  for (const Grammar& grammar : grammars) {
    uint64_t state = 11;
    for (int i = 0; i < 20000; ++i) {
      const std::string text = random_text(state);
      ASSERT_EQ(pieces_of(grammar.scanner, text), pieces_of(grammar.patterns, text))
          << grammar.name << ": " << Json(text).dump();
    }
    // Every code point between two letters, before a space.
    std::string text;
    for (uint32_t c = 0; c < kNumCodePoints; ++c) {
      if (c >= 0xD800 && c < 0xE000) continue;
      text = "a";
      append_utf8(text, c);
      text += "b ";
      append_utf8(text, c);
      ASSERT_EQ(pieces_of(grammar.scanner, text), pieces_of(grammar.patterns, text))
          << grammar.name << " U+" << std::hex << c;
    }
  }
}

TEST(PreTokenizer, PatternsThatMeanSomethingElseInPcre2AreRefused) {
  for (const char* pattern :
       {R"(\w+)", R"(\b)", R"(\h)", R"(a{2}?)", R"(a{1,2}+)", "[a&&b]", "[[:alpha:]]", R"(\p{Foo})",
        "(?<n>a)", R"((a)\1)", "a{,2}", R"([\P{L}])", "(*UTF)a", "[a", "\\"})
    EXPECT_ERROR(pattern_step(pattern, "t.json: Split"), "t.json: Split: the pattern");
  EXPECT_ERROR(pattern_step("a*", "t.json"), "matches the empty text");
  EXPECT_ERROR(pattern_step("(a", "t.json"), "is not a regular expression");
}

TEST(Unicode, CategoriesEqualIcuWhereItKnowsTheCharacter) {
  int known = 0;
  for (uint32_t c = 0; c < kNumCodePoints; ++c) {
    const uint32_t mask = U_GET_GC_MASK(static_cast<UChar32>(c));
    if (mask & (U_GC_CN_MASK | U_GC_CS_MASK)) continue;
    const uint8_t got = character_classes()[c];
    ++known;
    ASSERT_EQ((got & kLetter) != 0, (mask & U_GC_L_MASK) != 0) << std::hex << c;
    ASSERT_EQ((got & kNumber) != 0, (mask & U_GC_N_MASK) != 0) << std::hex << c;
    ASSERT_EQ((got & kMark) != 0, (mask & U_GC_M_MASK) != 0) << std::hex << c;
    ASSERT_EQ((got & kPunctuation) != 0, (mask & U_GC_P_MASK) != 0) << std::hex << c;
    ASSERT_EQ((got & kSymbol) != 0, (mask & U_GC_S_MASK) != 0) << std::hex << c;
    ASSERT_EQ((got & kSpace) != 0, u_isUWhiteSpace(static_cast<UChar32>(c)) != 0) << std::hex << c;
  }
  EXPECT_GT(known, 280000);
}

TEST(Unicode, RepairsEachMaximalIllFormedSubsequence) {
  const std::string r = "\uFFFD";
  EXPECT_EQ(repair_utf8("plain \u4f60"), "plain \u4f60");
  EXPECT_EQ(repair_utf8("\xF0\x9F\x98"), r);
  EXPECT_EQ(repair_utf8("\xED\xA0\x80"), r + r + r);
  EXPECT_EQ(repair_utf8("\xE4\xBD"
                        "a"),
            r + "a");
  EXPECT_EQ(repair_utf8("\xF4\x90\x80\x80"), r + r + r + r);
  EXPECT_EQ(repair_utf8("\xF0\x80\x80"), r + r + r);
  EXPECT_EQ(repair_utf8("12345678\xff"), "12345678" + r);
}

TEST(Unicode, NormalFormsOfUnicodesOwnTest) {
  DECANT_NEEDS_SHARED("conformance/unicode-15.0/NormalizationTest.txt.bz2");
  const std::string path = conformance("unicode-15.0/NormalizationTest.txt.bz2").string();
  FILE* pipe = ::popen(("bzip2 -dc '" + path + "' 2>/dev/null").c_str(), "r");
  std::string text;
  char block[1 << 14];
  for (size_t n; (n = std::fread(block, 1, sizeof(block), pipe)) > 0;) text.append(block, n);
  if (::pclose(pipe) != 0) GTEST_SKIP() << "no bzip2";
  int seen = 0;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.empty() || line[0] == '#' || line[0] == '@') continue;
    std::string columns[3];
    std::istringstream fields(line);
    for (std::string& column : columns) {
      std::string field;
      std::getline(fields, field, ';');
      std::istringstream points(field);
      for (std::string point; points >> point;)
        append_utf8(column, static_cast<uint32_t>(std::stoul(point, nullptr, 16)));
    }
    bool old = true;
    for (const char *p = columns[0].data(), *end = p + columns[0].size(); p != end;) {
      UVersionInfo age;
      u_charAge(static_cast<UChar32>(next_code_point(p)), age);
      old = old && age[0] > 0 && age[0] <= 9;
    }
    if (!old) continue;
    std::string buffer;
    ASSERT_EQ(normalize(columns[0], NormalForm::kNFC, buffer), columns[1]) << line;
    ASSERT_EQ(normalize(columns[0], NormalForm::kNFD, buffer), columns[2]) << line;
    ++seen;
  }
  EXPECT_GT(seen, 16000);
}

// Whatever stands beside it, a character that NFC leaves alone and that is no combining mark is as it was: so
// texts of them need no look at their neighbours.
TEST(Unicode, SurelyNfcIsSo) {
  int sure = 0;
  for (uint32_t c = 0; c < kNumCodePoints; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string text;
    append_utf8(text, c);
    if (!surely_nfc(text)) continue;
    ++sure;
    ASSERT_EQ(u_getIntPropertyValue(static_cast<UChar32>(c), UCHAR_NFC_QUICK_CHECK), UNORM_YES)
        << std::hex << c;
    ASSERT_EQ(u_getCombiningClass(static_cast<UChar32>(c)), 0) << std::hex << c;
    // At every place of what is read at once, and beyond.
    for (size_t before = 0; before < 20; before += c % 997 == 0 ? 1 : 19)
      ASSERT_TRUE(surely_nfc(std::string(before, 'a') + text + "zzzzzzzzzzzzzzzzzzzz"));
  }
  EXPECT_GT(sure, 40000);
  for (size_t before = 0; before < 40; ++before) {
    EXPECT_FALSE(surely_nfc(std::string(before, 'a') + "e\u0301" + std::string(40 - before, 'a')));
    EXPECT_FALSE(is_ascii(std::string(before * 50, 'a') + "\u00e9" + std::string(before, 'a')));
    EXPECT_TRUE(is_ascii(std::string(before * 50, 'a')));
  }
}

// Hugging Face's library leaves characters newer than Unicode 9.0 where they stand.
TEST(Unicode, NormalFormsAreThoseOfUnicode9) {
  std::string buffer;
  const std::string lao = "\u0eb2\u0eba\u0334";  // U+0EBA is of Unicode 12
  EXPECT_EQ(normalize(lao, NormalForm::kNFC, buffer), lao);
  EXPECT_EQ(normalize("a\u0301\u0334", NormalForm::kNFD, buffer), "a\u0334\u0301");
  EXPECT_EQ(normalize("\u32ff", NormalForm::kNFKC, buffer), "\u32ff");
  EXPECT_EQ(normalize("\u212b\uf900", NormalForm::kNFC, buffer), "\u00c5\u8c48");
}

TEST(TokenizerErrors, NameTheComponent) {
  const auto with = [](const std::string& pointer, Json value) {
    Json json = byte_vocabulary();
    json[Json::json_pointer(pointer)] = std::move(value);
    return json;
  };
  EXPECT_ERROR(open(with("/normalizer", {{"type", "Lowercase"}})),
               "t.json.normalizer: the normalizer Lowercase is not supported");
  EXPECT_ERROR(open(with("/pre_tokenizer", {{"type", "Metaspace"}})),
               "the pre-tokenizer Metaspace is not supported");
  EXPECT_ERROR(open(with("/pre_tokenizer", nullptr)), "expected ByteLevel");
  EXPECT_ERROR(open(with("/decoder", nullptr)), "the decoder null is not supported");
  EXPECT_ERROR(open(with("/decoder", {{"type", "WordPiece"}})), "the decoder WordPiece is not supported");
  EXPECT_ERROR(open(with("/post_processor", {{"type", "Odd"}})), "the post-processor Odd is not supported");
  EXPECT_ERROR(open(with("/model/type", "Unigram")), "the model type Unigram is not supported");
  EXPECT_ERROR(open(with("/model/byte_fallback", true)), "byte_fallback");
  EXPECT_ERROR(open(with("/model/dropout", 0.1)), "dropout");
  EXPECT_ERROR(open(with("/model/end_of_word_suffix", "</w>")), "'</w>' is not supported");
  EXPECT_ERROR(open(with("/model/odd", 1)), "the key 'odd' is not known");
  EXPECT_ERROR(open(with("/model/unk_token", "zzz")), "'zzz' is not in the vocabulary");
  EXPECT_ERROR(open(with("/model/vocab/!", -1)), "the id of '!' must be a number");
  EXPECT_ERROR(open(with("/model/vocab/!", 1 << 30)), "the id of '!' must be a number");
  EXPECT_ERROR(open(with("/model/vocab/!", 34)), "the id 34 is given twice");
  EXPECT_ERROR(open(with("/model/vocab", Json::object())), "the vocabulary is empty");
  EXPECT_ERROR(open(with("/model/merges/0", "h  e")), "merges[0]: expected two tokens");
  EXPECT_ERROR(open(with("/model/merges/1", "h zz")), "merges[1]: 'zz' is not in the vocabulary");
  EXPECT_ERROR(open(with("/model/merges/1", Json::array({"h"}))), "merges[1]: expected");
  EXPECT_ERROR(open(with("/model/merges/1", Json::array({"", "h"}))), "an empty token");
  EXPECT_ERROR(open(with("/added_tokens/1/id", 500)), "has id 500, but Hugging Face would give it 262");
  EXPECT_ERROR(open(with("/added_tokens/1/content", "<|a|>")), "stands twice");
  EXPECT_ERROR(open(with("/added_tokens/1/content", "")), "without text");
  EXPECT_ERROR(open(with("/added_tokens/1/special", "yes")), "expected true or false");
  Json nested = byte_vocabulary()["pre_tokenizer"];
  for (int i = 0; i < 40; ++i) nested = {{"type", "Sequence"}, {"pretokenizers", Json::array({nested})}};
  EXPECT_ERROR(open(with("/pre_tokenizer", nested)), "nested deeper");
  EXPECT_ERROR(tokenizer_from_json(std::string(100000, '['), "t.json"), "t.json: not valid JSON");
  EXPECT_ERROR(tokenizer_from_json("{\"a\":", "t.json"), "t.json: not valid JSON");
  EXPECT_ERROR(tokenizer_from_json("[]", "t.json"), "t.json: expected a JSON object");
  EXPECT_ERROR(tokenizer_from_json("{}", "t.json"), "not a tokenizer.json");
  EXPECT_ERROR(tokenizer_from_json(R"({"model":{},"model":{}})", "t.json"), "the key 'model' stands twice");
  EXPECT_ERROR(tokenizer_from_json("", "t.json"), "t.json: not valid JSON");
}

TEST(TokenizerErrors, Paths) {
  const auto folder = scratch_folder();
  EXPECT_ERROR(load_tokenizer(folder), "a folder without tokenizer.json and tokenizer.model");
  EXPECT_ERROR(load_tokenizer(folder / "x.txt"), "no such file");
  write_file(folder / "tokenizer.model", "not a model");
  EXPECT_ERROR(load_tokenizer(folder), "not a SentencePiece model");
  write_file(folder / "tokenizer.json", byte_vocabulary().dump());
  EXPECT_EQ(load_tokenizer(folder)->vocab_size(), 263);
}

TEST(TokenizeLines, OneArrayALine) {
  const auto tokenizer = open(byte_vocabulary());
  const auto run = [&](const std::string& text, SpecialMode mode = SpecialMode::kMatch) {
    std::istringstream in(text);
    std::ostringstream out;
    tokenize_lines(*tokenizer, mode, in, out);
    return out.str();
  };
  EXPECT_EQ(run(""), "");
  EXPECT_EQ(run("\"\"\n\"hello<|a|>\"\n"), "[]\n[259, 261]\n");
  EXPECT_EQ(run(" \"a\\n\\\"\\u0041\" \r\n"), "[97, 10, 34, 65]\n");
  EXPECT_EQ(run("\"<|a|>\"", SpecialMode::kAsText), "[60, 124, 97, 124, 62]\n");
  EXPECT_EQ(run("\"\\ud83d\\ude00\""), run("\"\U0001F600\""));
  EXPECT_EQ(run("\"\\ud800\""), run("\"\uFFFD\""));
  EXPECT_EQ(run("\"\\ud800\\ud83d\\ude00\\udc00\""), run("\"\uFFFD\U0001F600\uFFFD\""));
  EXPECT_EQ(run("\"\xff\""), run("\"\uFFFD\""));
  for (const char* bad : {"{}", "", "\"a", "\"a\" b", "\"\\x\"", "\"\\u12\"", "\"a\tb\"", "7"})
    EXPECT_ERROR(run(std::string("\"ok\"\n") + bad + "\n"), "line 2: expected one JSON string");
  std::istringstream in("\"ok\"\n7\n");
  std::ostringstream out;
  EXPECT_ERROR(tokenize_lines(*tokenizer, SpecialMode::kMatch, in, out), "line 2");
  EXPECT_EQ(out.str(), "[111, 107]\n") << "what was answered before is there";
  // Escapes and ends at every place of what is read at once; lines longer than a block; no last line end.
  for (size_t before = 0; before < 40; ++before) {
    const std::string text(before, 'o');
    const std::string ids = run("\"" + text + "\\n" + text + "\"");
    EXPECT_EQ(ids, run("\"" + text + "\\u000a" + text + "\"\n"));
    EXPECT_EQ(std::count(ids.begin(), ids.end(), ','), 2 * static_cast<int>(before));
    EXPECT_ERROR(run("\"" + text + "\x01\""), "line 1: expected one JSON string");
    EXPECT_ERROR(run("\"" + text), "without its closing quotation mark");
  }
  const std::string lengthy = run("\"" + std::string(3 << 20, 'o') + "\"\n\"o\"");
  EXPECT_EQ(lengthy.size(), (3u << 20) * 5 + 7);
  EXPECT_EQ(lengthy.substr(lengthy.size() - 10), "11]\n[111]\n");
}

TEST(TokenizeLines, AndBack) {
  const auto tokenizer = open(byte_vocabulary());
  const auto run = [&](const std::string& text) {
    std::istringstream in(text);
    std::ostringstream out;
    detokenize_lines(*tokenizer, in, out);
    return out.str();
  };
  EXPECT_EQ(run("[]\n [ 259 ,261]\r\n[97, 10, 34, 92, 1, 127]\n[228, 189, 160, 228, 189]"),
            "\"\"\n\"hello<|a|>\"\n\"a\\n\\\"\\\\\\u0001\x7f\"\n\"\u4f60\ufffd\"\n");
  for (const char* bad : {"", "7", "[", "[1", "[1,]", "[1 2]", "[-1]", "[1.5]", "[1e2]", "[01]", "[\"1\"]",
                          "[1] x", "[null]", "{}"})
    EXPECT_ERROR(run(std::string("[1]\n") + bad + "\n"), "line 2: expected one JSON array of ids");
  EXPECT_ERROR(run("[1]\n[263]\n"), "line 2: there is no token 263; ids go from 0 to 262");
  EXPECT_ERROR(run("[99999999999999999999]"), "line 1: there is no token");
}

// Every id's digits, and every text's way there and back.
TEST(TokenizeLines, RoundTrip) {
  const auto tokenizer = open(byte_vocabulary());
  uint64_t state = 5;
  std::string texts, ids;
  for (int i = 0; i < 300; ++i) texts += Json(random_text(state)).dump() + "\n";
  std::istringstream in(texts);
  std::ostringstream out, back;
  EXPECT_EQ(tokenize_lines(*tokenizer, SpecialMode::kMatch, in, out), 0);
  std::istringstream again(out.str());
  detokenize_lines(*tokenizer, again, back);
  EXPECT_EQ(back.str(), texts);
}

}  // namespace
}  // namespace decant::test
