#include "export/verify_json.h"

#include <algorithm>
#include <array>
#include <map>

#include "export/verify_bytes.h"

namespace decant::verifying {

Tree parse_tree(const std::string& text, const std::string& where) {
  Tree tree = Tree::parse(text, nullptr, false);
  expect(!tree.is_discarded(), where, " is not JSON");
  return tree;
}

Tree read_tree(const std::filesystem::path& path) {
  return parse_tree(slurp(path), path.filename().string());
}

Tree read_tree_if_there(const std::filesystem::path& path) {
  return std::filesystem::exists(path) ? read_tree(path) : Tree::object();
}

bool has(const Tree& tree, const char* key) {
  return tree.is_object() && tree.contains(key) && !tree.at(key).is_null();
}

int64_t integer(const Tree& tree, const char* key, const std::string& where) {
  expect(has(tree, key), where, ": '", key, "' is missing");
  expect(tree.at(key).is_number_integer(), where, ": '", key, "' is not an integer");
  return tree.at(key).get<int64_t>();
}

int64_t integer_or(const Tree& tree, const char* key, int64_t otherwise, const std::string& where) {
  return has(tree, key) ? integer(tree, key, where) : otherwise;
}

double number_or(const Tree& tree, const char* key, double otherwise, const std::string& where) {
  if (!has(tree, key)) return otherwise;
  expect(tree.at(key).is_number(), where, ": '", key, "' is not a number");
  return tree.at(key).get<double>();
}

bool flag_or(const Tree& tree, const char* key, bool otherwise, const std::string& where) {
  if (!has(tree, key)) return otherwise;
  expect(tree.at(key).is_boolean(), where, ": '", key, "' is neither true nor false");
  return tree.at(key).get<bool>();
}

std::string text_or(const Tree& tree, const char* key, const std::string& otherwise,
                    const std::string& where) {
  if (!has(tree, key)) return otherwise;
  expect(tree.at(key).is_string(), where, ": '", key, "' is not a text");
  return tree.at(key).get<std::string>();
}

std::set<int64_t> ids_of(const Tree& tree, const char* key, const std::string& where) {
  std::set<int64_t> ids;
  if (!has(tree, key)) return ids;
  const Tree& value = tree.at(key);
  const Tree list = value.is_array() ? value : Tree::array({value});
  for (const Tree& id : list) {
    expect(id.is_number_integer(), where, ": '", key, "' holds something that is not an id");
    ids.insert(id.get<int64_t>());
  }
  return ids;
}

std::optional<int64_t> PlainVocabulary::id_of(const std::string& token) const {
  const auto found = std::find(tokens.begin(), tokens.end(), token);
  if (token.empty() || found == tokens.end()) return std::nullopt;
  return found - tokens.begin();
}

PlainVocabulary read_plain_vocabulary(const Tree& tokenizer, const std::string& where) {
  PlainVocabulary out;
  const auto put = [&](int64_t id, const std::string& token) {
    expect(id >= 0 && id < 10'000'000, where, ": id ", id, " of '", token, "' is out of range");
    if (static_cast<size_t>(id) >= out.tokens.size()) out.tokens.resize(static_cast<size_t>(id) + 1);
    auto& slot = out.tokens[static_cast<size_t>(id)];
    expect(slot.empty() || slot == token, where, ": id ", id, " has two tokens, '", slot, "' and '", token,
           "'");
    slot = token;
  };
  expect(has(tokenizer, "model") && has(tokenizer.at("model"), "vocab") &&
             tokenizer.at("model").at("vocab").is_object(),
         where, ": no model.vocab");
  const Tree& model = tokenizer.at("model");
  for (const auto& [token, id] : model.at("vocab").items()) {
    expect(id.is_number_integer(), where, ": the id of '", token, "' is not an integer");
    put(id.get<int64_t>(), token);
  }
  if (has(tokenizer, "added_tokens")) {
    expect(tokenizer.at("added_tokens").is_array(), where, ": added_tokens is not a list");
    for (const Tree& entry : tokenizer.at("added_tokens")) {
      const int64_t id = integer(entry, "id", where);
      put(id, text_or(entry, "content", "", where));
      out.added.insert(id);
      if (flag_or(entry, "special", false, where)) out.special.insert(id);
    }
  }
  if (has(model, "merges")) {
    expect(model.at("merges").is_array(), where, ": model.merges is not a list");
    for (const Tree& merge : model.at("merges")) {
      if (merge.is_string()) {
        out.merges.push_back(merge.get<std::string>());
        continue;
      }
      expect(merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string(), where,
             ": a merge is no pair");
      std::string joined;
      for (const Tree& part : merge) {
        if (!joined.empty()) joined += ' ';
        for (const char c : part.get<std::string>())
          joined += c == ' ' ? std::string("\xC4\xA0") : std::string(1, c);
      }
      out.merges.push_back(joined);
    }
  }
  return out;
}

namespace {

// GPT-2's alphabet: printable bytes stand for themselves, the others for the code points from 256 on, in
// order.
std::map<std::string, char> byte_of_letter() {
  std::map<std::string, char> out;
  int next = 256;
  for (int byte = 0; byte < 256; ++byte) {
    const bool itself = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    const int code = itself ? byte : next++;
    std::string letter;
    if (code < 128) {
      letter += static_cast<char>(code);
    } else {
      letter += static_cast<char>(0xC0 | (code >> 6));
      letter += static_cast<char>(0x80 | (code & 63));
    }
    out[letter] = static_cast<char>(byte);
  }
  return out;
}

}  // namespace

std::string plain_decode(const std::vector<std::string>& tokens, const std::set<int64_t>& added,
                         const std::vector<int64_t>& ids) {
  static const std::map<std::string, char> alphabet = byte_of_letter();
  std::string out;
  for (const int64_t id : ids) {
    expect(id >= 0 && static_cast<size_t>(id) < tokens.size() && !tokens[static_cast<size_t>(id)].empty(),
           "id ", id, " has no token");
    const std::string& token = tokens[static_cast<size_t>(id)];
    if (added.contains(id)) {
      out += token;
      continue;
    }
    for (size_t i = 0; i < token.size();) {
      const size_t length = (static_cast<unsigned char>(token[i]) & 0xE0) == 0xC0 ? 2 : 1;
      const auto byte = alphabet.find(token.substr(i, length));
      expect(byte != alphabet.end(), "token ", id, " is not written in the byte-level alphabet");
      out += byte->second;
      i += length;
    }
  }
  return out;
}

std::string named_token(const Tree& config, const char* key) {
  if (!has(config, key)) return {};
  const Tree& value = config.at(key);
  if (value.is_string()) return value.get<std::string>();
  return has(value, "content") && value.at("content").is_string() ? value.at("content").get<std::string>()
                                                                  : std::string();
}

}  // namespace decant::verifying
