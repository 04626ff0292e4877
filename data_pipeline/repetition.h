// How much a text repeats itself. Gopher's and FineWeb's numbers have the definitions of datatrove 0.10
// (gopher_repetition_filter.py, fineweb_quality_filter.py), data-juicer's those of its character and word
// repetition filters, all with the words of text_scan.h. Sets hold 61- and 64-bit hashes in place of strings.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

#include "data_pipeline/text_scan.h"

namespace decant {

struct Repetition {
  float dup_line_fraction = 0, dup_line_char_fraction = 0;
  float dup_paragraph_fraction = 0, dup_paragraph_char_fraction = 0;
  float top_2gram = 0, top_3gram = 0, top_4gram = 0;
  float dup_5gram = 0, dup_6gram = 0, dup_7gram = 0, dup_8gram = 0, dup_9gram = 0, dup_10gram = 0;
  float char_dup_ratio = 0;
  float char_repetition = 0, word_repetition = 0;
  float unique_word_fraction = 0, compressible = 0;

  static void visit(auto& r, auto&& field) {
    field("dup_line_fraction", r.dup_line_fraction, "lines seen before (Gopher)");
    field("dup_line_char_fraction", r.dup_line_char_fraction, "characters in lines seen before (Gopher)");
    field("dup_paragraph_fraction", r.dup_paragraph_fraction, "paragraphs seen before (Gopher)");
    field("dup_paragraph_char_fraction", r.dup_paragraph_char_fraction,
          "characters in paragraphs seen before (Gopher)");
    field("top_2gram", r.top_2gram, "characters of the most frequent 2 words in a row (Gopher)");
    field("top_3gram", r.top_3gram, "of 3 words");
    field("top_4gram", r.top_4gram, "of 4 words");
    field("dup_5gram", r.dup_5gram, "characters in 5 words in a row seen before (Gopher)");
    field("dup_6gram", r.dup_6gram, "in 6 words");
    field("dup_7gram", r.dup_7gram, "in 7 words");
    field("dup_8gram", r.dup_8gram, "in 8 words");
    field("dup_9gram", r.dup_9gram, "in 9 words");
    field("dup_10gram", r.dup_10gram, "in 10 words");
    field("char_dup_ratio", r.char_dup_ratio, "characters in lines not blank seen before (FineWeb)");
    field("char_repetition", r.char_repetition,
          "share of the most frequent 10 characters in a row (data-juicer)");
    field("word_repetition", r.word_repetition, "10 words in a row that are not the only ones (data-juicer)");
    field("unique_word_fraction", r.unique_word_fraction, "different words per word");
    field("compressible", r.compressible, "bytes covered by copies of 8 bytes or more of what stands before");
  }
};

// Keeps its memory from text to text.
class RepetitionMeter {
 public:
  Repetition measure(const TextScan& scan);

 private:
  // A set of keys, emptied at once.
  class Set {
   public:
    void clear(size_t most) {
      const size_t slots = std::bit_ceil(std::max<size_t>(most * 3, 16));
      mask_ = slots - 1;
      if (keys_.size() < slots) keys_.resize(slots);
      std::fill_n(keys_.begin(), slots, 0);
    }

    bool insert(uint64_t key) {  // whether it is new
      key += key == 0;
      size_t at = (key ^ key >> 32) & mask_;
      while (keys_[at] != 0) {
        if (keys_[at] == key) return false;
        at = (at + 1) & mask_;
      }
      keys_[at] = key;
      return true;
    }

   protected:
    std::vector<uint64_t> keys_;
    uint64_t mask_ = 0;
  };

  // With a count for each.
  class Counter : Set {
   public:
    void clear(size_t most) {
      Set::clear(most);
      if (counts_.size() < keys_.size()) counts_.resize(keys_.size());
    }

    uint32_t& operator[](uint64_t key) {  // 0 when it is new
      key += key == 0;
      size_t at = (key ^ key >> 32) & mask_;
      while (keys_[at] != key) {
        if (keys_[at] == 0) {
          keys_[at] = key;
          return counts_[at] = 0;
        }
        at = (at + 1) & mask_;
      }
      return counts_[at];
    }

    uint32_t count(uint64_t key) const {
      key += key == 0;
      size_t at = (key ^ key >> 32) & mask_;
      while (keys_[at] != 0 && keys_[at] != key) at = (at + 1) & mask_;
      return keys_[at] == key ? counts_[at] : 0;
    }

    // Calls `take` with each count, in no order.
    template <class F>
    void each(F take) const {
      for (size_t at = 0; at <= mask_; ++at)
        if (keys_[at] != 0) take(counts_[at]);
    }

   private:
    std::vector<uint32_t> counts_;
  };

  void measure_lines(const TextScan& scan, Repetition& r);
  void measure_words(const TextScan& scan, Repetition& r);
  void measure_characters(const TextScan& scan, Repetition& r);
  bool surely_distinct(const std::vector<uint64_t>& keys);
  void find_repeats();
  void keep_repeated(std::vector<uint32_t>& words);
  uint32_t count_repeats();
  float top_ngram(const TextScan& scan, size_t n, uint32_t most);
  void find_copied_beginnings(const TextScan& scan);
  void measure_copies(const TextScan& scan, Repetition& r);

  std::vector<uint64_t> bits_;
  Set set_;
  Counter counter_;                       // of repeats_
  std::vector<uint64_t> keys_, repeats_;  // what is looked for, and once for each time that it was seen again
  std::vector<uint64_t> parted_,
      joined_;  // by word: hash of the n words from it on, with and without boundaries
  std::vector<uint32_t> repeated_, copied_,
      brief_;                    // words at which n-grams may repeat: of whole words, of joined ones
  std::vector<uint32_t> begin_;  // characters before a word, all words in a row
  std::vector<uint32_t> frequencies_;
  std::vector<uint32_t> last_seen_;
};

Repetition measure_repetition(const TextScan& scan);

}  // namespace decant
