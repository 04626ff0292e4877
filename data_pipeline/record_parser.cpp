#include "data_pipeline/record_parser.h"

#include <simdjson.h>

#include "core/error.h"

namespace decant {

struct RecordParser::Buffers {};

RecordParser::RecordParser() : buffers_(std::make_unique<Buffers>()) {}
RecordParser::~RecordParser() = default;
RecordParser::RecordParser(RecordParser&&) noexcept = default;
RecordParser& RecordParser::operator=(RecordParser&&) noexcept = default;

bool is_utf8(std::string_view text) { return simdjson::validate_utf8(text.data(), text.size()); }

ParsedRecord RecordParser::parse(const RawRecord& record) {
  ParsedRecord parsed;
  const auto quarantine = [&](const char* reason, std::string text) {
    parsed.reason = reason;
    parsed.text = std::move(text);
    return parsed;
  };
  if (!record.reason.empty()) return quarantine(record.reason.c_str(), record.text);
  if (record.bytes.find('\0') != std::string::npos)
    return quarantine("nul_byte", "the line holds a NUL byte");
  if (!is_utf8(record.bytes)) return quarantine("invalid_utf8", "the line is not UTF-8");
  Json json;
  try {
    json = parse_json(record.bytes, "record");
  } catch (const Error&) {  // its text may quote the record
    if (record.unterminated) return quarantine("truncated", "the last line ends in the middle of a record");
    return quarantine("invalid_json", "the line is not valid JSON");
  }
  try {
    parsed.conversations.push_back(parse_conversation(json));
  } catch (const Error& e) {
    return quarantine("bad_record", e.what());
  }
  parsed.conversations.back().source = record.source;
  return parsed;
}

}  // namespace decant
