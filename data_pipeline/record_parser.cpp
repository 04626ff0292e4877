#include "data_pipeline/record_parser.h"

#include <simdjson.h>

#include "core/error.h"
#include "data_pipeline/csv_row.h"
#include "data_pipeline/json_tree.h"
#include "data_pipeline/record_form.h"
#include "data_pipeline/record_format.h"

namespace decant {

struct RecordParser::Buffers {
  JsonTree tree;
  NestedJson nested;
  std::vector<std::string_view> fields;
  std::string unquoted;
  std::vector<std::string> text_column = {"text"};
};

RecordParser::RecordParser() : buffers_(std::make_unique<Buffers>()) {}
RecordParser::~RecordParser() = default;
RecordParser::RecordParser(RecordParser&&) noexcept = default;
RecordParser& RecordParser::operator=(RecordParser&&) noexcept = default;

bool is_utf8(std::string_view text) { return simdjson::validate_utf8(text.data(), text.size()); }

namespace {

struct Fault {
  const char* reason = nullptr;
  std::string text;
};

Fault json_fault(JsonFault fault, bool unterminated) {
  switch (fault) {
    case JsonFault::kNone:
      return {};
    case JsonFault::kUtf8:
      return {"invalid_utf8", fault_text(fault)};
    case JsonFault::kDuplicateKey:
    case JsonFault::kTooManyValues:
      return {"bad_record", fault_text(fault)};
    case JsonFault::kInvalid:
      if (unterminated) return {"truncated", "the file ends in the middle of a record"};
      break;
    default:
      break;
  }
  return {"invalid_json", fault_text(fault)};
}

}  // namespace

JsonValue RecordParser::tree(const RawRecord& record, std::string& reason, std::string& text) {
  const auto quarantine = [&](const char* why, std::string words) {
    reason = why;
    text = std::move(words);
    return JsonValue();
  };
  Buffers& b = *buffers_;
  const FileFormat& format = *record.format;
  if (!record.reason.empty()) return quarantine(record.reason.c_str(), record.text);
  if (record.bytes.find('\0') != std::string::npos)
    return quarantine("nul_byte", "the record holds a NUL byte");
  if (format.kind == FileKind::kText || format.kind == FileKind::kCsv) {
    if (!is_utf8(record.bytes)) return quarantine("invalid_utf8", "the record is not UTF-8");
    if (format.kind == FileKind::kText) {
      b.fields = {record.bytes};
      b.tree.set_row(b.text_column, b.fields);
      return b.tree.root();
    }
    if (!split_csv_row(record.bytes, format.delimiter, b.fields, b.unquoted)) {
      if (record.unterminated) return quarantine("truncated", "the file ends inside a quoted field");
      return quarantine("bad_csv", "a quote stands where a row may have none, or is not closed");
    }
    if (b.fields.size() != format.columns.size())
      return quarantine("bad_csv", concat("the row has ", b.fields.size(), " fields, expected ",
                                          format.columns.size(), " as in the header"));
    b.tree.set_row(format.columns, b.fields);
    return b.tree.root();
  }
  JsonFault found = b.tree.parse(record.bytes, record.bytes.capacity());
  // simdjson may see a token that makes no sense before it has seen all of the bytes.
  if (found == JsonFault::kInvalid && !record.unterminated && !is_utf8(record.bytes))
    found = JsonFault::kUtf8;
  Fault fault = json_fault(found, record.unterminated);
  if (fault.reason != nullptr) return quarantine(fault.reason, std::move(fault.text));
  return b.tree.root();
}

ParsedRecord RecordParser::parse(const RawRecord& record) {
  ParsedRecord parsed;
  const JsonValue root = tree(record, parsed.reason, parsed.text);
  if (!root) return parsed;
  try {
    read_form(record.format->format, root, *record.format->source, buffers_->nested, parsed.conversations);
  } catch (const Error& e) {
    parsed.conversations.clear();
    parsed.reason = "bad_record";
    parsed.text = e.what();
    return parsed;
  }
  for (Conversation& c : parsed.conversations) c.source = record.source;
  return parsed;
}

}  // namespace decant
