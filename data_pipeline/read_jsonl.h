// JSONL files to raw records: where each begins and what is wrong with it, nothing thrown away.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/file.h"
#include "data_pipeline/conversation.h"

namespace decant {

struct InputFile {
  std::filesystem::path path;
  std::string name;  // relative to the recipe's folder where it lies under it, with '/'
};

// Files, folders (every *.jsonl below, by path) and globs (by path), relative to `base_folder`; a file that
// several inputs name is read once, at its first place. An input that matches nothing is an Error.
std::vector<InputFile> expand_inputs(const std::vector<std::string>& inputs,
                                     const std::filesystem::path& base_folder);

struct RawRecord {
  Source source;
  std::string_view bytes;     // of the line, without its end; lives as long as the file
  bool unterminated = false;  // the last line of a file that does not end in LF
};

// Lines end in LF or CR LF; a byte-order mark at the start of the file and blank lines are passed over.
// The next record at or after `at`, which is moved behind its line; `line` counts the lines before. Nothing
// at the end of the file.
std::optional<RawRecord> next_line(std::string_view file, const std::string& name, uint64_t& at,
                                   uint64_t& line);
std::vector<RawRecord> split_lines(std::string_view file, const std::string& name);

// What parsing a record gave: `reason` is empty, or a code for the quarantine with a text that holds none of
// the record's: too_large (over 16 MiB), nul_byte, invalid_utf8, invalid_json, truncated (invalid JSON in a
// last line without LF), bad_record.
struct ParsedRecord {
  Conversation conversation;
  std::string reason, text;
};
ParsedRecord parse_record(const RawRecord& record);

bool is_utf8(std::string_view text);

}  // namespace decant
