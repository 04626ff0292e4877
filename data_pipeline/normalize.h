// Text as it is learned: one form for what looks the same.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "data_pipeline/conversation.h"

namespace decant {

// In this order:
// - bytes that are not UTF-8 become U+FFFD, one per maximal ill-formed subsequence (Unicode 15 chapter 3.9);
// - CR LF, lone CR, U+0085, U+2028 and U+2029 become LF;
// - removed: control characters (Cc) but LF and tab; U+FEFF, U+200B, U+2060, U+00AD; direction marks U+200E,
// U+200F, U+202A..202E,
//   U+2066..2069, which can make text read other than it is stored; the joiners U+200C and U+200D unless both
//   neighbours are outside ASCII (emoji and scripts that need them keep them);
// - NFC (compatibility forms such as full-width digits stay as they are);
// - white space at both ends is cut.
// Applying it twice changes nothing.
std::string normalize_text(std::string_view text);

// For comparing only: NFKC, every run of white space one space, none at the ends. Case is kept.
std::string matching_text(std::string_view text);

struct Cleaned {
  std::string reason;   // of the quarantine; empty when the conversation is kept
  std::string text;     // the reason in words, without customer text
  int64_t merged = 0;   // messages joined to the one before
  int64_t trimmed = 0;  // messages after the last answer
};

// Normalises every message, then the form of the conversation:
// - an assistant turn without text and tool calls, or any other empty message: `empty_message`;
// - a system message anywhere but first, a tool message that follows neither an assistant nor a tool message:
// `bad_roles`;
// - neighbours of the same role (two lines of one customer) are joined by LF; not system, tool, or turns with
// tool calls;
// - what follows the last assistant turn is cut, since nothing is learned from it ("thanks, bye"); no
// assistant turn: `no_answer`;
// - no user turn: `no_question`. An assistant's greeting may come first.
Cleaned clean_conversation(Conversation& conversation);

}  // namespace decant
