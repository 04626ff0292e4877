// Numbers about a text's form, never decisions (filter_rules.h decides). Those of Gopher, C4 and FineWeb have
// the definitions of datatrove 0.10 (gopher_quality_filter.py, fineweb_quality_filter.py, c4_filters.py),
// with the words of text_scan.h in place of its tokenizer's; a fraction of nothing is 0.
#pragma once

#include <cstdint>
#include <string_view>

#include "data_pipeline/text_scan.h"

namespace decant {

struct Quality {
  // Gopher.
  float words = 0, mean_word_length = 0, hash_ratio = 0, ellipsis_ratio = 0;
  float bullet_line_fraction = 0, ellipsis_line_fraction = 0, alphabetic_word_fraction = 0;
  float stop_words_en = 0, stop_words_zh = 0;
  // FineWeb.
  float terminal_line_fraction = 0, short_line_fraction = 0, newline_ratio = 0;
  // C4 and mC4.
  float c4_line_fraction = 0, c4_sentences = 0, curly_brackets = 0, lorem_ipsum = 0, policy_lines = 0;
  float third_line_characters = 0, longest_word = 0;
  // NeMo-Curator's and data-juicer's ratios, per character.
  float symbol_ratio = 0, number_ratio = 0, space_ratio = 0, parenthesis_ratio = 0, url_ratio = 0;
  float letter_ratio = 0;
  // Damage and leftovers.
  float urls = 0, html_tags = 0, mojibake = 0, replacement_characters = 0;

  static void visit(auto& q, auto&& field) {
    field("words", q.words, "words that are not all punctuation (Gopher)");
    field("mean_word_length", q.mean_word_length, "characters of those (Gopher)");
    field("hash_ratio", q.hash_ratio, "'#' per word (Gopher)");
    field("ellipsis_ratio", q.ellipsis_ratio, "'...' and U+2026 per word (Gopher)");
    field("bullet_line_fraction", q.bullet_line_fraction, "lines that begin with U+2022 or '-' (Gopher)");
    field("ellipsis_line_fraction", q.ellipsis_line_fraction, "lines that end in an ellipsis (Gopher)");
    field("alphabetic_word_fraction", q.alphabetic_word_fraction, "words with a letter (Gopher)");
    field("stop_words_en", q.stop_words_en, "how many of: the be to of and that have with (Gopher)");
    field("stop_words_zh", q.stop_words_zh, "how many of FineWeb-2's 21 stop words of cmn_Hani");
    field("terminal_line_fraction", q.terminal_line_fraction,
          "lines not blank that end a sentence (FineWeb's line_punct)");
    field("short_line_fraction", q.short_line_fraction, "lines not blank of 30 characters at most (FineWeb)");
    field("newline_ratio", q.newline_ratio, "line feeds per word (FineWeb)");
    field(
        "c4_line_fraction", q.c4_line_fraction,
        "lines that C4 keeps: three words, none over 1,000 characters, ends in . ? ! \" or ' and not in ..., "
        "no javascript, no policy phrase");
    field("c4_sentences", q.c4_sentences, "sentences in those");
    field("curly_brackets", q.curly_brackets, "'{' (C4)");
    field("lorem_ipsum", q.lorem_ipsum, "lines with 'lorem ipsum' (C4)");
    field("policy_lines", q.policy_lines, "lines with a phrase of a privacy or cookie policy (C4)");
    field("third_line_characters", q.third_line_characters, "length of the third longest line (mC4)");
    field("longest_word", q.longest_word, "characters between white space, most (C4)");
    field("symbol_ratio", q.symbol_ratio, "characters that are no letter, number, mark or white space");
    field("number_ratio", q.number_ratio, "characters that are numbers");
    field("space_ratio", q.space_ratio, "characters that are white space");
    field("parenthesis_ratio", q.parenthesis_ratio, "parentheses, full-width ones too");
    field("url_ratio", q.url_ratio, "characters of URLs");
    field("letter_ratio", q.letter_ratio, "characters that are letters");
    field("urls", q.urls, "http://, https:// and www.");
    field("html_tags", q.html_tags, "HTML tags and character references left over");
    field("mojibake", q.mojibake, "marks of text decoded wrongly, per 100 characters");
    field("replacement_characters", q.replacement_characters, "U+FFFD");
  }
};

Quality measure_quality(const TextScan& scan);

}  // namespace decant
