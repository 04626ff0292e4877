#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "data_pipeline/csv_row.h"
#include "data_pipeline/file_reader.h"

namespace decant {

namespace {

constexpr size_t kMaxColumns = 4096;
constexpr uint64_t kFreeRescan = uint64_t{64} << 20;

bool blank(std::string_view row) { return row.find_first_not_of("\r") == std::string_view::npos; }

class CsvReader : public FileReader {
 public:
  explicit CsvReader(FileParts parts) : FileReader(std::move(parts)) {
    if (!format_->columns.empty()) return;
    RawRecord header;
    check(read_row(header), name_, ": is empty: expected a CSV header row");
    std::vector<std::string_view> fields;
    std::string unquoted;
    const bool row =
        header.reason.empty() && split_csv_row(header.bytes, format_->delimiter, fields, unquoted);
    check(row, name_, ": its first row is not a CSV header row");
    check(fields.size() <= kMaxColumns, name_, ": its header has ", fields.size(), " columns, at most ",
          kMaxColumns, " are taken");
    auto with_columns = std::make_shared<FileFormat>(*format_);
    with_columns->columns.assign(fields.begin(), fields.end());
    auto sorted = with_columns->columns;
    std::sort(sorted.begin(), sorted.end());
    check(std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end(), name_,
          ": a column stands twice in its header row");
    format_ = std::move(with_columns);
  }

  bool next(RawRecord& record) override { return read_row(record); }

 private:
  // The text that comes, as far as a row that could not be read was put back.
  std::string_view window() {
    if (back_at_ < back_.size()) return std::string_view(back_).substr(back_at_);
    return text_.window();
  }
  uint64_t offset() const { return text_.offset() - (back_.size() - back_at_); }
  void skip_window(size_t bytes) {
    if (back_at_ < back_.size()) {
      back_at_ += bytes;
      if (back_at_ == back_.size()) {
        back_.clear();
        back_at_ = 0;
      }
    } else {
      text_.skip(bytes);
    }
  }

  bool read_row(RawRecord& record) {
    for (;;) {
      begin(record);
      record.source.byte_offset = offset();
      const uint64_t first_line = line_;
      const Ended ended = scan(record);
      if (ended == Ended::kNothing) return false;
      if (ended == Ended::kOpenQuote) {
        put_back_after_first_line(record, first_line);
        return true;
      }
      if (ended == Ended::kRow && record.size == record.bytes.size() && record.bytes.ends_with('\r')) {
        record.bytes.pop_back();
        --record.size;
      }
      if (record.size == record.bytes.size() && blank(record.bytes)) continue;
      record.unterminated = ended == Ended::kFile;
      finish(record);
      return true;
    }
  }

  enum class Ended { kNothing, kRow, kFile, kOpenQuote };

  // Up to the end of a row: a line feed outside of quotes. What is quoted begins right behind a delimiter.
  Ended scan(RawRecord& record) {
    const char delimiter = format_->delimiter;
    bool any = false, quoted = false, at_start = true, after_quote = false;
    for (;;) {
      const std::string_view text = window();
      if (text.empty()) {
        if (!any) return Ended::kNothing;
        return quoted && !after_quote ? Ended::kOpenQuote : Ended::kFile;
      }
      any = true;
      for (size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (quoted && !after_quote) {
          if (c == '"') {
            after_quote = true;
          } else {
            const void* quote = std::memchr(text.data() + i, '"', text.size() - i);
            const size_t end = quote == nullptr
                                   ? text.size()
                                   : static_cast<size_t>(static_cast<const char*>(quote) - text.data());
            line_ += static_cast<uint64_t>(std::count(text.begin() + static_cast<std::ptrdiff_t>(i),
                                                      text.begin() + static_cast<std::ptrdiff_t>(end), '\n'));
            i = end - 1;
          }
          continue;
        }
        if (after_quote && c == '"') {
          after_quote = false;  // a doubled quote is one of the text
          continue;
        }
        if (c == '\n') {
          ++line_;
          add(record, text.substr(0, i));
          skip_window(i + 1);
          return Ended::kRow;
        }
        if (after_quote) quoted = after_quote = false;
        quoted = at_start && c == '"';
        at_start = c == delimiter;
      }
      add(record, text);
      skip_window(text.size());
      // Beyond the limit a row in open quotes is taken for a quote that is never closed.
      if (record.size > limit() && quoted && !after_quote) {
        if (record.size == record.bytes.size() + lost_.size()) return Ended::kOpenQuote;
        quoted = false;  // too much is gone to be read again: on at the next line
      }
    }
  }

  // The first line is the bad record; what was swallowed behind it is read again.
  void put_back_after_first_line(RawRecord& record, uint64_t first_line) {
    const bool whole = record.size == record.bytes.size();
    if (!whole) record.bytes += lost_;
    const size_t end = record.bytes.find('\n');
    record.unterminated = whole && end == std::string::npos;
    if (end != std::string::npos) {
      std::string rest = record.bytes.substr(end + 1);
      rescanned_ += rest.size();
      check(rescanned_ <= kFreeRescan + 4 * text_.offset(), name_, ": line ", first_line,
            ": too many quotes that are never closed: is it CSV, and is its delimiter right?");
      rest.append(back_, back_at_);
      back_ = std::move(rest);
      back_at_ = 0;
      line_ = first_line + 1;
      record.bytes.resize(end);
    }
    lost_.clear();
    record.size = record.bytes.size();
    record.reason = "bad_csv";
    record.text = "a quoted field is not closed";
    finish(record);
  }

  // As FileReader's, but the window in which the row became too large is kept, so that it can be put back.
  void add(RawRecord& record, std::string_view bytes) {
    const uint64_t before = record.size;
    FileReader::add(record, bytes);
    if (record.size > limit() && before <= limit()) lost_ = bytes;
  }

  std::string back_;
  size_t back_at_ = 0;
  std::string lost_;
  uint64_t rescanned_ = 0;
};

}  // namespace

std::unique_ptr<RecordReader> csv_reader(FileParts parts) {
  return std::make_unique<CsvReader>(std::move(parts));
}

}  // namespace decant
