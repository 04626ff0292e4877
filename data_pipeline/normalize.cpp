#include "data_pipeline/normalize.h"

#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>

#include <stdexcept>

#include "core/error.h"

namespace decant {

namespace {

icu::UnicodeString normalized(const icu::Normalizer2* form, const icu::UnicodeString& text,
                              UErrorCode& status) {
  return form->normalize(text, status);
}

const icu::Normalizer2* nfc(UErrorCode& status) { return icu::Normalizer2::getNFCInstance(status); }
const icu::Normalizer2* nfkc(UErrorCode& status) { return icu::Normalizer2::getNFKCInstance(status); }

void expect_icu(UErrorCode status) {
  if (U_FAILURE(status)) throw std::logic_error(concat("ICU: ", u_errorName(status)));
}

// fromUTF8 repairs as the header says.
icu::UnicodeString from_utf8(std::string_view text) {
  if (text.size() > 0x3fffffff) fail("a text of ", text.size(), " bytes is too long to normalise");
  return icu::UnicodeString::fromUTF8(icu::StringPiece(text.data(), static_cast<int32_t>(text.size())));
}

bool is_removed(UChar32 c) {
  if (c == '\n' || c == '\t') return false;
  if (c < 0x20 || (c >= 0x7f && c <= 0x9f)) return true;
  if (c == 0xfeff || c == 0x200b || c == 0x2060 || c == 0x00ad) return true;
  return c == 0x200e || c == 0x200f || (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

bool is_newline(UChar32 c) { return c == '\r' || c == 0x85 || c == 0x2028 || c == 0x2029; }

icu::UnicodeString without_controls(const icu::UnicodeString& text) {
  icu::UnicodeString kept;
  for (int32_t i = 0; i < text.length(); i = text.moveIndex32(i, 1)) {
    const UChar32 c = text.char32At(i);
    if (c == '\r' && i + 1 < text.length() && text.charAt(i + 1) == '\n') continue;
    if (is_newline(c)) {
      kept.append(static_cast<UChar32>('\n'));
    } else if (!is_removed(c)) {
      kept.append(c);
    }
  }
  return kept;
}

// Joiners that join nothing that needs joining. Looks at the text that is kept so far, so runs of joiners
// shrink to one.
icu::UnicodeString without_idle_joiners(const icu::UnicodeString& text) {
  icu::UnicodeString kept;
  for (int32_t i = 0; i < text.length(); i = text.moveIndex32(i, 1)) {
    const UChar32 c = text.char32At(i);
    if (c == 0x200c || c == 0x200d) {
      const UChar32 before = kept.isEmpty() ? 0 : kept.char32At(kept.length() - 1);
      const UChar32 after = i + 1 < text.length() ? text.char32At(i + 1) : 0;
      const bool joiner_next = after == 0x200c || after == 0x200d;
      const bool idle =
          before < 0x80 || after < 0x80 || joiner_next || u_isUWhiteSpace(before) || u_isUWhiteSpace(after);
      if (idle) continue;
    }
    kept.append(c);
  }
  return kept;
}

std::string trimmed(const icu::UnicodeString& text) {
  int32_t begin = 0, end = text.length();
  while (begin < end && u_isUWhiteSpace(text.char32At(begin))) begin = text.moveIndex32(begin, 1);
  while (end > begin && u_isUWhiteSpace(text.char32At(text.moveIndex32(end, -1))))
    end = text.moveIndex32(end, -1);
  std::string utf8;
  text.tempSubStringBetween(begin, end).toUTF8String(utf8);
  return utf8;
}

bool joins(const Message& first, const Message& second) {
  return first.role == second.role && (first.role == "user" || first.role == "assistant") &&
         first.tool_calls.is_null() && second.tool_calls.is_null();
}

Cleaned quarantined(const char* reason, std::string text) { return {reason, std::move(text)}; }

}  // namespace

std::string normalize_text(std::string_view text) {
  bool plain = true;  // printable ASCII, LF and tab: only the ends can change
  for (const char c : text) plain = plain && ((c >= 0x20 && c < 0x7f) || c == '\n' || c == '\t');
  if (plain) {
    const size_t begin = text.find_first_not_of(" \n\t");
    if (begin == std::string_view::npos) return {};
    return std::string(text.substr(begin, text.find_last_not_of(" \n\t") - begin + 1));
  }
  UErrorCode status = U_ZERO_ERROR;
  // NFC first: its singletons (U+212A to K) would otherwise put ASCII beside a joiner that was kept.
  const auto composed = normalized(nfc(status), from_utf8(text), status);
  const auto result = normalized(nfc(status), without_idle_joiners(without_controls(composed)), status);
  expect_icu(status);
  return trimmed(result);
}

std::string matching_text(std::string_view text) {
  UErrorCode status = U_ZERO_ERROR;
  const auto folded = normalized(nfkc(status), from_utf8(text), status);
  expect_icu(status);
  icu::UnicodeString kept;
  bool space = false;
  for (int32_t i = 0; i < folded.length(); i = folded.moveIndex32(i, 1)) {
    const UChar32 c = folded.char32At(i);
    if (u_isUWhiteSpace(c)) {
      space = true;
      continue;
    }
    if (space && !kept.isEmpty()) kept.append(static_cast<UChar32>(' '));
    space = false;
    kept.append(c);
  }
  std::string utf8;
  kept.toUTF8String(utf8);
  return utf8;
}

Cleaned clean_conversation(Conversation& conversation) {
  std::vector<Message> kept;
  Cleaned result;
  bool user = false;
  size_t answered = 0;  // messages up to and with the last assistant turn
  for (size_t i = 0; i < conversation.messages.size(); ++i) {
    Message message = std::move(conversation.messages[i]);
    message.content = normalize_text(message.content);
    const std::string where = concat("messages[", i, "]");
    if (message.content.empty() && message.tool_calls.is_null())
      return quarantined("empty_message", where + " has no text");
    if (message.role == "system" && i > 0)
      return quarantined("bad_roles", where + ": a system message must be the first");
    if (message.role == "tool" &&
        (kept.empty() || (kept.back().role != "assistant" && kept.back().role != "tool")))
      return quarantined("bad_roles", where + ": a tool message must follow an assistant's or a tool's");
    user = user || message.role == "user";
    if (!kept.empty() && joins(kept.back(), message)) {
      kept.back().content += "\n" + message.content;
      ++result.merged;
    } else {
      kept.push_back(std::move(message));
    }
    if (kept.back().role == "assistant") answered = kept.size();
  }
  if (answered == 0) return quarantined("no_answer", "no assistant turn to learn from");
  if (!user) return quarantined("no_question", "no user turn");
  result.trimmed = static_cast<int64_t>(kept.size() - answered);
  kept.resize(answered);
  bool question_left = false;
  for (const Message& message : kept) question_left = question_left || message.role == "user";
  if (!question_left) return quarantined("no_answer", "no assistant turn after a user turn");
  conversation.messages = std::move(kept);
  return result;
}

}  // namespace decant
