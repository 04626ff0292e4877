// Accepts what RFC 8259 does, proved with the JSON test suite and against another parser, and loses nothing.
#include "data_pipeline/json_tree.h"

#include <cstdlib>
#include <map>
#include <random>

#include "core/error.h"
#include "core/file.h"
#include "tests/support/expect_error.h"
#include "tests/support/shared.h"

namespace decant {
namespace {

JsonFault fault_of(std::string_view text) { return JsonTree().parse(text, 0); }

bool accepts(JsonTree& tree, std::string_view text) {
  const JsonFault fault = tree.parse(text, 0);
  return fault == JsonFault::kNone || fault == JsonFault::kDuplicateKey;
}

std::string again(std::string_view text) {
  JsonTree tree;
  EXPECT_EQ(tree.parse(text, 0), JsonFault::kNone) << text;
  std::string out;
  append_json(out, tree.root());
  return out;
}

TEST(JsonTree, KeepsOrderNumbersAndCharacters) {
  const std::string text =
      R"({"z":1,"a":[1.50,-0,1e400,123456789012345678901234567890,true,false,null],"é":"你好😀\n\t\"\\","":{}})";
  EXPECT_EQ(again(text), text);
  EXPECT_EQ(again(R"(["A\u00e9\u4f60\ud83d\ude00\/\b\f\r\u0000\u001f"])"),
            "[\"Aé你😀/\\b\\f\\r\\u0000\\u001f\"]");
  EXPECT_EQ(again(" [ 1 , \"x\" ] "), "[1,\"x\"]");
  EXPECT_EQ(again("\"x\""), "\"x\"");
  EXPECT_EQ(again(" -1.5e+3 "), "-1.5e+3");
  JsonTree tree;
  ASSERT_EQ(tree.parse(R"({"a":{"b":[10,{"c":"d"}]},"e":null})", 0), JsonFault::kNone);
  EXPECT_EQ(tree.root().find("a").find("b").at(1).find("c").text(), "d");
  EXPECT_FALSE(tree.root().find("a").find("b").at(2));
  EXPECT_FALSE(tree.root().find("x").find("y").at(0));
  EXPECT_TRUE(tree.root().find("e").is_null());
  EXPECT_EQ(tree.root().size(), 2u);
}

TEST(JsonTree, EscapesAsNlohmannDoes) {
  for (int c = 1; c < 0x300; ++c) {
    std::string text = "x";
    if (c < 0x80) {
      text += static_cast<char>(c);
    } else {
      text += static_cast<char>(0xc0 | (c >> 6));
      text += static_cast<char>(0x80 | (c & 0x3f));
    }
    std::string out;
    append_json_string(out, text);
    EXPECT_EQ(out, Json(text).dump()) << c;
  }
  for (const unsigned char special : {0x00, 0x1f, 0x20, 0x22, 0x5c, 0x7f})
    for (size_t size = 0; size < 20; ++size)
      for (size_t at = 0; at < size; ++at) {
        std::string text(size, '!');
        text[at] = static_cast<char>(special);
        if (at > 8) text[at - 8] = '"';
        std::string out;
        append_json_string(out, text);
        ASSERT_EQ(out, Json(text).dump()) << size << " " << at;
      }
}

// A number comes back with its value to the last digit, or as its text.
TEST(JsonTree, NumbersOfMetaAreExact) {
  const auto number = [](const std::string& text) {
    JsonTree tree;
    EXPECT_EQ(tree.parse(text, 0), JsonFault::kNone);
    return to_json(tree.root(), true).dump();
  };
  const std::map<std::string, std::string> expected = {
      {"1", "1"},
      {"-9223372036854775808", "-9223372036854775808"},
      {"18446744073709551615", "18446744073709551615"},
      {"18446744073709551616", "\"18446744073709551616\""},
      {"0.1", "0.1"},
      {"1.50", "1.5"},
      {"1e2", "100.0"},
      {"-0", "-0.0"},
      {"0.30000000000000004", "0.30000000000000004"},
      {"3.14159265358979323846", "\"3.14159265358979323846\""},
      {"1e400", "\"1e400\""},
      {"1e-400", "\"1e-400\""}};
  for (const auto& [text, json] : expected) EXPECT_EQ(number(text), json);
  JsonTree tree;
  ASSERT_EQ(tree.parse("[1e400]", 0), JsonFault::kNone);
  EXPECT_ERROR(to_json(tree.root(), false), "more digits than 64 bits hold");
}

