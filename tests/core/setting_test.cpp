// Recipes as trees: places count from 1, scalars stay text, and YAML's surprises are refused by name.
#include "core/setting.h"

#include <gtest/gtest.h>

#include "core/file.h"
#include "tests/support/expect_error.h"
#include "tests/support/shared.h"

namespace decant {
namespace {

using Kind = Setting::Kind;

Setting parse(const std::string& yaml) { return parse_settings(yaml, "x.yaml"); }

TEST(Setting, EveryValueKnowsItsPlace) {
  const Setting root = parse("# head\nlora:\n  rank: 8\n  targets: [q, \"v\"]\n\nlist:\n- a\n-   b: 1\n");
  EXPECT_EQ(root.kind, Kind::kMap);
  ASSERT_EQ(root.members.size(), 2U);
  const Setting& lora = *root.find("lora");
  EXPECT_EQ(lora.key_where, "x.yaml:2:1");
  EXPECT_EQ(lora.where, "x.yaml:3:3");
  EXPECT_EQ(lora.find("rank")->key_where, "x.yaml:3:3");
  EXPECT_EQ(lora.find("rank")->where, "x.yaml:3:9");
  EXPECT_EQ(lora.find("rank")->scalar, "8");
  EXPECT_EQ(lora.find("targets")->items[1].where, "x.yaml:4:16");
  EXPECT_EQ(root.find("list")->items[1].find("b")->where, "x.yaml:8:8");
  EXPECT_EQ(root.find("none"), nullptr);
}

TEST(Setting, ScalarsStayTextAndQuotesAreRemembered) {
  const Setting root = parse(
      "a: no\nb: '3'\nc: \"3\"\nd: 1e-5\ne: 010\nf:\ng: null\nh: ~\ni: \"\"\nj: |\n  two\n  lines\nk: é😀\n");
  EXPECT_EQ(root.find("a")->scalar, "no");
  EXPECT_FALSE(root.find("a")->quoted);
  EXPECT_TRUE(root.find("b")->quoted);
  EXPECT_TRUE(root.find("c")->quoted);
  EXPECT_EQ(root.find("d")->scalar, "1e-5");
  EXPECT_EQ(root.find("e")->scalar, "010");
  for (const char* key : {"f", "g", "h"}) EXPECT_EQ(root.find(key)->kind, Kind::kNull) << key;
  EXPECT_EQ(root.find("i")->kind, Kind::kScalar);
  EXPECT_EQ(root.find("j")->scalar, "two\nlines\n");
  EXPECT_EQ(root.find("k")->scalar, "é😀");
}

TEST(Setting, AnEmptyRecipeIsNothing) {
  EXPECT_EQ(parse("").kind, Kind::kNull);
  EXPECT_EQ(parse("# only a comment\n").kind, Kind::kNull);
  EXPECT_EQ(parse("{}").kind, Kind::kMap);
}

TEST(Setting, AKeyThatStandsTwiceIsRefused) {
  EXPECT_ERROR(parse("a: 1\nb: 2\na: 3\n"), "x.yaml:3:1: the key 'a' stands twice");
  EXPECT_ERROR(parse("a: {b: 1, \"b\": 2}\n"), "x.yaml:1:11: the key 'b' stands twice");
  EXPECT_NO_THROW(parse("a: {a: 1}\nb: {a: 1}\n"));
}

TEST(Setting, AnchorsAliasesTagsAndMergeKeysAreRefused) {
  const char* anchors = "YAML anchors and aliases are not used in recipes";
  EXPECT_ERROR(parse("a: &x 1\n"), std::string("x.yaml:1:4: ") + anchors);
  EXPECT_ERROR(parse("a: &x {b: 1}\n"), anchors);
  EXPECT_ERROR(parse("a: &x [1]\n"), anchors);
  EXPECT_ERROR(parse("&x a: 1\n"), anchors);
  EXPECT_ERROR(parse("a: &x 1\nb: *x\n"), anchors);
  EXPECT_ERROR(parse("a: *x\n"), "x.yaml:1:4: not valid YAML: ");
  EXPECT_ERROR(parse("a: !!int 3\n"), "YAML tags are not used in recipes, found 'tag:yaml.org,2002:int'");
  EXPECT_ERROR(parse("a: !mine {b: 1}\n"), "YAML tags are not used in recipes, found '!mine'");
  EXPECT_ERROR(parse("a: !mine [1]\n"), "YAML tags are not used in recipes, found '!mine'");
  EXPECT_ERROR(parse("!!str a: 1\n"), "x.yaml:1:1: expected a plain key");
  EXPECT_ERROR(parse("a: 1\n<<: {b: 1}\n"), "x.yaml:2:1: merge keys are not used in recipes");
}

TEST(Setting, KeysArePlain) {
  EXPECT_ERROR(parse("[a, b]: 1\n"), "x.yaml:1:1: expected a plain key");
  EXPECT_ERROR(parse("{{a: 1}: 1}\n"), "expected a plain key");
  EXPECT_ERROR(parse("~: 1\n"), "expected a plain key");
}

TEST(Setting, BombsAreRefusedAtOnce) {
  std::string laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 12; ++i) {
    const std::string last = "*a" + std::to_string(i - 1);
    laughs += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + last;
    for (int k = 0; k < 8; ++k) laughs += ", " + last;
    laughs += "]\n";
  }
  EXPECT_ERROR(parse(laughs), "x.yaml:1:5: YAML anchors and aliases are not used in recipes");

