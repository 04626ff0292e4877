#include "data_pipeline/repetition.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>

#include "core/hash.h"
#include "data_pipeline/unicode.h"

namespace decant {

namespace {

float ratio(double part, double whole) { return whole == 0 ? 0 : static_cast<float>(part / whole); }

// splitmix64's finaliser.
uint64_t mix(uint64_t x) {
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ x >> 27) * 0x94D049BB133111EBull;
  return x ^ x >> 31;
}

struct Duplicates {
  double elements = 0, characters = 0, all = 0;
};

}  // namespace

void RepetitionMeter::measure_lines(const TextScan& scan, Repetition& r) {
  const std::string_view text = scan.text;
  set_.clear(scan.newlines + 1);
  // re.split("\n+"): an element at each end even when it is empty.
  Duplicates lines;
  const auto add = [&](Duplicates& d, std::string_view element) {
    ++d.all;
    if (set_.insert(xxh3_64(element))) return;
    ++d.elements;
    d.characters += static_cast<double>(count_characters(element));
  };
  for (size_t begin = 0;;) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    add(lines, text.substr(begin, end - begin));
    if (end == text.size()) break;
    begin = std::min(text.find_first_not_of('\n', end), text.size());
  }
  r.dup_line_fraction = ratio(lines.elements, lines.all);
  r.dup_line_char_fraction = ratio(lines.characters, scan.characters);

  // re.split("\n{2,}") of the stripped text.
  set_.clear(scan.newlines + 1);
  Duplicates paragraphs;
  const std::string_view body = strip_right(strip_left(text));
  for (size_t begin = 0;;) {
    const size_t end = std::min(body.find("\n\n", begin), body.size());
    add(paragraphs, body.substr(begin, end - begin));
    if (end == body.size()) break;
    begin = std::min(body.find_first_not_of('\n', end), body.size());
  }
  r.dup_paragraph_fraction = ratio(paragraphs.elements, paragraphs.all);
  r.dup_paragraph_char_fraction = ratio(paragraphs.characters, scan.characters);

  // FineWeb: lines between '\n' that are not blank, over the characters that are no '\n'.
  set_.clear(scan.newlines + 1);
  Duplicates shown;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = text.substr(begin, end - begin);
    begin = end + 1;
    if (!strip_left(line).empty()) add(shown, line);
  }
  r.char_dup_ratio = ratio(shown.characters, scan.characters - scan.newlines);
}

// Of a short list, cheaply, by one bit of many for each key; false says nothing.
bool RepetitionMeter::surely_distinct(const std::vector<uint64_t>& keys, size_t count) {
  if (count > 256) return false;
  const size_t size = std::bit_ceil(count * 256);
  bits_.assign(std::max<size_t>(size / 64, 1), 0);
  for (size_t i = 0; i < count; ++i) {
    const size_t bit = (keys[i] ^ keys[i] >> 32) & (size - 1);
    if (bits_[bit / 64] >> bit % 64 & 1) return false;
    bits_[bit / 64] |= uint64_t{1} << bit % 64;
  }
  return true;
}

void RepetitionMeter::find_repeats(const std::vector<uint64_t>& keys, size_t count) {
  repeats_.clear();
  if (surely_distinct(keys, count)) return;
  set_.clear(count);
  set_.insert_all(keys.data(), count, [&](size_t i) {
    repeats_.push_back(keys[i]);
    return size_t{1};
  });
}

// How often the most frequent of repeats_ was seen, all in all.
uint32_t RepetitionMeter::count_repeats() {
  counter_.clear(repeats_.size());
  uint32_t most = 0;
  for (const uint64_t key : repeats_) most = std::max(most, ++counter_[key]);
  return most + 1;
}

// Counter(n-grams).most_common(1): the most frequent one, of equals the first seen; its length (with the
// spaces between) times its count.
float RepetitionMeter::top_ngram(const TextScan& scan, size_t n) {
  const size_t words = scan.words.size();
  if (words < n) return 0;
  size_t top = 0;
  uint32_t most = 1;
  if (!repeats_.empty()) {  // else of n - 1 words none was seen again, and so none of n
    find_repeats(parted_, words - n + 1);
    if (!repeats_.empty()) {
      most = count_repeats();
      while (counter_.count(parted_[top]) + 1 != most) ++top;
    }
  }
  const auto length = static_cast<double>(begin_[top + n] - begin_[top] + n - 1);
  return ratio(length * most, scan.characters);
}

// n words without spaces between, as one string; after one that was seen before, n words on.
float RepetitionMeter::duplicate_ngrams(const TextScan& scan, size_t n) {
  const size_t words = scan.words.size();
  if (words < n) return 0;
  const size_t grams = words - n + 1;
  if (surely_distinct(joined_, grams)) return 0;
  set_.clear(grams);
  double repeated = 0;
  set_.insert_all(joined_.data(), grams, [&](size_t i) {
    repeated += begin_[i + n] - begin_[i];
    return n;
  });
  return ratio(repeated, scan.characters);
}

