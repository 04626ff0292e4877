// Text as it is learned: one form for what looks the same.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data_pipeline/conversation.h"
#include "data_pipeline/normalize_config.h"
#include "data_pipeline/source_map.h"

namespace decant {

// In this order:
// - bytes that are not UTF-8 become U+FFFD, one per maximal ill-formed subsequence (Unicode 15 chapter
//   3.9);
// - CR LF, lone CR, U+0085, U+2028 and U+2029 become LF;
// - removed: control characters (Cc) but LF and tab; U+FEFF, U+200B, U+2060, U+00AD; direction marks
//   U+200E, U+200F, U+202A..202E, U+2066..2069, which can make text read other than it is stored; the
//   joiners U+200C and U+200D unless both neighbours are outside ASCII (emoji and scripts that need
//   them keep them);
// - NFC (compatibility forms such as full-width digits stay as they are);
// - white space at both ends is cut.
// Applying it twice changes nothing.
std::string normalize_text(std::string_view text);

// The same, and with the steps that a recipe asks for. Most texts need no change and are not copied.
//
//   const TextNormalizer normalizer(config);
//   std::string buffer;
//   SourceMap map;
//   std::string_view clean = normalizer.normalize(text, buffer, &map);
//   auto [begin, end] = map.source_range(3, 9);  // where bytes 3 to 9 of `clean` are in `text`
//
// Steps, round after round until none changes anything (what one removes may let another find more; at
// most kMaxRounds): mojibake.h, the rules above, strip_html.h, strip_mail.h, strip_symbols.h. So
// applying it twice changes nothing either. May be shared by threads.
class TextNormalizer {
 public:
  static constexpr int kMaxRounds = 16;

  explicit TextNormalizer(const NormalizeConfig& config = {});
  // A part of `text` or of `buffer`, whichever; `buffer` is overwritten. `map`, unless null, becomes the map
  // to the bytes of `text`. Error when `text` has 1 GiB or more.
  std::string_view normalize(std::string_view text, std::string& buffer, SourceMap* map = nullptr) const;

 private:
  bool any_steps() const;
  NormalizeConfig config_;
  std::vector<std::string> boilerplate_keys_;
};

// For comparing only: NFKC, every run of white space one space, none at the ends. Case is kept.
std::string matching_text(std::string_view text);

struct Cleaned {
  std::string reason;   // of the quarantine; empty when the conversation is kept
  std::string text;     // the reason in words, without customer text
  int64_t merged = 0;   // messages joined to the one before
  int64_t trimmed = 0;  // messages after the last answer
};

// Normalises every message, then the form of the conversation:
// - an assistant turn without text and tool calls, or any other empty message: `empty_message`
//   (reasoning alone is no answer);
// - a system message anywhere but first, a tool message that follows neither an assistant nor a tool
//   message: `bad_roles`;
// - neighbours of the same role (two lines of one customer) are joined by LF; not system, tool, or
//   turns with tool calls, of different weights or names, or the second with reasoning of its own;
// - what follows the last assistant turn is cut, since nothing is learned from it ("thanks, bye"); no
//   assistant turn, or none with a weight above 0: `no_answer`;
// - no user turn: `no_question`. An assistant's greeting may come first.
// The steps of the recipe are for what people wrote: user and assistant texts. System and tool messages
// and reasoning get the rules of normalize_text alone. Names and tool_call_ids are identifiers and stay
// as they are.
Cleaned clean_conversation(Conversation& conversation);
Cleaned clean_conversation(Conversation& conversation, const TextNormalizer& normalizer);

}  // namespace decant
