// What the readers of single files share; one .cpp for each kind of file.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "data_pipeline/record_format.h"
#include "data_pipeline/record_reader.h"
#include "data_pipeline/text_input.h"

namespace decant {

class FileReader : public RecordReader {
 public:
  FileReader(std::string name, TextInput text, std::shared_ptr<const FileFormat> format, size_t source_index)
      : name_(std::move(name)),
        text_(std::move(text)),
        format_(std::move(format)),
        source_index_(source_index) {}

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
  // Whole or too large; leaves room for the JSON parser, which reads beyond the end.
  void finish(RawRecord& record);
  uint64_t limit() const { return static_cast<uint64_t>(format_->source->max_record_bytes); }

  std::string name_;
  TextInput text_;
  std::shared_ptr<const FileFormat> format_;
  size_t source_index_;
  uint64_t line_ = 1;  // of the next byte
};

// Bytes that may be read, but mean nothing, after a record's.
inline constexpr size_t kRecordPadding = 64;

// Lines end in LF or CR LF; blank lines are passed over.
std::unique_ptr<RecordReader> jsonl_reader(std::string name, TextInput text,
                                           std::shared_ptr<const FileFormat> format, size_t source_index);

}  // namespace decant