void RepetitionMeter::measure_words(const TextScan& scan, Repetition& r) {
  const size_t words = scan.words.size();
  if (words == 0) return;
  joined_.resize(words);
  parted_.resize(words);
  begin_.resize(words + 1);
  uint32_t at = 0;
  for (size_t i = 0; i < words; ++i) {
    joined_[i] = scan.words[i].hash;
    parted_[i] = mix(scan.words[i].hash + 1);
    begin_[i] = at;
    at += scan.words[i].characters;
  }
  begin_[words] = at;
  find_repeats(parted_, words);
  r.unique_word_fraction = ratio(static_cast<double>(words - repeats_.size()), static_cast<double>(words));
  float* const values[] = {&r.top_2gram, &r.top_3gram, &r.top_4gram, &r.dup_5gram, &r.dup_6gram,
                           &r.dup_7gram, &r.dup_8gram, &r.dup_9gram, &r.dup_10gram};
  for (size_t n = 2; n <= 10 && n <= words; ++n) {
    const ScannedWord* next = &scan.words[n - 1];
    // Whole n-grams count to 4, and to 10 where there are copies of 5.
    if (n <= 5 || r.dup_5gram > 0)
      for (size_t i = 0; i + n <= words; ++i)
        parted_[i] = mix(parted_[i] * 0x9E3779B97F4A7C15ull + next[i].hash + 1);
    for (size_t i = 0; i + n <= words; ++i)
      joined_[i] = reduce_mod_p(Uint128{joined_[i]} * next[i].power + next[i].hash);
    *values[n - 2] = n <= 4 ? top_ngram(scan, n) : duplicate_ngrams(scan, n);
  }
  if (words < 10 || r.dup_5gram == 0) return;
  find_repeats(parted_, words - 9);
  count_repeats();
  auto again = static_cast<double>(repeats_.size());
  counter_.each([&](uint32_t) { ++again; });
  r.word_repetition = ratio(again, static_cast<double>(words - 9));
}

void RepetitionMeter::measure_characters(const TextScan& scan, Repetition& r) {
  const std::string_view text = scan.text;
  // data-juicer: 10 characters in a row; the share of the sqrt(kinds) most frequent kinds, of those that are
  // not the only ones.
  constexpr size_t kLength = 10;
  if (scan.characters >= kLength) {
    const size_t grams = scan.characters - kLength + 1;
    characters_.clear();
    const char* first = text.data();
    const char* last = first;  // behind the n-gram's end
    for (size_t i = 0; i < kLength - 1; ++i) next_code_point(last);
    while (last < text.data() + text.size()) {
      next_code_point(last);
      characters_.push_back(xxh3_64({first, static_cast<size_t>(last - first)}));
      next_code_point(first);
    }
    find_repeats(characters_, grams);
    if (!repeats_.empty()) {
      count_repeats();
      frequencies_.clear();
      counter_.each([&](uint32_t again) { frequencies_.push_back(again + 1); });
      const auto kinds = static_cast<double>(grams - repeats_.size());
      const size_t most = std::min(static_cast<size_t>(std::sqrt(kinds)), frequencies_.size());
      const auto middle = frequencies_.begin() + static_cast<ptrdiff_t>(most);
      std::nth_element(frequencies_.begin(), middle, frequencies_.end(), std::greater<>());
      double sum = 0;
      for (size_t i = 0; i < most; ++i) sum += frequencies_[i];
      r.char_repetition = ratio(sum, static_cast<double>(grams));
    }
  }

  // As LZ4 looks for copies: the last place of every four bytes, hashed.
  constexpr size_t kShortest = 8;
  const int bits = std::clamp(static_cast<int>(std::bit_width(text.size())), 8, 15);
  last_seen_.assign(size_t{1} << bits, 0);
  const auto four = [&](size_t i) {
    uint32_t v;
    std::memcpy(&v, text.data() + i, sizeof v);
    return v;
  };
  size_t covered = 0;
  for (size_t i = 0; i + kShortest <= text.size();) {
    const uint32_t v = four(i);
    uint32_t& place = last_seen_[v * 2654435761u >> (32 - bits)];
    const size_t before = place;
    place = static_cast<uint32_t>(i + 1);
    size_t length = 0;
    if (before != 0 && four(before - 1) == v) {
      length = 4;
      while (i + length < text.size() && text[before - 1 + length] == text[i + length]) ++length;
    }
    if (length >= kShortest) {
      covered += length;
      i += length;
    } else {
      ++i;
    }
  }
  r.compressible = ratio(static_cast<double>(covered), static_cast<double>(text.size()));
}

Repetition RepetitionMeter::measure(const TextScan& scan) {
  Repetition r;
  if (scan.text.empty()) return r;
  measure_lines(scan, r);
  measure_words(scan, r);
  measure_characters(scan, r);
  return r;
}

Repetition measure_repetition(const TextScan& scan) { return RepetitionMeter().measure(scan); }

}  // namespace decant
