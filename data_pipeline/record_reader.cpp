#include "data_pipeline/record_reader.h"

#include "core/error.h"
#include "data_pipeline/compressed_stream.h"
#include "data_pipeline/file_reader.h"

namespace decant {

void FileReader::finish(RawRecord& record) {
  if (record.size > limit()) {
    record.bytes.clear();
    record.reason = "too_large";
    record.text = concat("a record of ", record.size, " bytes, at most ", limit());
  }
  if (record.bytes.capacity() < record.bytes.size() + kRecordPadding)
    record.bytes.reserve(record.bytes.size() + kRecordPadding);
}

std::unique_ptr<RecordReader> open_records(const InputFile& file) {
  const SourceConfig& source = *file.source;
  auto format = std::make_shared<FileFormat>();
  format->source = file.source;
  auto bytes = open_bytes(file.path, file.name, {source.max_expansion, source.max_decoded_bytes});
  return jsonl_reader(file.name, TextInput(std::move(bytes)), std::move(format), file.source_index);
}

bool CorpusReader::next(RawRecord& record) {
  for (;;) {
    if (reader_ && reader_->next(record)) return true;
    if (next_file_ == files_.size()) return false;
    reader_ = open_records(files_[next_file_++]);
  }
}

}  // namespace decant
