#include <cstring>

#include "core/error.h"
#include "data_pipeline/file_reader.h"

namespace decant {

namespace {

bool blank(std::string_view line) { return line.find_first_not_of(" \t\r") == std::string_view::npos; }

class JsonlReader : public FileReader {
 public:
  using FileReader::FileReader;

  bool next(RawRecord& record) override {
    for (;;) {
      begin(record);
      bool ended = false, any = false, visible = false;
      while (!ended) {
        const std::string_view window = text_.window();
        if (window.empty()) break;
        any = true;
        const void* found = std::memchr(window.data(), '\n', window.size());
        ended = found != nullptr;
        const size_t size =
            ended ? static_cast<size_t>(static_cast<const char*>(found) - window.data()) : window.size();
        const std::string_view part = window.substr(0, size);
        visible = visible || !blank(part);
        add(record, part);
        text_.skip(size + (ended ? 1 : 0));
      }
      if (!any) return false;
      if (ended) ++line_;
      if (!visible) continue;
      if (ended && record.bytes.size() == record.size && record.bytes.ends_with('\r')) {
        record.bytes.pop_back();
        --record.size;
      }
      record.unterminated = !ended;
      finish(record);
      return true;
    }
  }
};

}  // namespace

std::unique_ptr<RecordReader> jsonl_reader(FileParts parts) {
  return std::make_unique<JsonlReader>(std::move(parts));
}

}  // namespace decant
