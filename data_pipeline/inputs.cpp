#include "data_pipeline/inputs.h"

#include <glob.h>

#include <algorithm>
#include <set>
#include <string_view>

#include "core/error.h"

namespace decant {
namespace fs = std::filesystem;

namespace {

// glob(3) on base/pattern, with the characters of the base taken as they are.
std::vector<fs::path> matches(const fs::path& base, const std::string& pattern) {
  std::string text;
  if (!fs::path(pattern).is_absolute()) {
    for (const char c : base.string()) {
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

bool holds_records(const fs::path& path, FileKind kind) {
  const std::string extension = content_extension(path);
  const auto is = [&](std::initializer_list<const char*> names) {
    return std::any_of(names.begin(), names.end(), [&](const char* name) { return extension == name; });
  };
  switch (kind) {
    case FileKind::kText:
      return is({".txt", ".md", ".text"});
    case FileKind::kCsv:
      return is({".csv", ".tsv"});
    case FileKind::kJson:
      return is({".json"});
    case FileKind::kParquet:
      return is({".parquet"});
    default:
      return is({".jsonl", ".ndjson"});
  }
}

std::vector<fs::path> files_below(const fs::path& folder, FileKind kind) {
  std::vector<fs::path> paths;
  auto entry = fs::recursive_directory_iterator(folder, fs::directory_options::follow_directory_symlink);
  for (; entry != fs::recursive_directory_iterator(); ++entry) {
    if (entry->path().filename().string().starts_with('.')) {
      if (entry->is_directory()) entry.disable_recursion_pending();
    } else if (entry->is_regular_file() && holds_records(entry->path(), kind)) {
      paths.push_back(entry->path());
    }
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

std::string shown_name(const fs::path& path, const fs::path& base) {
  const fs::path relative =
      fs::absolute(path).lexically_normal().lexically_relative(fs::absolute(base).lexically_normal());
  const bool under = !relative.empty() && *relative.begin() != "..";
  return (under ? relative : path).generic_string();
}

std::vector<fs::path> files_of(const std::string& input, const fs::path& base, FileKind kind) {
  if (input == "-") return {fs::path(input)};
  const fs::path path = base / input;  // an absolute input stands for itself
  std::error_code ignored;
  if (fs::is_regular_file(path, ignored)) return {path};
  if (fs::is_directory(path, ignored)) return files_below(path, kind);
  std::vector<fs::path> paths;
  if (input.find_first_of("*?[") == std::string::npos) return paths;
  for (const fs::path& match : matches(base, input)) {
    if (fs::is_directory(match, ignored)) {
      for (auto& file : files_below(match, kind)) paths.push_back(std::move(file));
    } else if (fs::is_regular_file(match, ignored)) {
      paths.push_back(match);
    }
  }
  return paths;
}

const char* folder_pattern(FileKind kind) {
  switch (kind) {
    case FileKind::kText:
      return "*.txt or *.md";
    case FileKind::kCsv:
      return "*.csv or *.tsv";
    case FileKind::kJson:
      return "*.json";
    case FileKind::kParquet:
      return "*.parquet";
    default:
      return "*.jsonl";
  }
}

}  // namespace

std::string content_extension(const fs::path& path) {
  const auto lower = [](std::string text) {
    for (char& c : text)
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    return text;
  };
  const std::string extension = lower(path.extension().string());
  if (extension == ".gz" || extension == ".zst") return lower(path.stem().extension().string());
  return extension;
}

std::vector<InputFile> expand_sources(const std::vector<SourceConfig>& sources, const fs::path& base_folder) {
  std::vector<InputFile> files;
  std::set<std::string> seen;
  const fs::path base = base_folder.empty() ? fs::path(".") : base_folder;
  for (size_t i = 0; i < sources.size(); ++i) {
    const auto source = std::make_shared<const SourceConfig>(sources[i]);
    for (const std::string& input : source->paths) {
      const auto paths = files_of(input, base, source->kind);
      check(!paths.empty(), "corpus: the input '", input, "' matches no file (looked for ",
            (base / input).string(), "; a folder must hold ", folder_pattern(source->kind),
            " files, also as .gz or .zst)");
      for (const fs::path& file : paths) {
        const bool standard_input = file == "-";
        if (seen.insert(standard_input ? "-" : fs::weakly_canonical(file).string()).second)
          files.push_back({file, standard_input ? "-" : shown_name(file, base), source, i});
      }
    }
  }
  return files;
}

std::vector<fs::path> expand_folders(const std::string& pattern, const fs::path& base_folder) {
  const fs::path base = base_folder.empty() ? fs::path(".") : base_folder;
  std::vector<fs::path> folders;
  std::error_code ignored;
  if (fs::is_directory(base / pattern, ignored)) return {base / pattern};
  if (pattern.find_first_of("*?[") == std::string::npos) return folders;
  for (const fs::path& match : matches(base, pattern))
    if (fs::is_directory(match, ignored)) folders.push_back(match);
  return folders;
}

std::vector<InputFile> expand_inputs(const std::vector<std::string>& inputs, const fs::path& base_folder) {
  SourceConfig source;
  source.paths = inputs;
  return expand_sources({source}, base_folder);
}

}  // namespace decant
