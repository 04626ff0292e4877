// A raw record to conversations: the only way in.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data_pipeline/conversation.h"
#include "data_pipeline/json_tree.h"
#include "data_pipeline/record_reader.h"

namespace decant {

// What parsing a record gave. `reason` is empty, or a code for the quarantine with a text that holds none of
// the record's: too_large (over max_record_bytes), nul_byte, invalid_utf8 (or not of the source's encoding),
// invalid_json, truncated (the file ends in the middle of the record), bad_csv, bad_record (valid, but not of
// the file's format).
struct ParsedRecord {
  // One, or two for a preference pair (chosen, then rejected); none when there is a reason.
  std::vector<Conversation> conversations;
  std::string reason, text;
};

// Holds the parser's buffers: make one a thread and keep it.
class RecordParser {
 public:
  RecordParser();
  ~RecordParser();
  RecordParser(RecordParser&&) noexcept;
  RecordParser& operator=(RecordParser&&) noexcept;
  ParsedRecord parse(const RawRecord& record);
  // Without its format: the record as JSON (a CSV row as an object of texts), or absent, with the reason.
  // Valid until the next call, and as long as the record.
  JsonValue tree(const RawRecord& record, std::string& reason, std::string& text);

 private:
  struct Buffers;
  std::unique_ptr<Buffers> buffers_;
};

bool is_utf8(std::string_view text);

}  // namespace decant
