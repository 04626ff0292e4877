// Added tokens: texts that become an id of their own before anything else looks at the text. Source: Hugging
// Face tokenizers, src/tokenizer/added_vocabulary.rs (leftmost, of these the longest; then the flags).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace decant {

struct AddedToken {
  std::string content;
  uint32_t id = 0;
  bool special = false;      // left out by decode(skip_special), ordinary text in SpecialMode::kAsText
  bool normalized = false;   // looked for after normalisation
  bool single_word = false;  // only where no word character stands beside it
  bool lstrip = false, rstrip = false;  // takes the white space before, after it
};

// A stretch of text (id -1), or an added token.
struct TextOrToken {
  std::string_view text;
  int64_t id = -1;
};

class AddedTokenMatcher {
 public:
  // `texts[i]` is what is looked for as tokens[i]; no text is empty, no two are equal.
  AddedTokenMatcher(std::vector<AddedToken> tokens, const std::vector<std::string>& texts);
  bool empty() const { return tokens_.empty(); }
  // Appends the spans of `text`, none of them an empty stretch of text. `special_as_text`: matches of special
  // tokens are passed over.
  void split(std::string_view text, bool special_as_text, std::vector<TextOrToken>& spans) const;

 private:
  struct Node {
    std::vector<std::pair<unsigned char, uint32_t>> children;
    int64_t token = -1;
  };
  std::vector<AddedToken> tokens_;
  std::vector<Node> nodes_;  // a trie, root first
  bool starts_[256] = {};
  int only_start_ = -1;  // the byte with which every token starts, if there is one
};

}  // namespace decant
