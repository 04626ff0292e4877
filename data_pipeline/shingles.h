// Shingles: what a text is compared by. Runs of n neighbouring words where words have spaces between them,
// runs of n code points where they have not (Han, kana, Thai, Lao, Khmer, Burmese, Tibetan).
//
// The text first becomes its matching key:
// - ill-formed UTF-8 is repaired (U+FFFD), then NFKC if `compatibility` (full-width forms become ASCII);
// - lower case (the full mapping, as Python's str.lower());
// - runs of ASCII white space (with `compatibility`: of Unicode's) become one space, none at the ends;
// - runs of `mask_digits` digits or more become one 0 (0: none do): order numbers and telephone numbers do
// not
//   tell two copies of a text apart, while "3 rooms" and "4 rooms" stay two texts.
// `kind: auto` compares by code points when at least one letter in 25 is of a script without spaces, else by
// words; texts of different kinds have no shingle in common. Spaces do not count among code points. A text of
// fewer than n units is one shingle, itself: short texts are duplicates only when their keys are equal. An
// empty key has no shingle and equals nothing.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/config.h"

namespace decant {

enum class ShingleKind { kAuto, kWords, kCharacters };
template <>
struct EnumNames<ShingleKind> {
  static constexpr std::pair<ShingleKind, const char*> values[] = {
      {ShingleKind::kAuto, "auto"}, {ShingleKind::kWords, "words"}, {ShingleKind::kCharacters, "characters"}};
};

struct ShingleConfig {
  ShingleKind kind = ShingleKind::kAuto;
  int64_t words = 5;
  int64_t characters = 5;
  int64_t mask_digits = 4;
  bool compatibility = true;

  static void visit(auto& c, auto&& field) {
    field("kind", c.kind, "what a text is compared by: words, characters, or auto: by its script");
    field("words", c.words, "neighbouring words in one shingle");
    field("characters", c.characters, "neighbouring characters in one shingle");
    field("mask_digits", c.mask_digits, "numbers of so many digits or more are all the same; 0: none are");
    field("compatibility", c.compatibility, "full-width and other compatibility forms are the plain ones");
  }
  void validate(const Place& place) const;
};

// Makes shingles; keeps its buffers, so one for each thread.
class Shingler {
 public:
  explicit Shingler(const ShingleConfig& config);

  // The distinct shingles of `text` as 64-bit hashes, in order of first appearance. The view is valid until
  // the next call.
  std::span<const uint64_t> shingles(std::string_view text);

  // As above, of the texts joined by a line feed each.
  std::span<const uint64_t> shingles(std::span<const std::string_view> parts);

  std::string_view key() const { return key_; }          // of the last text
  bool by_characters() const { return by_characters_; }  // of the last text

 private:
  void fold_ascii(std::string_view text);
  void fold_unicode(std::string_view text);
  void hash_words();
  void hash_characters();
  void roll(int64_t n);
  void keep_distinct();

  ShingleConfig config_;
  std::string joined_, repaired_, normal_, lower_, key_;
  std::vector<uint64_t> units_, hashes_, table_;
  bool by_characters_ = false;
};

// The key alone, for matching whole texts (canned replies).
std::string matching_key(std::string_view text, const ShingleConfig& config = {});

// |a and b| / |a or b| of two lists of distinct hashes in any order; 0 when one is empty.
double jaccard(std::span<const uint64_t> a, std::span<const uint64_t> b);

}  // namespace decant
