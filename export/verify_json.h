// JSON of a release under check: small typed look-ups that name what is missing.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace decant::verifying {

using Tree = nlohmann::json;

Tree parse_tree(const std::string& text, const std::string& where);
Tree read_tree(const std::filesystem::path& path);
// An empty object when the file is not there.
Tree read_tree_if_there(const std::filesystem::path& path);

// Null counts as absent.
bool has(const Tree& tree, const char* key);
int64_t integer(const Tree& tree, const char* key, const std::string& where);
int64_t integer_or(const Tree& tree, const char* key, int64_t otherwise, const std::string& where);
double number_or(const Tree& tree, const char* key, double otherwise, const std::string& where);
bool flag_or(const Tree& tree, const char* key, bool otherwise, const std::string& where);
std::string text_or(const Tree& tree, const char* key, const std::string& otherwise,
                    const std::string& where);

// One id or a list of them under `key`; empty when absent.
std::set<int64_t> ids_of(const Tree& tree, const char* key, const std::string& where);

// The tokens of tokenizer.json by id: its vocabulary and its added tokens.
struct PlainVocabulary {
  std::vector<std::string> tokens;  // empty where an id has none
  std::set<int64_t> added, special;
  std::vector<std::string> merges;  // "a b", a space within a part as the byte-level alphabet writes it
  std::optional<int64_t> id_of(const std::string& token) const;
};
PlainVocabulary read_plain_vocabulary(const Tree& tokenizer, const std::string& where);

// The bytes that ids stand for under byte-level BPE: ordinary tokens through the alphabet of GPT-2, added
// ones as they are.
std::string plain_decode(const std::vector<std::string>& tokens, const std::set<int64_t>& added,
                         const std::vector<int64_t>& ids);

// A token that tokenizer_config.json names: a text, or an object with its content. Empty when absent.
std::string named_token(const Tree& config, const char* key);

}  // namespace decant::verifying
