#include "data_pipeline/record_reader.h"

#include "core/file.h"
#include "data_pipeline/record_parser.h"
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

std::vector<RawRecord> read_all(const std::filesystem::path& path, SourceConfig source = {}) {
  auto reader = open_records({path, "f", std::make_shared<const SourceConfig>(std::move(source)), 0});
  std::vector<RawRecord> records;
  for (RawRecord record; reader->next(record);) records.push_back(record);
  return records;
}

std::vector<RawRecord> read_text(const std::string& text, SourceConfig source = {}) {
  const auto path = test::scratch_folder() / "f.jsonl";
  write_file(path, text);
  return read_all(path, std::move(source));
}

TEST(RecordReader, JsonLines) {
  const std::string file = "{1}\r\n\n  \t\r\n{2}\n{3}";
  const auto records = read_text(file);
  ASSERT_EQ(records.size(), 3u);
  EXPECT_EQ(records[0].bytes, "{1}");
  EXPECT_EQ(records[0].source.byte_offset, 0u);
  EXPECT_EQ(records[1].bytes, "{2}");
  EXPECT_EQ(records[1].source.line, 4u);
  EXPECT_EQ(file.substr(records[1].source.byte_offset, 3), "{2}");
  EXPECT_FALSE(records[1].unterminated);
  EXPECT_EQ(records[2].source.line, 5u);
  EXPECT_TRUE(records[2].unterminated);
  EXPECT_TRUE(read_text("").empty());
  EXPECT_TRUE(read_text("\n\r\n").empty());
}

ParsedRecord parse_line(std::string_view bytes, bool unterminated = false) {
  auto records = read_text(std::string(bytes) + (unterminated ? "" : "\n"));
  EXPECT_EQ(records.size(), 1u);
  return RecordParser().parse(records.at(0));
}

TEST(RecordReader, ReasonOfEachBadRecord) {
  const auto good = parse_line(kGood);
  EXPECT_EQ(good.reason, "");
  EXPECT_EQ(good.conversations.at(0).source.line, 1u);
  EXPECT_EQ(parse_line(kGood, true).reason, "");
  EXPECT_EQ(parse_line(std::string_view("{\"a\0\":1}", 8)).reason, "nul_byte");
  EXPECT_EQ(parse_line("{\"a\":\"\xc4\xe3\"}").reason, "invalid_utf8");
  EXPECT_EQ(parse_line("{\"a\":\"\xed\xa0\x80\"}").reason, "invalid_utf8");
  EXPECT_EQ(parse_line(kGood.substr(0, 40)).reason, "invalid_json");
  EXPECT_EQ(parse_line(kGood.substr(0, 40), true).reason, "truncated");
  EXPECT_EQ(parse_line("[1]").reason, "bad_record");
  EXPECT_EQ(parse_line("{}").text, "no 'messages'");
  EXPECT_EQ(parse_line("\"" + std::string(17 << 20, 'a') + "\"").reason, "too_large");
  EXPECT_EQ(parse_line("{\"secret words\":").text.find("secret"), std::string::npos);
}

TEST(RecordReader, InputsAreFilesFoldersAndGlobs) {
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
