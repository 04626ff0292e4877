// One list of fields serves reading, writing, help and the step's key: what is written reads back to the same
// bits, and what does not fit is an error with its place.
#include "core/config.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "core/random.h"
#include "tests/support/expect_error.h"

namespace decant {
enum class Shape { kRound, kSquare, kLongName };
template <>
struct EnumNames<Shape> {
  static constexpr std::pair<Shape, const char*> values[] = {
      {Shape::kRound, "round"}, {Shape::kSquare, "square"}, {Shape::kLongName, "long-name"}};
};

namespace {

struct Inner {
  int64_t rank = 8;
  std::optional<double> alpha;
  std::vector<std::string> targets = {"q_proj", "v_proj"};

  static void visit(auto& c, auto&& field) {
    field("rank", c.rank, "inner dimension");
    field("alpha", c.alpha, "scale");
    field("targets", c.targets, "layers");
  }
  void validate(const Place& place) const {
    check(rank >= 1, place("rank"), ": must be at least 1, found ", rank);
    check(!targets.empty(), place("targets"), ": names no layer");
  }
  bool operator==(const Inner&) const = default;
};

struct Everything {
  bool flag = false;
  int64_t count = 3;
  double rate = 0.5;
  std::string name = "x";
  Shape shape = Shape::kRound;
  Inner lora;
  std::optional<int64_t> limit;
  std::optional<std::string> note;
  std::optional<Inner> second;
  std::vector<int64_t> numbers = {-1, 2};
  std::vector<std::vector<double>> table;
  std::vector<Inner> list;
  std::vector<std::map<std::string, int64_t>> maps;
  std::map<std::string, double> weights;
  std::map<std::string, Inner> tenants;
  std::map<std::string, std::vector<std::string>> groups;
  int64_t every = 10;

