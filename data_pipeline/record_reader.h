// Files to raw records, one after the other, in the order of the file and in bounded memory: at most one
// record (max_record_bytes of the source) and a few buffers of the file are held, whatever the file.
//
//   CorpusReader reader(expand_inputs({"corpus"}, folder));
//   RecordParser parser;                               // one a thread
//   for (RawRecord raw; reader.next(raw);) {
//     ParsedRecord parsed = parser.parse(raw);         // conversations, or a reason for the quarantine
//   }
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data_pipeline/conversation.h"
#include "data_pipeline/inputs.h"

namespace decant {

struct FileFormat;  // how the records of one file are parsed (record_format.h)

struct RawRecord {
  // `byte_offset` counts in the text that is read: the file's own bytes where it is plain UTF-8, else the
  // bytes after decompression and conversion to UTF-8. `line` is that of the record's first byte.
  Source source;
  std::string bytes;          // of a JSON line, of an element of a JSON array, of a CSV row, of a text
  uint64_t size = 0;          // of the whole record; more than bytes.size() where it was too large to keep
  bool unterminated = false;  // the file ended before the record did, or could be seen to
  std::string reason, text;   // set when the reader can tell that the record is bad: ParsedRecord's
  std::shared_ptr<const FileFormat> format;  // never null
  size_t source_index = 0;                   // of the InputFile
};

class RecordReader {
 public:
  virtual ~RecordReader() = default;
  // The next record, or false at the end of the file. What `record` held is overwritten, its memory reused.
  // Error (with the file's name) for what makes the rest of the file unreadable: it cannot be opened or
  // read, a compressed stream that is cut off, corrupt or a bomb.
  virtual bool next(RawRecord& record) = 0;
};

// Opens one file. kParquet needs a build with DECANT_PARQUET.
std::unique_ptr<RecordReader> open_records(const InputFile& file);

// All files, one after the other; each is opened when it is its turn.
class CorpusReader : public RecordReader {
 public:
  explicit CorpusReader(std::vector<InputFile> files) : files_(std::move(files)) {}
  bool next(RawRecord& record) override;

 private:
  std::vector<InputFile> files_;
  size_t next_file_ = 0;
  std::unique_ptr<RecordReader> reader_;
};

}  // namespace decant
