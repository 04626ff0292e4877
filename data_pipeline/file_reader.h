// What the readers of single files share; one .cpp for each kind of file.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "data_pipeline/json_tree.h"
#include "data_pipeline/record_format.h"
#include "data_pipeline/record_reader.h"
#include "data_pipeline/text_input.h"

namespace decant {

struct FileParts;

class FileReader : public RecordReader {
 public:
  explicit FileReader(FileParts parts);

 protected:
  // An empty record that begins at the next byte.
  void begin(RawRecord& record) {
    record.source.file = name_;
    record.source.byte_offset = text_.offset();
    record.source.line = line_;
    record.bytes.clear();
    record.size = 0;
    record.unterminated = false;
    record.reason.clear();
    record.text.clear();
    if (record.format != format_) record.format = format_;
    record.source_index = source_index_;
  }
  // Adds to the record what it still has room for, and counts all.
  void add(RawRecord& record, std::string_view bytes) {
    record.size += bytes.size();
    if (record.size <= limit()) record.bytes.append(bytes);
  }
  // The same for the next bytes of the window; counts lines.
  void take(RawRecord& record, size_t bytes) { add(record, skip(bytes)); }
  std::string_view skip(size_t bytes);
  // Whole or too large; leaves room for the JSON parser, which reads beyond the end.
  void finish(RawRecord& record);
  uint64_t limit() const { return static_cast<uint64_t>(format_->source->max_record_bytes); }

  std::string name_;
  TextInput text_;
  std::shared_ptr<const FileFormat> format_;
  size_t source_index_;
  uint64_t line_ = 1;  // of the next byte
};

struct FileParts {
  std::string name;
  TextInput text;
  std::shared_ptr<const FileFormat> format;
  size_t source_index = 0;
};

// Lines end in LF or CR LF; blank lines are passed over.
std::unique_ptr<RecordReader> jsonl_reader(FileParts parts);

// The elements of an array, one by one; with the source's `records`, of the array that is the member of that
// name of an object. Where commas or brackets are wrong, the element that stands there is bad and the next
// one is found again; a file that is no array at all is an Error.
std::unique_ptr<RecordReader> json_array_reader(FileParts parts);

// Rows of RFC 4180 below a header row (or the source's `columns`); line feeds may stand in quoted fields, and
// rows may end in LF alone. A quote that is never closed makes its first line a bad record, and reading goes
// on below it; an Error when that happens all the time.
std::unique_ptr<RecordReader> csv_reader(FileParts parts);

// A record for each file, block or line that is not blank, as the source's text_unit says.
std::unique_ptr<RecordReader> text_reader(FileParts parts);

// Rows as JSON objects, row group by row group. Only in builds with DECANT_PARQUET.
std::unique_ptr<RecordReader> parquet_reader(const InputFile& file, std::shared_ptr<const FileFormat> format);

}  // namespace decant