TEST(JsonTree, Faults) {
  EXPECT_EQ(fault_of("{\"a\":1,\"a\":2}"), JsonFault::kDuplicateKey);
  EXPECT_EQ(fault_of("[{\"a\":1,\"\\u0061\":2}]"), JsonFault::kDuplicateKey);
  std::string wide = "{";
  for (int i = 0; i < 100; ++i) wide += concat("\"k", i, "\":0,");
  EXPECT_EQ(fault_of(wide + "\"k\":0}"), JsonFault::kNone);
  EXPECT_EQ(fault_of(wide + "\"k7\":0}"), JsonFault::kDuplicateKey);
  EXPECT_EQ(fault_of("\"\\ud800\""), JsonFault::kSurrogate);
  EXPECT_EQ(fault_of("\"\xff\""), JsonFault::kUtf8);
  EXPECT_EQ(fault_of(std::string(256, '[') + std::string(256, ']')), JsonFault::kNone);
  EXPECT_EQ(fault_of(std::string(257, '[') + std::string(257, ']')), JsonFault::kTooDeep);
  EXPECT_EQ(fault_of(std::string(100000, '[') + std::string(100000, ']')), JsonFault::kTooDeep);
  EXPECT_EQ(fault_of(std::string(100000, '[')), JsonFault::kInvalid);
  std::string deep;
  for (int i = 0; i < 100000; ++i) deep += "{\"a\":[";
  EXPECT_EQ(fault_of(deep + "]}"), JsonFault::kTooDeep);
  std::string many = "[0";
  for (int i = 0; i < 1000001; ++i) many += ",0";
  EXPECT_EQ(fault_of(many + "]"), JsonFault::kTooManyValues);
  for (const char* bad :
       {"",           " ",         "[",    "]",       "{",     "[1 2]", "[1,]",  "{\"a\"}", "{\"a\":1,}",
        "{a:1}",      "[01]",      "[1.]", "[.5]",    "[+1]",  "[1e]",  "[tru]", "[nan]",   "[\"a\":1]",
        "[\"\x01\"]", "[\"\\x\"]", "1 2",  "\"a\" 1", "[] []", "{}}",   "[1}",   "'a'",     "\"a"})
    EXPECT_EQ(fault_of(bad), JsonFault::kInvalid) << bad;
}

TEST(JsonTree, AgreesWithAnotherParserOnMutatedTexts) {
  const std::vector<std::string> seeds = {
      R"({"a":1,"b":[true,false,null,"x\n\u00e9\ud83d\ude00"],"c":{"d":-1.5e3,"e":"q\"w"}})",
      R"([1,2,[3,[4,{"k":"v"}]],"s",{}])",
      "[]",
      "\"abc\"",
      "12.5",
      "true",
      R"({"messages":[{"role":"user","content":"hi"}]})",
      R"(["a","b",{"c":"d"},"e"])"};
  const std::string letters = "{}[]:,\"\\ \n\t012.eE+-truefalsn/ub";
  std::mt19937 random(1);
  const auto below = [&](size_t n) { return static_cast<size_t>(random() % n); };
  JsonTree tree;
  int accepted = 0;
  for (int i = 0; i < 100000; ++i) {
    std::string text = seeds[below(seeds.size())];
    for (size_t k = 0; k <= below(3); ++k) {
      const size_t at = below(text.size());
      switch (below(3)) {
        case 0:
          text.insert(at, 1, letters[below(letters.size())]);
          break;
        case 1:
          text[at] = letters[below(letters.size())];
          break;
        default:
          if (text.size() > 1) text.erase(at, 1);
      }
    }
    bool large = false;  // nlohmann refuses a number beyond a double
    for (const char* e : {"e", "E"}) large = large || text.find(e) != std::string::npos;
    const bool expected = Json::accept(text), found = accepts(tree, text);
    accepted += found ? 1 : 0;
    if (!large || expected) {
      EXPECT_EQ(found, expected) << text;
    }
  }
  EXPECT_GT(accepted, 10000);
}

TEST(JsonTree, JsonTestSuite) {
  DECANT_NEEDS_SHARED("conformance/JSONTestSuite/test_parsing.tar.xz");
  const auto archive = test::shared_folder() / "conformance/JSONTestSuite/test_parsing.tar.xz";
  const auto folder = test::scratch_folder();
  const std::string command = "tar -xJf '" + archive.string() + "' -C '" + folder.string() + "'";
  ASSERT_EQ(std::system(command.c_str()), 0);
  JsonTree tree;
  std::map<char, int> seen, accepted;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (entry.path().extension() != ".json") continue;
    const std::string name = entry.path().filename().string();
    const bool ok = accepts(tree, read_file(entry.path()));
    ++seen[name[0]];
    accepted[name[0]] += ok ? 1 : 0;
    if (name[0] != 'i') {
      EXPECT_EQ(ok, name[0] == 'y') << name;
    }
    // Where the RFC leaves a choice: numbers of any size, nothing that is not Unicode, no byte-order mark.
    if (name[0] == 'i') {
      EXPECT_EQ(ok, name.starts_with("i_number")) << name;
    }
  }
  EXPECT_EQ(seen, (std::map<char, int>{{'y', 95}, {'n', 188}, {'i', 35}}));
  EXPECT_EQ(accepted['y'], 95);
}

}  // namespace
}  // namespace decant