  static void visit(auto& c, auto&& field) {
    field("flag", c.flag, "a switch");
    field("count", c.count, "how many");
    field("rate", c.rate, "how fast");
    field("name", c.name, "what it is called");
    field("shape", c.shape, "its outline");
    field("lora", c.lora, "the adapter");
    field("limit", c.limit, "at most");
    field("note", c.note, "a remark");
    field("second", c.second, "another adapter");
    field("numbers", c.numbers, "some numbers");
    field("table", c.table, "rows");
    field("list", c.list, "adapters");
    field("maps", c.maps, "sections");
    field("weights", c.weights, "by name");
    field("tenants", c.tenants, "adapters by name");
    field("groups", c.groups, "lists by name");
    field("every", c.every, "log interval", kDoesNotAffectResults);
  }
  bool operator==(const Everything&) const = default;
};

Everything off_default() {
  Everything c;
  c.flag = true;
  c.count = std::numeric_limits<int64_t>::min();
  c.rate = 1e-5;
  c.name = "two\nlines: \"quoted\" # é";
  c.shape = Shape::kLongName;
  c.lora = {4, 0.1, {"k: v", "- x", ""}};
  c.limit = std::numeric_limits<int64_t>::max();
  c.note = "null";
  c.second = Inner{2, std::nullopt, {"o_proj"}};
  c.numbers = {};
  c.table = {{1, 2.5}, {}, {-3}};
  c.list = {{1, 1.0, {"a"}}, {2, std::nullopt, {"b", "c"}}};
  c.maps = {{{"a", 1}, {"b", 2}}, {}, {{"c", -3}}};
  c.weights = {{"a b", 0.25}, {"true", -1}, {"3", 1e300}, {"", 2}};
  c.tenants = {{"Müller & Söhne", {3, 7.0, {"x"}}}, {"two", {}}};
  c.groups = {{"g", {"one", "two"}}, {"empty", {}}};
  c.every = 1;
  return c;
}

template <class T>
T read(const std::string& yaml) {
  return read_config<T>(parse_settings(yaml, "x.yaml"), "");
}
void read_all(const std::string& yaml) { (void)read<Everything>(yaml); }

struct Text {
  std::string text;
  static void visit(auto& c, auto&& field) { field("text", c.text, "t"); }
};
struct Number {
  double value = 0;
  static void visit(auto& c, auto&& field) { field("value", c.value, "v"); }
};

TEST(Config, AnEmptySectionGivesTheDefaults) {
  EXPECT_EQ(read<Everything>(""), Everything());
  EXPECT_EQ(read<Everything>("{}"), Everything());
  EXPECT_EQ(read<Everything>("lora:\n"), Everything());
}

TEST(Config, WhatIsWrittenReadsBack) {
  EXPECT_EQ(read<Everything>(write_config(Everything())), Everything());
  const Everything c = off_default();
  const std::string text = write_config(c);
  EXPECT_EQ(read<Everything>(text), c) << text;
  EXPECT_EQ(write_config(read<Everything>(text)), text);
}

TEST(Config, EveryTextReadsBack) {
  std::string controls;
  for (int c = 0; c < 256; ++c)
    if (c < 0x80) controls += static_cast<char>(c);
  std::vector<std::string> texts = {"",
                                    " ",
                                    "~",
                                    "null",
                                    "Null",
                                    "NULL",
                                    "true",
                                    "false",
                                    "no",
                                    "3",
                                    "-",
                                    "- a",
                                    "a: b",
                                    "a #b",
                                    "#",
                                    "&a",
                                    "*a",
                                    "!a",
                                    "<<",
                                    "---",
                                    "...",
                                    "'",
                                    "\"",
                                    "\\",
                                    "a\\nb",
                                    "\r\n\t",
                                    "  x  ",
                                    "é😀中",
                                    "\xc2\x85",
                                    "\xe2\x80\xa8",
                                    "\xef\xbb\xbf",
                                    "a\xc2\xa0",
                                    "{a}",
                                    "[a",
                                    "%x",
                                    "@x",
                                    "`x",
                                    "a,b",
                                    "=",
                                    "?",
                                    "? a",
                                    "|",
                                    ">",
                                    controls,
                                    std::string(5000, 'k'),
                                    std::string(3000, '"')};
  for (const auto& text : texts) {
    Text c;
    c.text = text;
    EXPECT_EQ(read<Text>(write_config(c)).text, text) << write_config(c);
    if (text == "<<" || text.size() > 1000) continue;  // no keys: one would merge, YAML bounds the others
    Everything as_key;
    as_key.weights = {{text, 1.0}};
    EXPECT_EQ(read<Everything>(write_config(as_key)).weights, as_key.weights) << write_config(as_key);
  }
}

struct Layered {
  std::map<std::string, Setting> overrides;
  static void visit(auto& c, auto&& field) { field("overrides", c.overrides, "kept as written"); }
};

TEST(Config, SettingsKeptAsWrittenReadBackAndLieOverAStruct) {
  const std::string yaml =
      "overrides:\n  a: {rank: 3, name: \"3\", list: [x, {y: 1, z: [2, '']}], none: null, no: {}, empty: "
      "[]}\n";
  const auto first = read_config<Layered>(parse_settings(yaml, "a.yaml"), "");
  const std::string written = write_config(first);
  const auto second = read_config<Layered>(parse_settings(written, "b.yaml"), "");
  EXPECT_EQ(write_config(second), written);
  const Setting& a = second.overrides.at("a");
  EXPECT_EQ(read_int(*a.find("rank"), "rank"), 3);
  EXPECT_EQ(read_text(*a.find("name"), "name"), "3");
  ASSERT_EQ(a.find("list")->items.size(), 2U);
  const Setting* z = a.find("list")->items[1].find("z");
  ASSERT_EQ(z->items.size(), 2U);
  EXPECT_EQ(read_text(z->items[1], "z"), "");
  EXPECT_EQ(a.find("none")->kind, Setting::Kind::kNull);
  EXPECT_EQ(a.find("empty")->kind, Setting::Kind::kList);
  EXPECT_EQ(first.overrides.at("a").find("rank")->where, "a.yaml:2:13");
}

TEST(Config, EveryDoubleReadsBackToTheSameBits) {
  std::vector<double> values = {0.0,
                                -0.0,
                                0.1,
                                1.0 / 3,
                                1e-5,
                                5e-324,
                                2.2250738585072014e-308,
                                1e22,
                                1e23,
                                std::numeric_limits<double>::max(),
                                -1e-300,
                                123456789012345680.0};
  for (uint64_t i = 0; i < 2000; ++i) {
    const auto words = philox(5, 0, i);
    const uint64_t bits = static_cast<uint64_t>(words[0]) << 32 | words[1];
    double value = 0;
    std::memcpy(&value, &bits, sizeof value);
    if (std::isfinite(value)) values.push_back(value);
  }
  EXPECT_GT(values.size(), 1900U);
  for (const double value : values) {
    const double back = read<Number>(write_config(Number{value})).value;
    EXPECT_EQ(std::memcmp(&back, &value, sizeof value), 0) << yaml_double(value);
  }
}

TEST(Config, UnknownKeysAreRefusedWithTheNearestName) {
  const auto error = [](const std::string& yaml) {
    try {
      read_all(yaml);
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  EXPECT_EQ(error("# r\nlora:\n  rnak: 8\n"),
            "x.yaml:3:3: unknown key 'lora.rnak' (did you mean 'lora.rank'?)");
  EXPECT_EQ(error("cuont: 1\n"), "x.yaml:1:1: unknown key 'cuont' (did you mean 'count'?)");
  EXPECT_EQ(error("xyz: 1\n"), "x.yaml:1:1: unknown key 'xyz'");
  EXPECT_EQ(error("list:\n- rank: 1\n  alhpa: 2\n"),
            "x.yaml:3:3: unknown key 'list[0].alhpa' (did you mean 'list[0].alpha'?)");
  EXPECT_EQ(error("tenants:\n  acme: {target: [a]}\n"),
            "x.yaml:2:10: unknown key 'tenants.acme.target' (did you mean 'tenants.acme.targets'?)");
  EXPECT_EQ(error(std::string(50'000, 'k') + ": 1\n").find("did you mean"), std::string::npos);
}

TEST(Config, WrongTypesAreRefusedWithTheirPlace) {
  EXPECT_ERROR(read_all("lora:\n  rank: no\n"), "x.yaml:2:9: 'lora.rank' must be a whole number, found 'no'");
  for (const char* text : {"'3'", "\"3\"", "3.0", "1e3", "0x10", "9223372036854775808", "3 4", "1_000", "+3"})
    EXPECT_ERROR(read_all(concat("count: ", text)), "x.yaml:1:8: 'count' must be a whole number, found '");
  EXPECT_ERROR(read_all("count:\n"), "'count' must be a whole number, found nothing");
  EXPECT_ERROR(read_all("count: [1]\n"), "'count' must be a whole number, found a list");
  EXPECT_ERROR(read_all("count: {a: 1}\n"), "'count' must be a whole number, found a section");
  for (const char* text :
       {"'0.5'", "1e999", "nan", ".nan", "inf", "-.inf", "half", "1,5", "+-1", "++1", "+", "1e", "0x1p3"})
    EXPECT_ERROR(read_all(concat("rate: ", text)), "x.yaml:1:7: 'rate' must be a number, found '");
  for (const char* text : {"yes", "no", "True", "1", "'true'", "on"})
    EXPECT_ERROR(read_all(concat("flag: ", text)), "x.yaml:1:7: 'flag' must be true or false, found '");
  EXPECT_ERROR(read_all("name: [a]\n"), "'name' must be text, found a list");
  EXPECT_ERROR(read_all("name:\n"), "'name' must be text, found nothing");
  EXPECT_ERROR(read_all("numbers: 3\n"), "x.yaml:1:10: 'numbers' must be a list, found '3'");
  EXPECT_ERROR(read_all("numbers: [1, x]\n"), "x.yaml:1:14: 'numbers[1]' must be a whole number, found 'x'");
  EXPECT_ERROR(read_all("weights: [1]\n"), "'weights' must be a section, found a list");
  EXPECT_ERROR(read_all("weights: {a: x}\n"), "'weights.a' must be a number, found 'x'");
  EXPECT_ERROR(read_all("lora: 3\n"), "x.yaml:1:7: 'lora' must be a section, found '3'");
  EXPECT_ERROR(read_all("[1]"), "must be a section, found a list");
}

TEST(Config, TextIsNeverTakenForSomethingElse) {
  const Everything c = read<Everything>("name: no\nnote: 010\nrate: 1e-5\ncount: -0\nlimit: ~\nflag: true\n");
  EXPECT_EQ(c.name, "no");
  EXPECT_EQ(c.note, "010");
  EXPECT_EQ(c.rate, 1e-5);
  EXPECT_EQ(c.limit, std::nullopt);
  EXPECT_TRUE(c.flag);
  EXPECT_EQ(read<Everything>("rate: +3").rate, 3.0);
  EXPECT_EQ(read<Everything>("rate: .5").rate, 0.5);
  EXPECT_EQ(read<Everything>("rate: -2").rate, -2.0);
}

TEST(Config, AnEnumErrorListsTheValues) {
  EXPECT_EQ(read<Everything>("shape: long-name").shape, Shape::kLongName);
  EXPECT_ERROR(read_all("shape: sqaure"),
               "x.yaml:1:8: 'shape' must be one of round, square, long-name, found 'sqaure' (did you mean "
               "'square'?)");
  EXPECT_ERROR(read_all("shape: Round"), "found 'Round' (did you mean 'round'?)");
}

TEST(Config, ValidateNamesTheKeyOrItsSection) {
  EXPECT_ERROR(read_all("lora:\n  rank: 0\n"), "x.yaml:2:9: 'lora.rank': must be at least 1, found 0");
  EXPECT_ERROR(read_all("lora: {targets: []}\n"), "x.yaml:1:17: 'lora.targets': names no layer");
  EXPECT_ERROR(read_all("list:\n- {}\n- rank: -1\n"),
               "x.yaml:3:9: 'list[1].rank': must be at least 1, found -1");
  EXPECT_EQ(Place(nullptr, "lora")("rank"), "'lora.rank'");
  EXPECT_EQ(Place(nullptr, "")("rank"), "'rank'");
  // A key that was not written: the place of its section's key.
  const Setting root = parse_settings("a: 1\nlora:\n  alpha: 2\n", "x.yaml");
  EXPECT_EQ(Place(root.find("lora"), "lora")("rank"), "x.yaml:2:1: 'lora.rank'");
  EXPECT_EQ(Place(&root, "")("rank"), "x.yaml:1:1: 'rank'");
}

TEST(Config, TheCommandLineStandsOverTheFileOverTheDefaults) {
  Setting root = parse_settings("count: 5\nlora: {rank: 4}\n", "x.yaml");
  override_setting(root, "lora.rank=2");
  override_setting(root, "lora.targets=[o_proj]");
  override_setting(root, "weights.a=0.5");
  const auto c = read_config<Everything>(root, "");
  EXPECT_EQ(c.count, 5);
  EXPECT_EQ(c.rate, 0.5);
  EXPECT_EQ(c.lora, (Inner{2, std::nullopt, {"o_proj"}}));
  EXPECT_EQ(c.weights.at("a"), 0.5);

  override_setting(root, "lora.rnak=2");
  EXPECT_ERROR(read_config<Everything>(root, ""),
               "command line: lora.rnak=2: unknown key 'lora.rnak' (did you mean 'lora.rank'?)");
  Setting other = parse_settings("", "x.yaml");
  override_setting(other, "lora.rank=0");
  EXPECT_ERROR(read_config<Everything>(other, ""),
               "command line: lora.rank=0: 'lora.rank': must be at least 1, found 0");
  override_setting(other, "lora=5");
  EXPECT_ERROR(read_config<Everything>(other, ""),
               "command line: lora=5: 'lora' must be a section, found '5'");
}

TEST(Config, TheKeyLeavesOutWhatDoesNotAffectResults) {
  Everything a, b;
  b.every = 77;
  EXPECT_EQ(config_key(a), config_key(b));
  EXPECT_NE(write_config(a), write_config(b));
  b.lora.rank = 9;
  EXPECT_NE(config_key(a), config_key(b));
  EXPECT_EQ(config_key(a).find("every"), std::string::npos);
}

TEST(Config, HelpHasOneLineAKeyWithItsDefault) {
  std::map<std::string, std::pair<std::string, std::string>> lines;
  for (const auto& line : config_help<Everything>(""))
    EXPECT_TRUE(lines.emplace(line.key, std::pair(line.default_value, line.help)).second) << line.key;
  EXPECT_EQ(lines.size(), 17U + 4 * 3);  // four nested adapters of three keys
  EXPECT_EQ(lines["flag"], std::pair(std::string("false"), std::string("a switch")));
  EXPECT_EQ(lines["rate"].first, "0.5");
  EXPECT_EQ(lines["shape"].first, "round");
  EXPECT_EQ(lines["limit"].first, "null");
  EXPECT_EQ(lines["lora"].first, "");
  EXPECT_EQ(lines["lora.rank"], std::pair(std::string("8"), std::string("inner dimension")));
  EXPECT_EQ(lines["lora.targets"].first, "[q_proj, v_proj]");
  EXPECT_EQ(lines["numbers"].first, "[-1, 2]");
  EXPECT_EQ(lines["table"].first, "[]");
  EXPECT_EQ(lines["weights"].first, "{}");
  EXPECT_EQ(lines.count("second.rank") + lines.count("list[].rank") + lines.count("tenants.<name>.rank"), 3U);
  EXPECT_EQ(config_help<Inner>("lora")[0].key, "lora.rank");
}

TEST(Config, TheNearestNameIsWithinATypo) {
  EXPECT_EQ(nearest_name("rnak", {"alpha", "rank"}), "rank");
  EXPECT_EQ(nearest_name("ran", {"rank"}), "rank");
  EXPECT_EQ(nearest_name("r", {"rank"}), "");
  EXPECT_EQ(nearest_name("", {"a"}), "a");
  EXPECT_EQ(nearest_name("learning_rate_max", {"learning_rate"}), "learning_rate");
  EXPECT_EQ(nearest_name("x", {}), "");
  EXPECT_EQ(did_you_mean("lora", "rnak", {"rank"}), " (did you mean 'lora.rank'?)");
  EXPECT_EQ(did_you_mean("lora", "zzzz", {"rank"}), "");
}

}  // namespace
}  // namespace decant
