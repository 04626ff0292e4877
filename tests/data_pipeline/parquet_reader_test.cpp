// The Parquet reader, in every build that has Apache Arrow at hand (tests/interop/parquet_test.py writes more
// files than the golden one).
#include <gtest/gtest.h>

#include "core/file.h"
#include "data_pipeline/record_parser.h"
#include "tests/data_pipeline/read_records.h"
#include "tests/support/expect_error.h"

namespace decant {
namespace {

using test::read_all;

// tests/golden/make_records_parquet.py
const std::string kGolden = "tests/golden/records.parquet";

TEST(ParquetReader, RowsAreRecordsOfEveryType) {
  const auto records = read_all(kGolden);
  ASSERT_EQ(records.size(), 3u);
  EXPECT_EQ(records[0].reason, "");
  EXPECT_EQ(RecordParser().parse(records[1]).reason, "invalid_utf8");
  const auto parsed = RecordParser().parse(records[0]);
  ASSERT_EQ(parsed.reason, "");
  EXPECT_EQ(parsed.conversations.at(0).messages[0].content, "你好");
  EXPECT_EQ(parsed.conversations[0].messages[1].content, "say \"hi\"\n");
  EXPECT_EQ(
      parsed.conversations[0].meta.dump(),
      R"({"channel":"app","score":0.1,"small":1,"done":true,"day":"2026-02-17","price":"1.50","blob":"ok"})");
  EXPECT_EQ(records[2].source.line, 3u);
}

TEST(ParquetReader, ARowBeyondTheLimitIsNotKept) {
  SourceConfig source;
  source.max_record_bytes = 20;
  const auto records = read_all(kGolden, source);
  ASSERT_EQ(records.size(), 3u);
  EXPECT_EQ(records[0].reason, "too_large");
  EXPECT_EQ(records[0].bytes, "");
}

TEST(ParquetReader, AFileThatEndsEarlyIsAnError) {
  const std::string whole = read_file(kGolden);
  const auto path = test::scratch_folder() / "f.parquet";
  for (size_t size = 0; size < whole.size(); size += size < 64 ? 1 : 61) {
    SCOPED_TRACE(size);
    write_file(path, whole.substr(0, size));
    EXPECT_ERROR(read_all(path), "cannot be read as Parquet");
  }
}

// Whatever is damaged, the outcome is an Error or rows, and no more of either than the file could hold.
TEST(ParquetReader, ADamagedFileIsAnErrorOrRows) {
  const std::string whole = read_file(kGolden);
  const auto path = test::scratch_folder() / "f.parquet";
  size_t refused = 0, read = 0;
  for (size_t at = 0; at < whole.size(); at += 7) {
    SCOPED_TRACE(at);
    std::string damaged = whole;
    damaged[at] = static_cast<char>(~damaged[at]);
    write_file(path, damaged);
    try {
      read += read_all(path).size();
    } catch (const Error& e) {
      ++refused;
      EXPECT_EQ(std::string(e.what()).rfind("f: ", 0), 0u) << e.what();
    }
  }
  EXPECT_GT(refused, 50u);
  EXPECT_LE(read, 3 * whole.size() / 7);
}

}  // namespace
}  // namespace decant
