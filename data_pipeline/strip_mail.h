// What an e-mail carries besides its words: the quoted history, and signatures that say nothing about
// the person's question. Lines are judged whole; a text of which nothing would be left is left as it
// was.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "data_pipeline/source_map.h"

namespace decant {

// Quoted history:
// - lines that begin with '>' (or its full-width form) and a space, another '>', a letter or nothing;
// - "On ... wrote:", "... 写道：" and their like in German, French, Spanish and Italian, over up to
//   three lines and with a digit in them: the line goes, and when no quoted line follows it, all that
//   follows;
// - "-----Original Message-----", "---原始邮件---", "Begin forwarded message:" and their like, and a
//   block of headers ("From:", "发件人：" with "Sent:", "收件人：", ... within the next five lines):
//   these and all that follows.
// False, and `out` left empty, when there is none.
bool strip_quoted_mail(std::string_view text, MappedText& out);

// Signatures and boilerplate:
// - the line "--" and the up to eight lines of at most 100 bytes after it, when they end the text;
// - lines that a mail program adds ("Sent from my iPhone", "发自我的iPhone", "Get Outlook for iOS",
//   "来自QQ邮箱");
// - paragraphs that declare a mail confidential or disclaim it, by their first words and what they
//   speak of.
bool strip_signatures(std::string_view text, MappedText& out);

// Lines whose boilerplate_key() is one of `keys`.
bool strip_boilerplate(std::string_view text, const std::vector<std::string>& keys, MappedText& out);

// For comparing a line with a text of the recipe: matching_text(), in lower case for ASCII.
std::string boilerplate_key(std::string_view line);

}  // namespace decant
