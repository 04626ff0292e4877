// What a recipe's paths stand for: files, each once, in one order on every machine.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "data_pipeline/source_config.h"

namespace decant {

struct InputFile {
  std::filesystem::path path;  // "-" is standard input
  std::string name;            // relative to the recipe's folder where it lies under it, with '/'
  std::shared_ptr<const SourceConfig> source = std::make_shared<const SourceConfig>();  // how to read it
  size_t source_index = 0;

  bool is_standard_input() const { return path == "-"; }
};

// Files, folders (every file below whose name says that it holds records, by path; hidden ones are passed
// over) and globs (by path), relative to `base_folder`, and "-" for standard input; a file that several
// inputs name is read once, at its first place. An input that matches nothing is an Error.
std::vector<InputFile> expand_inputs(const std::vector<std::string>& inputs,
                                     const std::filesystem::path& base_folder);

// The same for sources: file by file, source by source; `source_index` counts them from 0.
std::vector<InputFile> expand_sources(const std::vector<SourceConfig>& sources,
                                      const std::filesystem::path& base_folder);

// The folders that a path or glob names, by path; none is no error.
std::vector<std::filesystem::path> expand_folders(const std::string& pattern,
                                                  const std::filesystem::path& base_folder);

// "a.jsonl.gz" -> ".jsonl": the extension without that of a compression, in lower case.
std::string content_extension(const std::filesystem::path& path);

}  // namespace decant
