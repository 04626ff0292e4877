#include "data_pipeline/record_reader.h"

#include <algorithm>

#include "core/file.h"
#include "data_pipeline/record_format.h"
#include "data_pipeline/record_parser.h"
#include "tests/data_pipeline/read_records.h"
#include "tests/support/expect_error.h"

namespace decant {
namespace {

using test::read_all;
using test::read_text;

const std::string kGood =
    R"({"id":"a","messages":[{"role":"user","content":"q"},{"role":"assistant","content":"r"}]})";

TEST(RecordReader, JsonLines) {
  const std::string file = "\xef\xbb\xbf{1}\r\n\n  \t\r\n{2}\n{3}";
  const auto records = read_text(file, "f.jsonl");
  ASSERT_EQ(records.size(), 3u);
  EXPECT_EQ(records[0].bytes, "{1}");
  EXPECT_EQ(records[0].source.byte_offset, 3u);
  EXPECT_EQ(records[1].bytes, "{2}");
  EXPECT_EQ(records[1].source.line, 4u);
  EXPECT_EQ(file.substr(records[1].source.byte_offset, 3), "{2}");
  EXPECT_FALSE(records[1].unterminated);
  EXPECT_EQ(records[2].source.line, 5u);
  EXPECT_TRUE(records[2].unterminated);
  EXPECT_TRUE(read_text("", "f.jsonl").empty());
  EXPECT_TRUE(read_text("\n\r\n", "f.jsonl").empty());
}

ParsedRecord parse_line(std::string_view bytes, bool unterminated = false) {
  auto records = read_text(std::string(bytes) + (unterminated ? "" : "\n"), "f.jsonl");
  EXPECT_EQ(records.size(), 1u);
  return RecordParser().parse(records.at(0));
}

TEST(RecordReader, ReasonOfEachBadRecord) {
  const auto good = parse_line(kGood);
  EXPECT_EQ(good.reason, "");
  EXPECT_EQ(good.conversations.at(0).source.line, 1u);
  EXPECT_EQ(parse_line(kGood, true).reason, "");
  EXPECT_EQ(parse_line(std::string_view("{\"a\0\":1}", 8)).reason, "nul_byte");
  EXPECT_EQ(parse_line("{\"a\":\"\xc4\xff\"}").reason, "invalid_utf8");
  EXPECT_EQ(parse_line("{\"a\":\"\xed\xa0\x80\"}").reason, "invalid_utf8");
  EXPECT_EQ(parse_line(kGood.substr(0, 40)).reason, "invalid_json");
  EXPECT_EQ(parse_line(kGood.substr(0, 40), true).reason, "truncated");
  EXPECT_EQ(parse_line("[1]").reason, "bad_record");
  EXPECT_EQ(parse_line("{}").text, "no 'messages'");
  EXPECT_EQ(parse_line("\"" + std::string(17 << 20, 'a') + "\"").reason, "too_large");
  EXPECT_EQ(parse_line("{\"secret words\":").text.find("secret"), std::string::npos);
}

// Every record lies where it says, whatever the size of its neighbours; the file's own bytes, read again.
TEST(RecordReader, OffsetsAndLinesOfPlainFiles) {
  std::string lines, array = "[", csv = "question,answer\n", text;
  for (int i = 0; i < 3000; ++i) {
    const std::string word(static_cast<size_t>(i * 37 % 701), static_cast<char>('a' + i % 26));
    const std::string json = concat("{\"n\":", i, ",\"s\":\"", word, "é\\\"]}\\n\"}");
    lines += json + (i % 3 == 0 ? "\r\n" : "\n") + (i % 7 == 0 ? "\n" : "");
    array += concat(i > 0 ? ",\n " : "", json);
    csv += concat("\"", word, "\n \"\"é\"\"\",", i, i % 2 == 0 ? "\r\n" : "\n");
    text += concat("line ", word, i, "\nmore\n", i % 5 == 0 ? "\n\n" : "\n");
  }
  array += "]";
  const std::pair<const char*, const std::string*> files[] = {
      {"f.jsonl", &lines}, {"f.json", &array}, {"f.csv", &csv}, {"f.txt", &text}};
  for (const auto& [name, content] : files) {
    const auto path = test::scratch_folder() / name;
    write_file(path, *content);
    const auto records = read_all(path);
    ASSERT_EQ(records.size(), 3000u) << name;
    uint64_t last = 0, line = 1;
    for (const RawRecord& record : records) {
      EXPECT_EQ(record.reason, "");
      ASSERT_EQ(content->substr(record.source.byte_offset, record.bytes.size()), record.bytes) << name;
      line += static_cast<uint64_t>(
          std::count(content->data() + last, content->data() + record.source.byte_offset, '\n'));
      ASSERT_EQ(record.source.line, line) << name;
      EXPECT_TRUE(last == 0 || record.source.byte_offset > last);
      last = record.source.byte_offset;
    }
  }
}

std::vector<std::string> reasons(const std::vector<RawRecord>& records) {
  RecordParser parser;
  std::vector<std::string> list;
  std::string reason, text;
  for (const RawRecord& record : records) {
    reason.clear();
    (void)parser.tree(record, reason, text);
    list.push_back(reason);
  }
  return list;
}

TEST(RecordReader, JsonListsGoOnAfterABadElement) {
  using List = std::vector<std::string>;
  const std::string bad = "invalid_json";
  const auto of = [](const std::string& text) { return reasons(read_text(text, "f.json")); };
  EXPECT_EQ(of("[]"), List{});
  EXPECT_EQ(of(" \n[ {} , {\"a\":[1,{\"b\":\"]},\\\"\"}]} ,3,\"x,]\",null ] \n"), List(5, ""));
  EXPECT_EQ(of("[{\"a\":},{}]"), (List{bad, ""}));
  EXPECT_EQ(of("[{} {}]"), (List{"", bad}));
  EXPECT_EQ(of("[{},,{}]"), (List{"", bad, ""}));
  EXPECT_EQ(of("[{},]"), (List{"", bad}));
  EXPECT_EQ(of("[{\"a\":[1},{}]"), (List{bad, ""}));
  EXPECT_EQ(of("[{\"a\":1,{}]"), List{bad});
  EXPECT_EQ(of("[{\"a\":\"x\n},{}]"), (List{bad, ""}));
  EXPECT_EQ(of("[{}}, {}]"), (List{"", bad, ""}));
  EXPECT_EQ(of("[{}] {}"), (List{"", bad}));
  EXPECT_EQ(of("[{},{\"a\":"), (List{"", "truncated"}));
  EXPECT_EQ(of("[{}"), (List{"", "truncated"}));
  EXPECT_EQ(of(std::string("[{},\0,{}]", 9)), (List{"", "nul_byte", ""}));
  SourceConfig source;
  source.kind = FileKind::kJson;
  EXPECT_ERROR(read_text("{\"data\":[]}", "f.json", source), "expected a JSON list, found an object");
  source.records = "data";
  EXPECT_EQ(reasons(read_text(R"({"v":{"data":[1]},"x":"]","data":[{},{}],"more":[]})", "f.json", source)),
            List(2, ""));
  EXPECT_ERROR(read_text("{\"dat\":[]}", "f.json", source), "has no member 'data'");
  EXPECT_ERROR(read_text("{\"data\":{}}", "f.json", source), "'data' is not a list");
}

TEST(RecordReader, CsvByRfc4180) {
  using List = std::vector<std::string>;
  const auto rows = read_text(
      "\xef\xbb\xbf"
      "a,b\r\n1,2\r\n\"x\r\ny, \"\"z\"\"\",\r\n,\r\n\"\",\"q\"\r\n\r\nlast,one",
      "f.csv");
  EXPECT_EQ(reasons(rows), List(5, ""));
  RecordParser parser;
  std::string reason, text;
  JsonValue row = parser.tree(rows[1], reason, text);
  EXPECT_EQ(row.find("a").text(), "x\r\ny, \"z\"");
  EXPECT_EQ(row.find("b").text(), "");
  EXPECT_EQ(rows[2].source.line, 5u);
  row = parser.tree(rows[4], reason, text);
  EXPECT_EQ(row.find("b").text(), "one");
  const auto of = [](const std::string& body) { return reasons(read_text("a,b\n" + body, "f.csv")); };
  EXPECT_EQ(of("1,2,3\n1\n1,2\n"), (List{"bad_csv", "bad_csv", ""}));
  EXPECT_EQ(of("1,x\"y\n1,\"x\"y\n1,2\n"), (List{"bad_csv", "bad_csv", ""}));
  EXPECT_EQ(of("1,\"open\n1,2\n3,4\n"), (List{"bad_csv", "", ""}));
  EXPECT_EQ(of("1,\"open"), List{"bad_csv"});
  EXPECT_EQ(of("1,\xff\n"), List{"invalid_utf8"});
  SourceConfig source;
  source.max_record_bytes = 20;  // less than a window: what is given up is read again all the same
  EXPECT_EQ(
      reasons(read_text("a,b\n1,\"open\n1,2\n3,4\n" + std::string(30, 'x') + ",5\n6,7\n", "f.csv", source)),
      (List{"bad_csv", "", "", "too_large", ""}));
  source.delimiter = ";";
  source.columns = {"x", "y"};
  const auto plain = read_text("a;b,c\n", "f.csv", source);
  row = parser.tree(plain.at(0), reason, text);
  EXPECT_EQ(row.find("y").text(), "b,c");
  EXPECT_ERROR(read_text("", "f.csv"), "is empty: expected a CSV header row");
  EXPECT_ERROR(read_text("a,a\n", "f.csv"), "a column stands twice");
  EXPECT_EQ(read_text("a\tb\n1\t2\n", "f.tsv").at(0).format->delimiter, '\t');
}

TEST(RecordReader, TextByFileBlockAndLine) {
  const auto bytes = [](TextUnit unit) {
    SourceConfig source;
    source.text_unit = unit;
    std::vector<std::string> list;
    for (const auto& record : read_text("\n a\nb\r\n \nc\n\n\n", "f.txt", source))
      list.push_back(record.bytes);
    return list;
  };
  using List = std::vector<std::string>;
  EXPECT_EQ(bytes(TextUnit::kFile), List{"\n a\nb\r\n \nc"});
  EXPECT_EQ(bytes(TextUnit::kBlock), (List{" a\nb", "c"}));
  EXPECT_EQ(bytes(TextUnit::kLine), (List{" a", "b", "c"}));
  EXPECT_TRUE(read_text(" \n", "f.txt").empty());
}

TEST(RecordReader, AFileHasOneFormat) {
  const std::string alpaca = R"({"instruction":"i","output":"o"})", chat = kGood;
  RecordParser parser;
  const auto of = [&](const std::string& text, SourceConfig source = {}) {
    std::vector<std::string> list;
    for (const auto& record : read_text(text, "f.jsonl", source)) list.push_back(parser.parse(record).reason);
    return list;
  };
  using List = std::vector<std::string>;
  EXPECT_EQ(of("{\n" + alpaca + "\n" + chat + "\n" + alpaca + "\n"),
            (List{"invalid_json", "", "bad_record", ""}));
  EXPECT_EQ(of(chat + "\n" + alpaca + "\n"), (List{"", "bad_record"}));
  SourceConfig source;
  source.format = RecordFormat::kMessages;
  EXPECT_EQ(of(alpaca + "\n" + chat + "\n", source), (List{"bad_record", ""}));
  EXPECT_ERROR(read_text("?", "f.data"), "its name does not say what it holds");
}

#ifndef DECANT_PARQUET
TEST(RecordReader, ABuildWithoutParquetSaysSo) {
  EXPECT_ERROR(read_text("PAR1", "f.parquet"), "-DDECANT_PARQUET=ON");
}
#endif

TEST(RecordReader, ReadsOneFileAfterTheOther) {
  const auto folder = test::scratch_folder();
  write_file(folder / "a.jsonl", kGood + "\n");
  write_file(folder / "b.jsonl", "");
  write_file(folder / "c.jsonl", kGood + "\n" + kGood);
  CorpusReader reader(expand_inputs({"."}, folder));
  std::vector<std::string> files;
  for (RawRecord record; reader.next(record);) files.push_back(record.source.file);
  EXPECT_EQ(files, (std::vector<std::string>{"a.jsonl", "c.jsonl", "c.jsonl"}));
}

}  // namespace
}  // namespace decant
