#include <cstring>

#include "core/error.h"
#include "data_pipeline/file_reader.h"

namespace decant {

namespace {

bool blank(std::string_view line) { return line.find_first_not_of(" \t\r\n") == std::string_view::npos; }

class TextReader : public FileReader {
 public:
  using FileReader::FileReader;

  bool next(RawRecord& record) override {
    const TextUnit unit = format_->source->text_unit;
    for (;;) {
      bool visible = false, any = false;
      begin(record);
      while (read_line()) {
        const bool empty = !line_visible_;
        if (!any && empty && unit != TextUnit::kFile) {  // blank lines before a record are none of it
          drop_line(record);
          continue;
        }
        if (any && empty && unit == TextUnit::kBlock) break;
        any = true;
        visible = visible || !empty;
        keep_line(record);
        if (unit == TextUnit::kLine) break;
      }
      if (!any) return false;
      if (!visible) continue;
      while (record.size == record.bytes.size() && !record.bytes.empty() &&
             (record.bytes.back() == '\n' || record.bytes.back() == '\r')) {
        record.bytes.pop_back();
        --record.size;
      }
      finish(record);
      return true;
    }
  }

 private:
  // The next line, with its end, up to what a record may have; false at the end of the file.
  bool read_line() {
    if (have_line_) return true;
    line_bytes_.clear();
    line_size_ = 0;
    line_visible_ = false;
    for (;;) {
      const std::string_view window = text_.window();
      if (window.empty()) break;
      const void* found = std::memchr(window.data(), '\n', window.size());
      const size_t size = found == nullptr
                              ? window.size()
                              : static_cast<size_t>(static_cast<const char*>(found) - window.data()) + 1;
      const std::string_view part = window.substr(0, size);
      line_visible_ = line_visible_ || !blank(part);
      line_size_ += size;
      if (line_size_ <= limit()) line_bytes_ += part;
      text_.skip(size);
      if (found != nullptr) break;
    }
    have_line_ = line_size_ > 0;
    return have_line_;
  }
  void keep_line(RawRecord& record) {
    add(record, line_bytes_);
    record.size += line_size_ - line_bytes_.size();
    have_line_ = false;
    ++line_;
  }
  void drop_line(RawRecord& record) {
    have_line_ = false;
    ++line_;
    begin(record);
  }

  std::string line_bytes_;
  uint64_t line_size_ = 0;
  bool have_line_ = false, line_visible_ = false;
};

}  // namespace

std::unique_ptr<RecordReader> text_reader(FileParts parts) {
  return std::make_unique<TextReader>(std::move(parts));
}

}  // namespace decant
