// Strict JSON: what RFC 8259 leaves to the reader is decided here, and Nicolas Seriot's JSONTestSuite holds.
#include "core/json.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <set>

#include "core/file.h"
#include "tests/support/expect_error.h"
#include "tests/support/shared.h"

namespace decant {
namespace {

namespace fs = std::filesystem;

Json parse(std::string_view text) { return parse_json(text, "x.json"); }

TEST(Json, KeepsTheOrderOfKeysAndEveryValue) {
  const std::string text =
      R"({"z":1,"a":[true,false,null,-7,18446744073709551615,0.1,"\u0000é😀"],"m":{},"b":[]})";
  const Json json = parse(text);
  EXPECT_EQ(json.dump(), text);
  EXPECT_TRUE(json["a"][3].is_number_integer());
  EXPECT_EQ(json["a"][4].get<uint64_t>(), 18446744073709551615U);
  EXPECT_EQ(json["a"][5].get<double>(), 0.1);
  EXPECT_EQ(parse("3"), Json(3));
  EXPECT_EQ(parse(" \"x\" "), Json("x"));
}

TEST(Json, RefusesWhatIsNotJson) {
  EXPECT_ERROR(parse(""), "x.json: not valid JSON: parse error at line 1, column 1: ");
  EXPECT_ERROR(parse("{\"a\": 1,}"), "x.json: not valid JSON: parse error at line 1, column 9: ");
  for (const char* text : {"{",        "[1 2]",
                           "[1,]",     "{\"a\"}",
                           "{a:1}",    "'a'",
                           "01",       "1.",
                           ".5",       "+1",
                           "NaN",      "Infinity",
                           "-",        "1 2",
                           "{} x",     "// c\n1",
                           "/*c*/1",   "\"\t\"",
                           "\"\\x\"",  "\"\\ud800\"",
                           "\"\xff\"", "\"\xed\xa0\x80\"",
                           "1e999",    "\xff\xfe[",
                           "tru",      "\"a"}) {
    SCOPED_TRACE(text);
    EXPECT_ERROR(parse(text), "x.json: not valid JSON: ");
  }
}

// What was read may be a customer's words, and errors go into logs.
TEST(Json, ErrorsNamePositionAndReasonButQuoteNothing) {
  for (const char* text : {R"({"name": Zhang-San-13800138000})", R"(["13800138000 Zhang San)",
                           R"(["Zhang\qSan"])", R"({"a": 1} "Zhang San; expected ]")", "[138001380001e999]",
                           "[\"Zhang \x01 San\"]", "[\"Zhang \xff San\"]"}) {
    SCOPED_TRACE(text);
    try {
      parse(text);
      ADD_FAILURE() << "was accepted";
    } catch (const Error& e) {
      const std::string what = e.what();
      EXPECT_EQ(what.find("Zh"), std::string::npos) << what;
      EXPECT_EQ(what.find("138"), std::string::npos) << what;
      EXPECT_TRUE(what.find("line 1, column ") != std::string::npos ||
                  what.find("byte 1") != std::string::npos)
          << what;
    }
  }
}

TEST(Json, RefusesANulByteWithItsOffset) {
  EXPECT_ERROR(parse(std::string_view("1\0 x", 4)), "x.json: not valid JSON: a NUL byte at offset 1");
}

TEST(Json, RefusesAKeyThatStandsTwice) {
  EXPECT_ERROR(parse(R"({"a":1,"b":{"a":2},"a":3})"), "x.json: the JSON key 'a' stands twice in one object");
  EXPECT_ERROR(parse(R"({"a":1,"\u0061":2})"), "the JSON key 'a' stands twice");
  EXPECT_NO_THROW(parse(R"([{"a":1},{"a":{"a":2}}])"));
  EXPECT_NO_THROW(parse(R"({"":1})"));
}

TEST(Json, NestsTo256LevelsAndNoDeeper) {
  const auto nested = [](size_t levels, const std::string& open, const std::string& close) {
    std::string text;
    for (size_t i = 0; i < levels; ++i) text += open;
    text += "1";
    for (size_t i = 0; i < levels; ++i) text += close;
    return text;
  };
  EXPECT_NO_THROW(parse(nested(256, "[", "]")));
  EXPECT_NO_THROW(parse(nested(256, "{\"a\":", "}")));
  EXPECT_ERROR(parse(nested(257, "[", "]")), "x.json: JSON nested deeper than 256 levels");
  EXPECT_ERROR(parse(nested(257, "{\"a\":", "}")), "x.json: JSON nested deeper than 256 levels");
  EXPECT_ERROR(parse(std::string(1'000'000, '[')), "nested deeper");
}

TEST(Json, ManyKeysTakeLinearTime) {
  std::string text = "{";
  for (int i = 0; i < 200'000; ++i) text += (i == 0 ? "\"" : ",\"") + std::to_string(i) + "\":{}";
  EXPECT_EQ(parse(text + "}").size(), 200'000U);  // quadratic look-up would exceed the test's time limit
}

TEST(Json, AFileIsReadAndWrittenBack) {
  const fs::path path = test::scratch_folder() / "a.json";
  write_json(path, parse(R"({"b":[1],"a":"é"})"));
  EXPECT_EQ(read_file(path), "{\n  \"b\": [\n    1\n  ],\n  \"a\": \"é\"\n}\n");
  EXPECT_EQ(read_json(path), parse(R"({"b":[1],"a":"é"})"));
  write_file(path, "{");
  EXPECT_ERROR(read_json(path), path.string() + ": not valid JSON: ");
  EXPECT_ERROR(write_json(path, Json("\xff")), path.string() + ": cannot be written as JSON: ");
  EXPECT_EQ(read_file(path), "{");
}

TEST(Json, TheTestSuiteHolds) {
  DECANT_NEEDS_SHARED("conformance/JSONTestSuite/test_parsing.tar.xz");
  const fs::path folder = test::scratch_folder();
  const auto archive = test::shared_folder() / "conformance/JSONTestSuite/test_parsing.tar.xz";
  const std::string command = "tar -xJf '" + archive.string() + "' -C '" + folder.string() + "'";
  ASSERT_EQ(std::system(command.c_str()), 0);

  // Valid by the grammar, and refused: a key that stands twice loses one of its values unseen.
  const std::set<std::string> twice = {"y_object_duplicated_key.json",
                                       "y_object_duplicated_key_and_value.json"};
  std::map<char, int> files, accepted;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    const std::string name = entry.path().filename();
    if (entry.path().extension() != ".json") continue;
    ++files[name[0]];
    const std::string text = read_file(entry.path());
    std::string error;
    try {
      parse(text);
      ++accepted[name[0]];
    } catch (const Error& e) {
      error = e.what();
    }
    if (twice.count(name) == 1) {
      EXPECT_THAT(error, ::testing::HasSubstr("stands twice")) << name;
    } else if (name[0] == 'y') {
      EXPECT_EQ(error, "") << name;
    } else if (name[0] == 'n') {
      EXPECT_FALSE(error.empty()) << name;
    }
  }
  EXPECT_EQ(files, (std::map<char, int>{{'i', 35}, {'n', 188}, {'y', 95}}));
  EXPECT_EQ(accepted['y'], 93);
  EXPECT_EQ(accepted['n'], 0);
}

}  // namespace
}  // namespace decant
