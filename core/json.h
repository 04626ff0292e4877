// JSON from outside, read strictly (RFC 8259): UTF-8, no duplicate keys, bounded nesting. Key order is kept,
// so that what is written back differs only where it was changed.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace decant {

using Json = nlohmann::ordered_json;

// Error with `where`, the byte offset and what is wrong.
Json parse_json(std::string_view text, const std::string& where);
Json read_json(const std::filesystem::path& path);

// Writes with two spaces of indentation and a final newline, atomically.
void write_json(const std::filesystem::path& path, const Json& json);

}  // namespace decant
