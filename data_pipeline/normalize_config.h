// What the recipe may ask of normalising beyond the rules that every text passes (normalize.h). Everything
// here is off by default: it takes words away.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/config.h"

namespace decant {

enum class EmojiRule { kKeep, kRemove };
template <>
struct EnumNames<EmojiRule> {
  static constexpr std::pair<EmojiRule, const char*> values[] = {{EmojiRule::kKeep, "keep"},
                                                                 {EmojiRule::kRemove, "remove"}};
};

struct NormalizeConfig {
  bool repair_mojibake = false;
  bool strip_html = false;
  bool strip_quoted_mail = false;
  bool strip_signatures = false;
  std::vector<std::string> boilerplate;
  bool remove_invisible = true;
  EmojiRule emoji = EmojiRule::kKeep;
  int64_t max_repeated_punctuation = 0;

  static void visit(auto& c, auto&& field) {
    field("repair_mojibake", c.repair_mojibake,
          "put text right that was decoded with the wrong encoding, where that can be proved");
    field("strip_html", c.strip_html, "remove tags and decode entities (exports of ticket systems)");
    field("strip_quoted_mail", c.strip_quoted_mail, "remove the quoted history of e-mails");
    field("strip_signatures", c.strip_signatures,
          "remove e-mail signatures, disclaimers and lines like 'Sent from my iPhone'");
    field("boilerplate", c.boilerplate, "lines of your own to remove wherever they stand alone");
    field("remove_invisible", c.remove_invisible,
          "remove zero-width, soft-hyphen and direction marks, which can make text read other than it is "
          "stored");
    field("emoji", c.emoji, "keep, or remove");
    field("max_repeated_punctuation", c.max_repeated_punctuation,
          "a longer run of one punctuation mark is shortened to this many; 0 leaves all");
  }
  void validate(const Place& place) const;
  bool operator==(const NormalizeConfig&) const = default;
};

}  // namespace decant
