#include "data_pipeline/new_tokens.h"

#include <set>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "data_pipeline/tokenizer_files.h"
#include "data_pipeline/unicode.h"

namespace decant {

namespace fs = std::filesystem;

namespace {

Json flags_of(const NewToken& token) {
  return {{"content", token.text}, {"single_word", false}, {"lstrip", false},
          {"rstrip", false},       {"normalized", false},  {"special", token.special}};
}

}  // namespace

std::vector<int64_t> new_token_ids(const Tokenizer& tokenizer, const std::vector<NewToken>& tokens,
                                   const std::string& where) {
  std::vector<int64_t> ids;
  std::set<std::string> seen;
  for (const NewToken& token : tokens) {
    check(!token.text.empty(), where, ": must not hold an empty text");
    check(valid_utf8_prefix(token.text) == token.text.size(), where, ": '", token.text, "' is not UTF-8");
    check(seen.insert(token.text).second, where, ": '", token.text, "' stands twice");
    const auto known = tokenizer.id_of(token.text);
    check(!known, where, ": '", token.text, "' is a token already (id ", known.value_or(0),
          "); leave it out here, its row can be trained as it is");
    ids.push_back(tokenizer.vocab_size() + static_cast<int64_t>(ids.size()));
  }
  return ids;
}

void write_with_new_tokens(const fs::path& from, const fs::path& to, const std::vector<NewToken>& tokens,
                           const std::string& where) {
  const fs::path file = from / "tokenizer.json";
  check(fs::is_regular_file(file), where, ": ", from.string(),
        " has no tokenizer.json, and tokens are added to such only");
  const auto ids = new_token_ids(*load_tokenizer(from), tokens, where);
  for (const std::string& name : tokenizer_file_names(from)) {
    std::string text = read_file(from / name);
    const bool lists =
        name == "tokenizer.json" || name == "tokenizer_config.json" || name == "added_tokens.json";
    if (lists) {
      Json json = parse_json(text, (from / name).string());
      for (size_t i = 0; i < tokens.size(); ++i) {
        if (name == "tokenizer.json") {
          Json entry = {{"id", ids[i]}};
          entry.update(flags_of(tokens[i]));
          if (!json["added_tokens"].is_array()) json["added_tokens"] = Json::array();
          json["added_tokens"].push_back(std::move(entry));
        } else if (name == "added_tokens.json" && json.is_object()) {
          json[tokens[i].text] = ids[i];
        } else if (json.is_object() && json.contains("added_tokens_decoder")) {
          json["added_tokens_decoder"][std::to_string(ids[i])] = flags_of(tokens[i]);
        }
      }
      text = json.dump(2) + "\n";
    }
    write_file(to / name, text);
  }
}

}  // namespace decant
