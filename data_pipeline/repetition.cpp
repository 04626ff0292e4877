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

// Of ten bytes.
uint64_t hash_of_ten(const char* p) {
  uint64_t eight;
  uint16_t two;
  std::memcpy(&eight, p, sizeof eight);
  std::memcpy(&two, p + sizeof eight, sizeof two);
  return mix(eight ^ 0x9E3779B97F4A7C15ull * (two + 1u));
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
bool RepetitionMeter::surely_distinct(const std::vector<uint64_t>& keys) {
  if (keys.size() > 256) return false;
  const size_t size = std::bit_ceil(keys.size() * 256);
  bits_.assign(std::max<size_t>(size / 64, 1), 0);
  for (const uint64_t key : keys) {
    const size_t bit = (key ^ key >> 32) & (size - 1);
    if (bits_[bit / 64] >> bit % 64 & 1) return false;
    bits_[bit / 64] |= uint64_t{1} << bit % 64;
  }
  return true;
}

// repeats_ of keys_.
void RepetitionMeter::find_repeats() {
  repeats_.clear();
  if (surely_distinct(keys_)) return;
  set_.clear(keys_.size());
  for (const uint64_t key : keys_)
    if (!set_.insert(key)) repeats_.push_back(key);
}

// Of `words`, whose keys_ are there, those that are in repeats_ (which count_repeats() has counted).
void RepetitionMeter::keep_repeated(std::vector<uint32_t>& words) {
  size_t kept = 0;
  for (size_t k = 0; k < words.size(); ++k)
    if (counter_.count(keys_[k]) > 0) words[kept++] = words[k];
  words.resize(kept);
}

// How often the most frequent of repeats_ was seen, all in all.
uint32_t RepetitionMeter::count_repeats() {
  counter_.clear(repeats_.size());
  uint32_t most = 0;
  for (const uint64_t key : repeats_) most = std::max(most, ++counter_[key]);
  return most + 1;
}

// Counter(n-grams).most_common(1): the most frequent one, of equals the first seen; its length (with the
// spaces between) times its count. repeated_ has the words whose n-grams were seen more than once.
float RepetitionMeter::top_ngram(const TextScan& scan, size_t n, uint32_t most) {
  size_t top = 0;
  for (size_t k = 0; most > 1; ++k)
    if (counter_.count(keys_[k]) + 1 == most) {
      top = repeated_[k];
      break;
    }
  const auto length = static_cast<double>(begin_[top + n] - begin_[top] + n - 1);
  return ratio(length * most, scan.characters);
}

// copied_: words from which n >= 5 words, joined, may stand in the text a second time. Where they do, and
// have kPrefix bytes or more, the first kPrefix are the same; where they have fewer, so have the first five
// of them at both places, and these begin with the same bytes.
void RepetitionMeter::find_copied_beginnings(const TextScan& scan) {
  constexpr size_t kPrefix = TextScan::kJoinedPadding, kWords = 5;
  static_assert(kPrefix == 2 * sizeof(uint64_t));
  const auto& words = scan.words;
  const size_t count = words.size() - (kWords - 1);
  const size_t all_bytes = scan.joined.size() - TextScan::kJoinedPadding;
  const auto eight = [&](size_t at) {
    uint64_t v;
    std::memcpy(&v, scan.joined.data() + at, sizeof v);
    return v;
  };
  copied_.resize(count);
  keys_.resize(count);
  size_t least = kPrefix;
  for (size_t i = 0; i < count; ++i) {
    const size_t at = words[i].begin;
    copied_[i] = static_cast<uint32_t>(i);
    keys_[i] = mix(eight(at) + 0x9E3779B97F4A7C15ull * eight(at + 8));
    const size_t end = i + kWords < words.size() ? words[i + kWords].begin : all_bytes;
    least = std::min(least, end - at);
  }
  find_repeats();
  count_repeats();
  keep_repeated(copied_);
  if (least == kPrefix) return;

  brief_.clear();
  keys_.clear();
  for (size_t i = 0; i < count; ++i) {
    const size_t at = words[i].begin;
    const size_t end = i + kWords < words.size() ? words[i + kWords].begin : all_bytes;
    if (end - at >= kPrefix) continue;
    brief_.push_back(static_cast<uint32_t>(i));
    const uint64_t low = eight(at), high = eight(at + 8);
    if (least <= 8) {
      keys_.push_back(mix(low << (64 - 8 * least)));
    } else {
      keys_.push_back(mix(low + 0x9E3779B97F4A7C15ull * (high << (128 - 8 * least))));
    }
  }
  find_repeats();
  if (repeats_.empty()) return;
  count_repeats();
  keep_repeated(brief_);
  const size_t before = copied_.size();
  copied_.insert(copied_.end(), brief_.begin(), brief_.end());
  std::inplace_merge(copied_.begin(), copied_.begin() + static_cast<ptrdiff_t>(before), copied_.end());
  copied_.erase(std::unique(copied_.begin(), copied_.end()), copied_.end());
}

// n words without spaces between, as one string; after one that was seen before, n words on.
void RepetitionMeter::measure_copies(const TextScan& scan, Repetition& r) {
  const auto& words = scan.words;
  if (words.size() < 5) return;
  find_copied_beginnings(scan);
  if (copied_.empty()) return;
  joined_.resize(words.size());
  const auto append = [&](uint32_t i, const ScannedWord& next) {
    joined_[i] = reduce_mod_p(Uint128{joined_[i]} * next.power + next.hash);
  };
  for (const uint32_t i : copied_) {
    joined_[i] = words[i].hash;
    for (size_t k = 1; k < 4; ++k) append(i, words[i + k]);
  }
  float* const values[] = {&r.dup_5gram, &r.dup_6gram, &r.dup_7gram,
                           &r.dup_8gram, &r.dup_9gram, &r.dup_10gram};
  for (size_t n = 5; n <= 10 && n <= words.size(); ++n) {
    while (!copied_.empty() && copied_.back() + n > words.size()) copied_.pop_back();
    for (const uint32_t i : copied_) append(i, words[i + n - 1]);
    set_.clear(copied_.size());
    double repeated = 0;
    size_t next = 0;
    for (const uint32_t i : copied_) {
      if (i < next || set_.insert(joined_[i])) continue;
      repeated += begin_[i + n] - begin_[i];
      next = i + n;
    }
    *values[n - 5] = ratio(repeated, scan.characters);
  }
}

void RepetitionMeter::measure_words(const TextScan& scan, Repetition& r) {
  const size_t words = scan.words.size();
  if (words == 0) return;
  parted_.resize(words);
  begin_.resize(words + 1);
  repeated_.resize(words);
  uint32_t at = 0;
  for (size_t i = 0; i < words; ++i) {
    parted_[i] = mix(scan.words[i].hash + 1);
    repeated_[i] = static_cast<uint32_t>(i);
    begin_[i] = at;
    at += scan.words[i].characters;
  }
  begin_[words] = at;
  // repeated_ becomes the words whose n-grams stand in the text more than once: no others can have longer
  // ones that do. How often the most frequent one is there.
  const auto count = [&](size_t n) -> uint32_t {
    while (!repeated_.empty() && repeated_.back() + n > words) repeated_.pop_back();
    keys_.clear();
    for (const uint32_t i : repeated_) {
      if (n > 1) parted_[i] = mix(parted_[i] * 0x9E3779B97F4A7C15ull + scan.words[i + n - 1].hash + 1);
      keys_.push_back(parted_[i]);
    }
    find_repeats();
    return count_repeats();
  };
  count(1);
  r.unique_word_fraction = ratio(static_cast<double>(words - repeats_.size()), static_cast<double>(words));
  float* const top[] = {&r.top_2gram, &r.top_3gram, &r.top_4gram};
  for (size_t n = 2; n <= 10 && n <= words; ++n) {
    keep_repeated(repeated_);
    const uint32_t most = count(n);
    if (n <= 4) *top[n - 2] = top_ngram(scan, n, most);
    if (n < 10) continue;
    keep_repeated(repeated_);
    r.word_repetition = ratio(static_cast<double>(repeated_.size()), static_cast<double>(words - 9));
  }
  measure_copies(scan, r);
}

void RepetitionMeter::measure_characters(const TextScan& scan, Repetition& r) {
  const std::string_view text = scan.text;
  // data-juicer: 10 characters in a row; the share of the sqrt(kinds) most frequent kinds, of those that are
  // not the only ones.
  constexpr size_t kLength = 10;
  if (scan.characters >= kLength) {
    const size_t grams = scan.characters - kLength + 1;
    keys_.clear();
    const char* first = text.data();
    const char* last = first;  // behind the n-gram's end
    for (size_t i = 0; i < kLength - 1; ++i) next_code_point(last);
    while (last < text.data() + text.size()) {
      next_code_point(last);
      keys_.push_back(last - first == kLength ? hash_of_ten(first)
                                              : xxh3_64({first, static_cast<size_t>(last - first)}));
      next_code_point(first);
    }
    find_repeats();
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
