#include "data_pipeline/record_reader.h"

#include <algorithm>
#include <deque>

#include "core/error.h"
#include "data_pipeline/compressed_stream.h"
#include "data_pipeline/file_reader.h"
#include "data_pipeline/record_form.h"
#include "data_pipeline/record_parser.h"
#include "data_pipeline/text_encoding.h"

namespace decant {

namespace {

constexpr size_t kDetectRecords = 32;
constexpr uint64_t kDetectBytes = uint64_t{1} << 20;

// The first record whose members say so decides the form of the whole file; those before it wait for it.
class DetectingReader : public RecordReader {
 public:
  explicit DetectingReader(std::unique_ptr<RecordReader> reader) : reader_(std::move(reader)) {}

  bool next(RawRecord& record) override {
    if (!decided_) decide();
    if (waiting_.empty()) {
      if (!reader_->next(record)) return false;
    } else {
      record = std::move(waiting_.front());
      waiting_.pop_front();
    }
    // The reader sets its own format on every record: the same object each time, so ours is made once.
    if (record.format != seen_) {
      seen_ = record.format;
      auto format = std::make_shared<FileFormat>(*seen_);
      format->format = form_;
      format_ = std::move(format);
    }
    record.format = format_;
    return true;
  }

 private:
  void decide() {
    decided_ = true;
    RecordParser parser;
    uint64_t bytes = 0;
    for (size_t i = 0; i < kDetectRecords && bytes <= kDetectBytes; ++i) {
      RawRecord& record = waiting_.emplace_back();
      if (!reader_->next(record)) {
        waiting_.pop_back();
        return;
      }
      bytes += record.bytes.size();
      std::string reason, text;
      const JsonValue root = parser.tree(record, reason, text);
      const RecordFormat form = root ? form_of(root) : RecordFormat::kAuto;
      if (form == RecordFormat::kAuto) continue;
      form_ = form;
      return;
    }
  }

  std::unique_ptr<RecordReader> reader_;
  std::deque<RawRecord> waiting_;
  std::shared_ptr<const FileFormat> seen_, format_;
  RecordFormat form_ = RecordFormat::kMessages;
  bool decided_ = false;
};

FileKind kind_by_name(const std::filesystem::path& path) {
  const std::string extension = content_extension(path);
  if (extension == ".jsonl" || extension == ".ndjson") return FileKind::kJsonl;
  if (extension == ".json") return FileKind::kJson;
  if (extension == ".csv" || extension == ".tsv") return FileKind::kCsv;
  if (extension == ".txt" || extension == ".text" || extension == ".md") return FileKind::kText;
  if (extension == ".parquet") return FileKind::kParquet;
  return FileKind::kAuto;
}

// Of a JSON file (or one whose name says nothing): a list, or lines.
FileKind kind_by_first_byte(TextInput& text, const std::string& name, bool json) {
  const std::string_view window = text.window();
  const size_t first = window.find_first_not_of(" \t\r\n");
  const char c = first == std::string_view::npos ? '\0' : window[first];
  if (c == '[') return FileKind::kJson;
  check(c == '{' || c == '\0' || json, name,
        ": its name does not say what it holds, and it begins neither a JSON list nor a JSON object: set "
        "'kind'");
  return FileKind::kJsonl;
}

}  // namespace

FileReader::FileReader(FileParts parts)
    : name_(std::move(parts.name)),
      text_(std::move(parts.text)),
      format_(std::move(parts.format)),
      source_index_(parts.source_index) {}

std::string_view FileReader::skip(size_t bytes) {
  const std::string_view text = text_.window().substr(0, bytes);
  line_ += static_cast<uint64_t>(std::count(text.begin(), text.end(), '\n'));
  text_.skip(bytes);
  return text;
}

void FileReader::finish(RawRecord& record) {
  if (record.size > limit()) {
    record.bytes.clear();
    record.reason = "too_large";
    record.text = concat("a record of ", record.size, " bytes, at most ", limit());
  }
  if (record.bytes.capacity() < record.bytes.size() + kJsonPadding)
    record.bytes.reserve(record.bytes.size() + kJsonPadding);
}

std::unique_ptr<RecordReader> open_records(const InputFile& file) {
  const SourceConfig& source = *file.source;
  auto format = std::make_shared<FileFormat>();
  format->source = file.source;
  format->columns = source.columns;
  format->delimiter = content_extension(file.path) == ".tsv" ? '\t' : ',';
  if (!source.delimiter.empty()) format->delimiter = source.delimiter[0];
  format->kind = source.kind == FileKind::kAuto ? kind_by_name(file.path) : source.kind;
  format->format = source.format;
  if (source.format == RecordFormat::kAuto && source.fields.names_turns())
    format->format = RecordFormat::kFields;
  std::unique_ptr<RecordReader> reader;
  if (format->kind == FileKind::kParquet) {
#ifdef DECANT_PARQUET
    reader = parquet_reader(file, format);
#else
    fail(file.name,
         ": this build does not read Parquet; build decant with -DDECANT_PARQUET=ON where Apache Arrow's "
         "C++ libraries (libarrow-dev, libparquet-dev) or the Python package pyarrow are installed, or "
         "convert the file to JSON lines");
#endif
  } else {
    DecodedText decoded =
        decode_text(open_bytes(file.path, file.name, {source.max_expansion, source.max_decoded_bytes}),
                    source.encoding, file.name);
    TextInput text(std::move(decoded.stream), decoded.offset);
    const bool json =
        format->kind == FileKind::kJson && source.kind == FileKind::kAuto && source.records.empty();
    if (format->kind == FileKind::kAuto || json) format->kind = kind_by_first_byte(text, file.name, json);
    if (format->kind == FileKind::kText && format->format == RecordFormat::kAuto)
      format->format = RecordFormat::kText;
    FileParts parts{file.name, std::move(text), format, file.source_index};
    switch (format->kind) {
      case FileKind::kJson:
        reader = json_array_reader(std::move(parts));
        break;
      case FileKind::kCsv:
        reader = csv_reader(std::move(parts));
        break;
      case FileKind::kText:
        reader = text_reader(std::move(parts));
        break;
      default:
        reader = jsonl_reader(std::move(parts));
    }
  }
  if (format->format != RecordFormat::kAuto) return reader;
  return std::make_unique<DetectingReader>(std::move(reader));
}

bool CorpusReader::next(RawRecord& record) {
  for (;;) {
    if (reader_ && reader_->next(record)) return true;
    if (next_file_ == files_.size()) return false;
    reader_ = open_records(files_[next_file_++]);
  }
}

}  // namespace decant
