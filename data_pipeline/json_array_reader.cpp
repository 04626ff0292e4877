#include <algorithm>

#include "core/error.h"
#include "data_pipeline/file_reader.h"

namespace decant {

namespace {

constexpr size_t kMaxOpen = 4096;  // brackets whose kind is kept; no record nests so deep
constexpr size_t kMaxKeyBytes = 4096;

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

class JsonArrayReader : public FileReader {
 public:
  using FileReader::FileReader;

  bool next(RawRecord& record) override {
    if (state_ == State::kStart) open_array();
    if (state_ == State::kEnd) return false;
    for (bool comma = false;;) {
      const char c = next_visible();
      begin(record);
      if (c == '\0') return at_end_of_file(record);
      if (c == ']') {
        skip(1);
        state_ = State::kEnd;
        const bool loose_comma = state_before_ == Before::kComma || comma;
        if (loose_comma) return bad(record, "no element follows a comma");
        return after_array(record);
      }
      if (c == ',') {
        skip(1);
        const bool expected = state_before_ == Before::kElement;
        state_before_ = Before::kComma;
        if (!expected) return bad(record, "no element stands before a comma");
        continue;
      }
      const bool expected = state_before_ != Before::kElement;
      const bool closed = element(record);
      state_before_ = Before::kElement;
      if (!expected && record.reason.empty()) fault(record, "no comma stands before the element");
      record.unterminated = !closed;
      if (!closed) state_ = State::kEnd;
      if (record.reason.empty() && closed && broken_) fault(record, "its brackets do not match");
      finish(record);
      return true;
    }
  }

 private:
  enum class State { kStart, kElements, kEnd };
  enum class Before { kNothing, kElement, kComma };

  // The next byte that is not white space, or NUL at the end (a NUL of the file is an element of its own).
  char next_visible() {
    for (;;) {
      const std::string_view window = text_.window();
      if (window.empty()) return '\0';
      size_t i = 0;
      while (i < window.size() && is_space(window[i])) ++i;
      skip(i);
      if (i == window.size()) continue;
      const char c = window[i];
      return c == '\0' ? '\x01' : c;
    }
  }

  static void fault(RawRecord& record, const char* text) {
    record.reason = "invalid_json";
    record.text = text;
  }
  bool bad(RawRecord& record, const char* text) {
    fault(record, text);
    finish(record);
    return true;
  }

  bool at_end_of_file(RawRecord& record) {
    state_ = State::kEnd;
    record.reason = "truncated";
    record.text = "the file ends before its list does";
    finish(record);
    return true;
  }

  // What follows the list: the rest of an object, or nothing.
  bool after_array(RawRecord& record) {
    if (!format_->source->records.empty()) return false;
    if (next_visible() == '\0') return false;
    begin(record);
    for (std::string_view window = text_.window(); !window.empty(); window = text_.window())
      take(record, window.size());
    return bad(record, "other text follows the list");
  }

  void open_array() {
    state_ = State::kElements;
    const std::string& key = format_->source->records;
    const char c = next_visible();
    if (key.empty()) {
      check(c == '[', name_, ": expected a JSON list, found ", c == '{' ? "an object" : "something else",
            c == '{' ? "; is it JSON lines (kind: jsonl), or is one of its members the list (records: KEY)?"
                     : "");
      skip(1);
      return;
    }
    check(c == '{', name_, ": expected a JSON object with the member '", key, "'");
    skip(1);
    for (;;) {
      char at = next_visible();
      if (at == ',') {
        skip(1);
        at = next_visible();
      }
      check(at == '"', name_, ": has no member '", key, "'");
      RawRecord name;
      element(name);
      check(name.size <= kMaxKeyBytes && next_visible() == ':', name_, ": is not a JSON object");
      skip(1);
      JsonTree tree;
      const bool found = tree.parse(name.bytes, 0) == JsonFault::kNone && tree.root().text() == key;
      const char value = next_visible();
      if (found) {
        check(value == '[', name_, ": its member '", key, "' is not a list");
        skip(1);
        return;
      }
      check(value != '\0', name_, ": has no member '", key, "'");
      RawRecord passed_over;  // at most max_record_bytes of it are kept
      element(passed_over);
    }
  }

  // Moves over one element into `record`; false when the file ends in it. Brackets that do not match set
  // broken_ and end the element where a bracket of the outer list can be seen.
  bool element(RawRecord& record) {
    open_.clear();
    deeper_ = 0;
    broken_ = false;
    bool in_string = false, escaped = false;
    for (;;) {
      const std::string_view window = text_.window();
      if (window.empty()) return !in_string && open_.empty() && deeper_ == 0;
      size_t i = 0;
      for (; i < window.size(); ++i) {
        const char c = window[i];
        if (in_string) {
          if (escaped) {
            escaped = false;
          } else if (c == '\\') {
            escaped = true;
          } else if (c == '"') {
            in_string = false;
            if (open_.empty()) {
              take(record, i + 1);
              return true;
            }
          } else if (c == '\n') {  // JSON has none inside a string: the closing quote is missing
            in_string = false;
            broken_ = true;
          } else {
            i += plain_run(window.substr(i)) - 1;
          }
          continue;
        }
        switch (c) {
          case '"':
            in_string = true;
            break;
          case '{':
          case '[':
            if (open_.size() < kMaxOpen)
              open_ += c;
            else
              ++deeper_;
            break;
          case '}':
          case ']':
            if (deeper_ > 0) {
              --deeper_;
              break;
            }
            if (close(c)) break;
            broken_ = !open_.empty();
            take(record, i);  // the outer list's own bracket
            return true;
          case ',':
            if (!open_.empty()) break;
            take(record, i);
            return true;
          default:
            break;
        }
        const bool closed = (c == '}' || c == ']') && open_.empty();
        if (closed) {
          take(record, i + 1);
          return true;
        }
      }
      take(record, i);
    }
  }

  // False when the bracket closes nothing of the element.
  bool close(char c) {
    const char opening = c == '}' ? '{' : '[';
    const size_t at = open_.rfind(opening);
    if (at == std::string::npos) {
      if (c == ']') return false;
      broken_ = true;
      return true;
    }
    broken_ = broken_ || at + 1 != open_.size();
    open_.resize(at);
    return true;
  }

  // Bytes of a string up to the next that matters, at least one.
  static size_t plain_run(std::string_view text) {
    size_t i = 1;
    while (i < text.size() && text[i] != '"' && text[i] != '\\' && text[i] != '\n') ++i;
    return i;
  }

  State state_ = State::kStart;
  Before state_before_ = Before::kNothing;
  bool broken_ = false;
  std::string open_;
  uint64_t deeper_ = 0;
};

}  // namespace

std::unique_ptr<RecordReader> json_array_reader(FileParts parts) {
  return std::make_unique<JsonArrayReader>(std::move(parts));
}

}  // namespace decant
