// Files made to exhaust memory or time: a bad record or a clear error, in bounded memory.
#include <sys/resource.h>

#include <algorithm>
#include <cstring>

#include "data_pipeline/file_reader.h"
#include "data_pipeline/record_form.h"
#include "tests/data_pipeline/read_records.h"
#include "tests/support/expect_error.h"

namespace decant {
namespace {

// `first` and then `pattern` again and again, made while they are read.
class Made : public ByteStream {
 public:
  Made(uint64_t size, std::string first, const std::string& pattern) : left_(size), next_(std::move(first)) {
    while (tile_.size() < (size_t{256} << 10)) tile_ += pattern;
  }
  size_t read(char* to, size_t room) override {
    if (at_ == next_.size()) {
      next_ = tile_;
      at_ = 0;
    }
    const auto count = static_cast<size_t>(std::min<uint64_t>({room, left_, next_.size() - at_}));
    std::memcpy(to, next_.data() + at_, count);
    at_ += count;
    left_ -= count;
    return count;
  }

 private:
  uint64_t left_;
  std::string next_, tile_;
  size_t at_ = 0;
};

// What is freed stays for a while under AddressSanitizer: 256 MiB in its quarantine, and what lies around it.
#ifdef __SANITIZE_ADDRESS__
constexpr int64_t kKeptKib = 768 << 10;
#else
constexpr int64_t kKeptKib = 0;
#endif

int64_t peak_kib() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

FileParts parts(std::unique_ptr<ByteStream> stream, FileKind kind, int64_t limit = int64_t{16} << 20) {
  auto format = std::make_shared<FileFormat>();
  format->kind = kind;
  auto source = std::make_shared<SourceConfig>();
  source->text_unit = TextUnit::kFile;
  source->max_record_bytes = limit;
  format->source = source;
  if (kind == FileKind::kCsv) format->columns = {"a", "b"};
  return {"made", TextInput(std::move(stream)), format, 0};
}

TEST(HostileInput, OneLineOfAGigabyte) {
  const int64_t before = peak_kib();
  const auto read = [&](auto open, FileKind kind, uint64_t size) {
    auto reader = open(parts(std::make_unique<Made>(size, "", "x"), kind));
    RawRecord record;
    EXPECT_TRUE(reader->next(record));
    EXPECT_EQ(record.reason, "too_large");
    EXPECT_EQ(record.size, size);
    EXPECT_TRUE(record.bytes.empty());
    EXPECT_FALSE(reader->next(record));
  };
  read(jsonl_reader, FileKind::kJsonl, uint64_t{1} << 30);
  read(text_reader, FileKind::kText, uint64_t{1} << 30);
  read(csv_reader, FileKind::kCsv, uint64_t{1} << 28);
  EXPECT_LT(peak_kib() - before, (96 << 10) + kKeptKib);
}

TEST(HostileInput, AListWhoseElementNeverEnds) {
  const int64_t before = peak_kib();
  for (const char* text : {"[[", "[{", "[\"x"}) {
    auto reader = json_array_reader(
        parts(std::make_unique<Made>(uint64_t{1} << 27, text, std::string(1, text[strlen(text) - 1])),
              FileKind::kJson));
    RawRecord record;
    ASSERT_TRUE(reader->next(record));
    EXPECT_EQ(record.reason, "too_large");
    EXPECT_FALSE(reader->next(record));
  }
  EXPECT_LT(peak_kib() - before, (96 << 10) + kKeptKib);
}

TEST(HostileInput, NestedDeeply) {
  const std::string deep(100000, '[');
  RecordParser parser;
  for (const std::string& text : {deep, deep + std::string(100000, ']')}) {
    const auto lines = test::read_text(text + "\n", "f.jsonl");
    EXPECT_EQ(parser.parse(lines.at(0)).reason, "invalid_json");
    const auto list = test::read_text("[" + text + "]", "f.json");
    EXPECT_EQ(parser.parse(list.at(0)).text, "the JSON is nested deeper than 256 levels");
  }
}

TEST(HostileInput, QuotesThatNeverClose) {
  const int64_t before = peak_kib();
  // One stray quote in a large file: its line is bad, every other is read.
  {
    std::string text = "a,b\n1,\"stray\n";
    for (int i = 0; i < 150000; ++i) text += concat("line ", i, ",some more text of this row\n");
    for (int i = 0; i < 150000; ++i) text += concat("line ", i, ",some more text of this row\n");
    const auto path = test::scratch_folder() / "f.csv";
    write_file(path, text);
    auto reader = open_records({path, "f"});
    RecordParser parser;
    int good = 0, bad = 0;
    std::string why, words;
    for (RawRecord record; reader->next(record);) {
      why.clear();
      (void)parser.tree(record, why, words);
      ++(why.empty() ? good : bad);
    }
    EXPECT_EQ(good, 300000);
    EXPECT_EQ(bad, 1);
  }
  // Every line opens one: given up, not tried again and again.
  auto made = std::make_unique<Made>(uint64_t{1} << 28, "", "x\",\"y\n");
  auto reader = csv_reader(parts(std::move(made), FileKind::kCsv, 1 << 20));
  const auto drain = [&] {
    for (RawRecord record; reader->next(record);) {
    }
  };
  EXPECT_ERROR(drain(), "too many quotes that are never closed");
  EXPECT_LT(peak_kib() - before, (160 << 10) + kKeptKib);
}

TEST(HostileInput, ManySmallRecordsAreReadAtSpeedAndInLittleMemory) {
  const int64_t before = peak_kib();
  const std::string line = "{\"a\":1}\n";
  auto made = std::make_unique<Made>(uint64_t{1} << 26, "", line);
  auto reader = jsonl_reader(parts(std::move(made), FileKind::kJsonl));
  uint64_t count = 0;
  for (RawRecord record; reader->next(record);) ++count;
  EXPECT_EQ(count, uint64_t{1} << 23);
  EXPECT_LT(peak_kib() - before, (16 << 10) + kKeptKib);
}

}  // namespace
}  // namespace decant
