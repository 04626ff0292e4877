#include "data_pipeline/phrases.h"

#include <immintrin.h>

#include <algorithm>
#include <bit>
#include <stdexcept>

#include "core/instruction_set.h"

namespace decant {

namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

char upper(char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; }

uint32_t pair(char a, char b) {
  return uint32_t{static_cast<unsigned char>(a)} << 8 | static_cast<unsigned char>(b);
}

bool begins(std::string_view text, const std::string& phrase) {
  if (text.size() < phrase.size()) return false;
  for (size_t i = 0; i < phrase.size(); ++i)
    if (lower(text[i]) != phrase[i]) return false;
  return true;
}

__attribute__((target("avx2"))) __m256i table(const std::array<uint8_t, 16>& of) {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(of.data())));
}

__attribute__((target("avx2"))) size_t next_pair(const PairFilter& filter, std::string_view text,
                                                 size_t begin) {
  const __m256i low_first = table(filter.low_first), high_first = table(filter.high_first),
                low_second = table(filter.low_second), high_second = table(filter.high_second);
  const __m256i half = _mm256_set1_epi8(15), zero = _mm256_setzero_si256();
  for (; begin + 33 <= text.size(); begin += 32) {
    const char* const p = text.data() + begin;
    const __m256i first = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    const __m256i second = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 1));
    const __m256i of_first = _mm256_and_si256(
        _mm256_shuffle_epi8(low_first, _mm256_and_si256(first, half)),
        _mm256_shuffle_epi8(high_first, _mm256_and_si256(_mm256_srli_epi16(first, 4), half)));
    const __m256i of_second = _mm256_and_si256(
        _mm256_shuffle_epi8(low_second, _mm256_and_si256(second, half)),
        _mm256_shuffle_epi8(high_second, _mm256_and_si256(_mm256_srli_epi16(second, 4), half)));
    const auto none = static_cast<uint32_t>(
        _mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_and_si256(of_first, of_second), zero)));
    if (~none != 0) return begin + static_cast<size_t>(std::countr_zero(~none));
  }
  return begin;
}

}  // namespace

void PairFilter::add(char first, char second) {
  const auto a = static_cast<unsigned char>(first), b = static_cast<unsigned char>(second);
  // Pairs that begin alike share a bit, so that the bits stay apart where they can.
  const auto bit = static_cast<uint8_t>(1u << (a ^ a >> 3 ^ a >> 5) % 8);
  low_first[a & 15] |= bit;
  high_first[a >> 4] |= bit;
  low_second[b & 15] |= bit;
  high_second[b >> 4] |= bit;
}

size_t PairFilter::next(std::string_view text, size_t begin) const {
  static const bool avx2 = instruction_set() >= InstructionSet::kAvx2;
  if (avx2) return next_pair(*this, text, begin);
  return begin;
}

Phrases::Phrases(std::initializer_list<std::string_view> phrases) {
  for (const std::string_view phrase : phrases) {
    if (phrase.size() < 2) throw std::logic_error("a phrase has two bytes at least");
    std::string& low = phrases_.emplace_back(phrase);
    std::transform(low.begin(), low.end(), low.begin(), lower);
    for (const char a : {low[0], upper(low[0])})
      for (const char b : {low[1], upper(low[1])}) {
        pairs_[pair(a, b) / 64] |= uint64_t{1} << pair(a, b) % 64;
        filter_.add(a, b);
      }
  }
  std::sort(phrases_.begin(), phrases_.end(), [](const std::string& a, const std::string& b) {
    const uint32_t p = pair(a[0], a[1]), q = pair(b[0], b[1]);
    return p != q ? p < q : a.size() != b.size() ? a.size() > b.size() : a < b;
  });
}

int64_t Phrases::count(std::string_view text) const {
  int64_t found = 0;
  for (size_t i = filter_.next(text, 0); i + 1 < text.size(); i = filter_.next(text, i + 1)) {
    const uint32_t raw = pair(text[i], text[i + 1]);
    if ((pairs_[raw / 64] >> raw % 64 & 1) == 0) continue;
    const uint32_t p = pair(lower(text[i]), lower(text[i + 1]));
    auto at = std::lower_bound(
        phrases_.begin(), phrases_.end(), p,
        [](const std::string& phrase, uint32_t q) { return pair(phrase[0], phrase[1]) < q; });
    for (; at != phrases_.end() && pair((*at)[0], (*at)[1]) == p; ++at) {
      if (!begins(text.substr(i), *at)) continue;
      ++found;
      i += at->size() - 1;
      break;
    }
  }
  return found;
}

}  // namespace decant
