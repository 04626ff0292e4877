#include "data_pipeline/tokenizer_added.h"

#include <unicode/uchar.h>

#include <algorithm>
#include <cstring>

#include "data_pipeline/unicode.h"

namespace decant {

namespace {

// \w of Rust's regex crate.
bool is_word(uint32_t c) {
  const auto point = static_cast<UChar32>(c);
  return u_hasBinaryProperty(point, UCHAR_ALPHABETIC) ||
         (U_GET_GC_MASK(point) & (U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK)) || c == 0x200C || c == 0x200D;
}

bool starts_with_word(std::string_view text) {
  const char* p = text.data();
  return !text.empty() && is_word(next_code_point(p));
}

bool ends_with_word(std::string_view text) {
  if (text.empty()) return false;
  const char* p = previous_code_point(text.data() + text.size());
  return is_word(next_code_point(p));
}

bool is_space(uint32_t c) { return (character_classes()[c] & kSpace) != 0; }

size_t leading_spaces(std::string_view text) {
  const char *p = text.data(), *end = p + text.size();
  while (p != end) {
    const char* next = p;
    if (!is_space(next_code_point(next))) break;
    p = next;
  }
  return static_cast<size_t>(p - text.data());
}

size_t trailing_spaces(std::string_view text) {
  const char *begin = text.data(), *end = begin + text.size(), *p = end;
  while (p != begin) {
    const char* before = previous_code_point(p);
    const char* next = before;
    if (!is_space(next_code_point(next))) break;
    p = before;
  }
  return static_cast<size_t>(end - p);
}

}  // namespace

AddedTokenMatcher::AddedTokenMatcher(std::vector<AddedToken> tokens, const std::vector<std::string>& texts)
    : tokens_(std::move(tokens)), nodes_(1) {
  for (size_t i = 0; i < texts.size(); ++i) {
    uint32_t node = 0;
    for (const char c : texts[i]) {
      const auto byte = static_cast<unsigned char>(c);
      auto& children = nodes_[node].children;
      const auto found = std::find_if(children.begin(), children.end(),
                                      [&](const auto& child) { return child.first == byte; });
      if (found != children.end()) {
        node = found->second;
      } else {
        const auto made = static_cast<uint32_t>(nodes_.size());
        children.emplace_back(byte, made);
        nodes_.emplace_back();
        node = made;
      }
    }
    nodes_[node].token = static_cast<int64_t>(i);
  }
  for (const auto& [byte, child] : nodes_[0].children) starts_[byte] = true;
  if (nodes_[0].children.size() == 1) only_start_ = nodes_[0].children[0].first;
}

void AddedTokenMatcher::split(std::string_view text, bool special_as_text,
                              std::vector<TextOrToken>& spans) const {
  size_t taken = 0, at = 0;
  while (!tokens_.empty() && at < text.size()) {
    if (only_start_ >= 0) {
      const void* found = std::memchr(text.data() + at, only_start_, text.size() - at);
      if (found == nullptr) break;
      at = static_cast<size_t>(static_cast<const char*>(found) - text.data());
    } else {
      while (at < text.size() && !starts_[static_cast<unsigned char>(text[at])]) ++at;
    }
    // The longest token that starts here.
    int64_t match = -1;
    size_t end = at;
    uint32_t node = 0;
    for (size_t i = at; i < text.size(); ++i) {
      const auto byte = static_cast<unsigned char>(text[i]);
      const auto& children = nodes_[node].children;
      const auto found = std::find_if(children.begin(), children.end(),
                                      [&](const auto& child) { return child.first == byte; });
      if (found == children.end()) break;
      node = found->second;
      if (nodes_[node].token >= 0) match = nodes_[node].token, end = i + 1;
    }
    if (match < 0) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[static_cast<size_t>(match)];
    size_t start = at, stop = end;
    at = end;
    if (special_as_text && token.special) continue;
    if (token.single_word && (ends_with_word(text.substr(0, start)) || starts_with_word(text.substr(stop))))
      continue;
    if (token.lstrip) start = std::max(start - trailing_spaces(text.substr(0, start)), taken);
    if (token.rstrip) stop += leading_spaces(text.substr(stop));
    if (taken < start) spans.push_back({text.substr(taken, start - taken), -1});
    spans.push_back({text.substr(start, stop - start), token.id});
    taken = stop;
  }
  if (taken < text.size()) spans.push_back({text.substr(taken), -1});
}

}  // namespace decant
