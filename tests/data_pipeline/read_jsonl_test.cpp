#include "data_pipeline/read_jsonl.h"

#include "tests/support/expect_error.h"
#include "tests/support/shared.h"

namespace decant {
namespace {

const std::string kGood =
    R"({"id":"a","messages":[{"role":"user","content":"q"},{"role":"assistant","content":"r"}]})";

std::vector<std::string> names(const std::vector<InputFile>& files) {
  std::vector<std::string> list;
  for (const auto& file : files) list.push_back(file.name);
  return list;
}

TEST(ReadJsonl, Lines) {
  const std::string file = "\xef\xbb\xbf{1}\r\n\n  \t\r\n{2}\n{3}";
  const auto records = split_lines(file, "f");
  ASSERT_EQ(records.size(), 3u);
  EXPECT_EQ(records[0].bytes, "{1}");
  EXPECT_EQ(records[0].source.byte_offset, 3u);
  EXPECT_EQ(records[1].bytes, "{2}");
  EXPECT_EQ(records[1].source.line, 4u);
  EXPECT_EQ(file.substr(records[1].source.byte_offset, 3), "{2}");
  EXPECT_FALSE(records[1].unterminated);
  EXPECT_EQ(records[2].source.line, 5u);
  EXPECT_TRUE(records[2].unterminated);
  EXPECT_TRUE(split_lines("", "f").empty());
  EXPECT_TRUE(split_lines("\n\r\n", "f").empty());
}

TEST(ReadJsonl, ReasonOfEachBadRecord) {
  const auto parsed = [](std::string_view bytes, bool unterminated = false) {
    return parse_record({{"f", 5, 2}, bytes, unterminated});
  };
  const auto good = parsed(kGood);
  EXPECT_EQ(good.reason, "");
  EXPECT_EQ(good.conversation.source.line, 2u);
  EXPECT_EQ(parsed(kGood, true).reason, "");
  EXPECT_EQ(parsed(std::string_view("{\"a\0\":1}", 8)).reason, "nul_byte");
  EXPECT_EQ(parsed("{\"a\":\"\xc4\xe3\"}").reason, "invalid_utf8");
  EXPECT_EQ(parsed("{\"a\":\"\xed\xa0\x80\"}").reason, "invalid_utf8");
  EXPECT_EQ(parsed(kGood.substr(0, 40)).reason, "invalid_json");
  EXPECT_EQ(parsed(kGood.substr(0, 40), true).reason, "truncated");
  EXPECT_EQ(parsed("{\"a\":1,\"a\":2}").reason, "invalid_json");
  EXPECT_EQ(parsed("{\"a\":\"\\ud800\"}").reason, "invalid_json");
  EXPECT_EQ(parsed(std::string(300, '[') + std::string(300, ']')).reason, "invalid_json");
  EXPECT_EQ(parsed("[1]").reason, "bad_record");
  EXPECT_EQ(parsed("{}").text, "no 'messages'");
  EXPECT_EQ(parsed("\"" + std::string(17 << 20, 'a') + "\"").reason, "too_large");
  EXPECT_EQ(parsed("{\"secret words\":").text.find("secret"), std::string::npos);
}

TEST(ReadJsonl, InputsAreFilesFoldersAndGlobs) {
  const auto folder = test::scratch_folder() / "a[1]*";  // a base with the glob's own characters
  for (const char* name : {"in/b.jsonl", "in/a.jsonl", "in/deep/c.jsonl", "in/notes.txt", "d.jsonl"})
    write_file(folder / name, kGood);
  using Names = std::vector<std::string>;
  EXPECT_EQ(names(expand_inputs({"in"}, folder)), (Names{"in/a.jsonl", "in/b.jsonl", "in/deep/c.jsonl"}));
  EXPECT_EQ(names(expand_inputs({"in/*.jsonl"}, folder)), (Names{"in/a.jsonl", "in/b.jsonl"}));
  EXPECT_EQ(names(expand_inputs({"d.jsonl", "in/b.jsonl", "in/*", "d.jsonl"}, folder)),
            (Names{"d.jsonl", "in/b.jsonl", "in/a.jsonl", "in/deep/c.jsonl", "in/notes.txt"}));
  EXPECT_EQ(names(expand_inputs({"../a[1]*/d.jsonl"}, folder)), (Names{"d.jsonl"}));
  EXPECT_EQ(names(expand_inputs({(folder / "d.jsonl").string()}, folder)), (Names{"d.jsonl"}));
  EXPECT_ERROR(expand_inputs({"in", "none-*.jsonl"}, folder), "the input 'none-*.jsonl' matches no file");
  EXPECT_ERROR(expand_inputs({"missing.jsonl"}, folder), "the input 'missing.jsonl' matches no file");
  std::filesystem::create_directories(folder / "empty");
  EXPECT_ERROR(expand_inputs({"empty"}, folder), "a folder must hold *.jsonl files");
}

}  // namespace
}  // namespace decant
