#include "data_pipeline/read_jsonl.h"

#include <glob.h>
#include <unicode/utf8.h>

#include <algorithm>
#include <set>

#include "core/error.h"

namespace decant {
namespace fs = std::filesystem;

namespace {

constexpr size_t kMaxRecordBytes = size_t{16} << 20;

// glob(3) on base/pattern, with the characters of the base taken as they are.
std::vector<fs::path> matches(const fs::path& base, const std::string& pattern) {
  std::string text;
  if (!fs::path(pattern).is_absolute()) {
    for (const char c : (base.empty() ? fs::path(".") : base).string()) {
      if (std::string_view("*?[]\\").find(c) != std::string_view::npos) text += '\\';
      text += c;
    }
    text += '/';
  }
  text += pattern;
  glob_t found{};
  std::vector<fs::path> paths;
  if (::glob(text.c_str(), GLOB_NOSORT, nullptr, &found) == 0)
    for (size_t i = 0; i < found.gl_pathc; ++i) paths.emplace_back(found.gl_pathv[i]);
  ::globfree(&found);
  std::sort(paths.begin(), paths.end());
  return paths;
}

std::vector<fs::path> jsonl_below(const fs::path& folder) {
  std::vector<fs::path> paths;
  for (const auto& entry :
       fs::recursive_directory_iterator(folder, fs::directory_options::follow_directory_symlink))
    if (entry.is_regular_file() && entry.path().extension() == ".jsonl") paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  return paths;
}

std::string shown_name(const fs::path& path, const fs::path& base) {
  const fs::path relative =
      fs::absolute(path).lexically_normal().lexically_relative(fs::absolute(base).lexically_normal());
  const bool under = !relative.empty() && *relative.begin() != "..";
  return (under ? relative : path).generic_string();
}

}  // namespace

std::vector<InputFile> expand_inputs(const std::vector<std::string>& inputs, const fs::path& base_folder) {
  std::vector<InputFile> files;
  std::set<std::string> seen;
  const fs::path base = base_folder.empty() ? fs::path(".") : base_folder;
  for (const std::string& input : inputs) {
    const fs::path path = base / input;  // an absolute input stands for itself
    std::vector<fs::path> paths;
    std::error_code ignored;
    if (fs::is_regular_file(path, ignored)) {
      paths.push_back(path);
    } else if (fs::is_directory(path, ignored)) {
      paths = jsonl_below(path);
    } else if (input.find_first_of("*?[") != std::string::npos) {
      for (const fs::path& match : matches(base, input)) {
        if (fs::is_directory(match, ignored)) {
          for (auto& file : jsonl_below(match)) paths.push_back(std::move(file));
        } else if (fs::is_regular_file(match, ignored)) {
          paths.push_back(match);
        }
      }
    }
    check(!paths.empty(), "corpus: the input '", input, "' matches no file (looked for ", path.string(),
          "; a folder must hold *.jsonl files)");
    for (const fs::path& file : paths)
      if (seen.insert(fs::weakly_canonical(file).string()).second)
        files.push_back({file, shown_name(file, base)});
  }
  return files;
}

std::optional<RawRecord> next_line(std::string_view file, const std::string& name, uint64_t& at,
                                   uint64_t& line) {
  if (at == 0 && file.starts_with("\xef\xbb\xbf")) at = 3;
  while (at < file.size()) {
    const uint64_t begin = at;
    const size_t end = std::min(file.find('\n', at), file.size());
    std::string_view bytes = file.substr(at, end - at);
    if (end < file.size() && bytes.ends_with('\r')) bytes.remove_suffix(1);
    ++line;
    at = std::min<uint64_t>(end + 1, file.size());
    if (bytes.find_first_not_of(" \t\r") != std::string_view::npos)
      return RawRecord{{name, begin, line}, bytes, end == file.size()};
  }
  return std::nullopt;
}

std::vector<RawRecord> split_lines(std::string_view file, const std::string& name) {
  std::vector<RawRecord> records;
  uint64_t at = 0, line = 0;
  while (auto record = next_line(file, name, at, line)) records.push_back(*record);
  return records;
}

bool is_utf8(std::string_view text) {
  const auto size = static_cast<int64_t>(text.size());
  for (int64_t i = 0; i < size;) {
    UChar32 c = 0;
    U8_NEXT(text.data(), i, size, c);
    if (c < 0) return false;
  }
  return true;
}

ParsedRecord parse_record(const RawRecord& record) {
  ParsedRecord parsed;
  const auto quarantine = [&](const char* reason, std::string text) {
    parsed.reason = reason;
    parsed.text = std::move(text);
    return parsed;
  };
  if (record.bytes.size() > kMaxRecordBytes)
    return quarantine("too_large",
                      concat("a record of ", record.bytes.size(), " bytes, at most ", kMaxRecordBytes));
  if (record.bytes.find('\0') != std::string_view::npos)
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
    parsed.conversation = parse_conversation(json);
  } catch (const Error& e) {
    return quarantine("bad_record", e.what());
  }
  parsed.conversation.source = record.source;
  return parsed;
}

}  // namespace decant
