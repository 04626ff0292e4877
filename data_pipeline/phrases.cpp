#include "data_pipeline/phrases.h"

#include <algorithm>
#include <stdexcept>

namespace decant {

namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

char upper(char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; }

uint32_t pair(char a, char b) {
  return uint32_t{static_cast<unsigned char>(a)} << 8 | static_cast<unsigned char>(b);
}

bool begins(std::string_view text, const std::string& phrase) {
  if (text.size() < phrase.size()) return false;
  for (size_t i = 0; i < phrase.size(); ++i)
    if (lower(text[i]) != phrase[i]) return false;
  return true;
}

}  // namespace

Phrases::Phrases(std::initializer_list<std::string_view> phrases) {
  for (const std::string_view phrase : phrases) {
    if (phrase.size() < 2) throw std::logic_error("a phrase has two bytes at least");
    std::string& low = phrases_.emplace_back(phrase);
    std::transform(low.begin(), low.end(), low.begin(), lower);
    for (const char a : {low[0], upper(low[0])})
      for (const char b : {low[1], upper(low[1])}) pairs_[pair(a, b) / 64] |= uint64_t{1} << pair(a, b) % 64;
  }
  std::sort(phrases_.begin(), phrases_.end(), [](const std::string& a, const std::string& b) {
    const uint32_t p = pair(a[0], a[1]), q = pair(b[0], b[1]);
    return p != q ? p < q : a.size() != b.size() ? a.size() > b.size() : a < b;
  });
}

int64_t Phrases::count(std::string_view text) const {
  int64_t found = 0;
  for (size_t i = 0; i + 1 < text.size(); ++i) {
    const uint32_t raw = pair(text[i], text[i + 1]);
    if ((pairs_[raw / 64] >> raw % 64 & 1) == 0) continue;
    const uint32_t p = pair(lower(text[i]), lower(text[i + 1]));
    auto at = std::lower_bound(
        phrases_.begin(), phrases_.end(), p,
        [](const std::string& phrase, uint32_t q) { return pair(phrase[0], phrase[1]) < q; });
    for (; at != phrases_.end() && pair((*at)[0], (*at)[1]) == p; ++at) {
      if (!begins(text.substr(i), *at)) continue;
      ++found;
      i += at->size() - 1;
      break;
    }
  }
  return found;
}

}  // namespace decant