  const auto nested = [](size_t levels) { return std::string(levels, '[') + std::string(levels, ']'); };
  EXPECT_NO_THROW(parse(nested(31)));
  EXPECT_ERROR(parse(nested(32)), "x.yaml:1:32: nested deeper than 32 levels");
  EXPECT_ERROR(parse(std::string(100'000, '[')), "nested deeper than 32 levels");
  EXPECT_ERROR(parse(std::string(100'000, '{')), "x.yaml:");
  std::string dashes, questions, indented;
  for (int i = 0; i < 5'000; ++i) {
    dashes += "- ";
    questions += "? ";
  }
  for (int i = 0; i < 100; ++i) indented += std::string(static_cast<size_t>(i), ' ') + "a:\n";
  EXPECT_ERROR(parse(dashes), "x.yaml:");
  EXPECT_ERROR(parse(questions), "x.yaml:");
  EXPECT_ERROR(parse(indented), "x.yaml:32:32: nested deeper than 32 levels");
}

TEST(Setting, WhatIsNotYamlIsRefusedWithItsPlace) {
  EXPECT_ERROR(parse("a: [1, 2\n"), "x.yaml:2:1: not valid YAML: ");
  EXPECT_ERROR(parse("a: 1\n b: 2\n"), "x.yaml:2:3: not valid YAML: ");
  EXPECT_ERROR(parse("a: \"x\nb: 2\n"), "x.yaml:1:4: not valid YAML: a quotation that does not end");
  EXPECT_ERROR(parse("a: 'y'\nb: 'x\nc: 2\n"), "x.yaml:2:4: not valid YAML: a quotation that does not end");
  EXPECT_ERROR(parse("a: \"x"), "x.yaml:1:6: not valid YAML: ");
  for (const char* ends :
       {"a: \"x\"", "a: |\n  x", "a: >\n  x\n\n", "a: x\n...\n", "a: 'it''s'\n# end", "a:", "# c"})
    EXPECT_NO_THROW(parse(ends)) << ends;
  EXPECT_ERROR(parse("a: 1\n---\nb: 2\n"), "expected one YAML document");
  EXPECT_ERROR(parse("a: \"\\q\"\n"), "not valid YAML: ");
}

TEST(Setting, BytesThatWouldEndOrChangeTheTextUnseenAreRefused) {
  EXPECT_ERROR(parse("a: 1\nb: \x04 2\n"), "x.yaml:2:4: not valid YAML: the control character 4");
  EXPECT_ERROR(parse(std::string("a: 1\n\0b: 2\n", 11)),
               "x.yaml:2:1: not valid YAML: the control character 0");
  EXPECT_ERROR(parse("a: \x7f\n"), "the control character 127");
  EXPECT_ERROR(parse("a: \xff\n"), "x.yaml: not UTF-8 text");
  EXPECT_ERROR(parse("a: \xed\xa0\x80\n"), "x.yaml: not UTF-8 text");
  EXPECT_EQ(parse("a: 1\r\nb:\t2\r\n").find("b")->scalar, "2");
  EXPECT_EQ(parse("\xef\xbb\xbf"
                  "a: 1\n")
                .find("a")
                ->scalar,
            "1");
}

TEST(Setting, AFileIsNamedInItsPlaces) {
  const auto path = test::scratch_folder() / "r.yaml";
  write_file(path, "a: 1\n");
  EXPECT_EQ(read_settings(path).find("a")->where, path.string() + ":1:4");
  EXPECT_ERROR(read_settings(path.parent_path()), "expected a file, found a folder");
}

TEST(Override, ReplacesAddsAndMakesSections) {
  Setting root = parse("lora:\n  rank: 8\n  alpha: 16\nname: x\n");
  override_setting(root, "lora.rank=32");
  EXPECT_EQ(root.find("lora")->find("rank")->scalar, "32");
  EXPECT_EQ(root.find("lora")->find("rank")->where, "command line: lora.rank=32");
  EXPECT_EQ(root.find("lora")->find("rank")->key_where, "command line: lora.rank=32");
  EXPECT_EQ(root.find("lora")->find("alpha")->scalar, "16");
  override_setting(root, "lora.targets=[q_proj, v_proj]");
  EXPECT_EQ(root.find("lora")->find("targets")->items[1].scalar, "v_proj");
  override_setting(root, "a.b.c=1");
  EXPECT_EQ(root.find("a")->find("b")->find("c")->scalar, "1");
  EXPECT_EQ(root.find("a")->key_where, "command line: a.b.c=1");
  override_setting(root, "lora={rank: 2}");
  EXPECT_EQ(root.find("lora")->members.size(), 1U);
  override_setting(root, "name=");
  EXPECT_EQ(root.find("name")->kind, Kind::kNull);
  override_setting(root, "name.first=a=b");
  EXPECT_EQ(root.find("name")->find("first")->scalar, "a=b");
  override_setting(root, "quoted='3'");
  EXPECT_TRUE(root.find("quoted")->quoted);
  override_setting(root, "lora.model=@distill");
  EXPECT_EQ(root.find("lora")->find("model")->scalar, "@distill");
  override_setting(root, "name.first=last");  // the later one holds
  EXPECT_EQ(root.find("name")->find("first")->scalar, "last");
  EXPECT_EQ(root.find("name")->members.size(), 1U);

  Setting empty = parse("");
  override_setting(empty, "a=1");
  EXPECT_EQ(empty.find("a")->scalar, "1");
}

TEST(Override, BadOnesAreRefused) {
  Setting root = parse("name: x\nlist: [1]\n");
  EXPECT_ERROR(override_setting(root, "rank"), "command line: rank: expected key=value, such as lora.rank=8");
  EXPECT_ERROR(override_setting(root, "=3"), "command line: =3: expected key=value");
  EXPECT_ERROR(override_setting(root, ""), "expected key=value");
  EXPECT_ERROR(override_setting(root, "a..b=1"), "command line: a..b=1: empty key");
  EXPECT_ERROR(override_setting(root, "a.=1"), "empty key");
  EXPECT_ERROR(override_setting(root, ".a=1"), "empty key");
  EXPECT_ERROR(override_setting(root, "name.first=1"),
               "command line: name.first=1: 'first' lies under a value that is not a section");
  EXPECT_ERROR(override_setting(root, "list.0=1"), "'0' lies under a value that is not a section");
  EXPECT_ERROR(override_setting(root, "a=[1"), "command line: a=[1:1:1: not valid YAML: ");
  EXPECT_ERROR(override_setting(root, "a={b: 1, b: 2}"), "the key 'b' stands twice");
  EXPECT_ERROR(override_setting(root, "a=&x 1"), "YAML anchors and aliases are not used");
  std::string deep = "a";
  for (int i = 0; i < 100'000; ++i) deep += ".a";
  EXPECT_ERROR(override_setting(root, deep + "=1"), "nested deeper than 32 levels");
}

}  // namespace
}  // namespace decant
