// A text as the PII finders see it: one unit per character, lower case, full-width forms, dashes and spaces
// folded to ASCII, invisible characters left out, with the byte each began at.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace decant {

class PiiText {
 public:
  explicit PiiText(std::string_view bytes);

  size_t size() const { return size_; }
  // 0 beyond either end, so i - 1 of the first is 0.
  char16_t operator[](size_t i) const {
    count(1);
    return i < size_ ? units_[i] : u'\0';
  }
  std::u16string_view units(size_t begin, size_t end) const { return {units_.data() + begin, end - begin}; }
  std::string_view bytes() const { return bytes_; }
  size_t byte(size_t i) const { return starts_[i]; }  // of size(): the end
  size_t byte_end(size_t i) const;                    // where the character before unit i ended

  bool digit(size_t i) const { return (*this)[i] >= u'0' && (*this)[i] <= u'9'; }
  bool letter(size_t i) const { return (*this)[i] >= u'a' && (*this)[i] <= u'z'; }
  bool alnum(size_t i) const { return digit(i) || letter(i); }
  bool han(size_t i) const { return (*this)[i] >= 0x4e00 && (*this)[i] <= 0x9fff; }
  bool space(size_t i) const { return (*this)[i] == u' '; }
  bool upper(size_t i) const;  // a letter that was upper case
  bool starts(size_t i, std::u16string_view word) const {
    count(1);
    return i < size_ && std::u16string_view(units_.data() + i, size_ - i).starts_with(word);
  }
  bool ends(size_t i, std::u16string_view word) const {  // whether `word` ends before unit i
    count(1);
    return i <= size_ && std::u16string_view(units_.data(), i).ends_with(word);
  }
  std::string ascii(size_t begin, size_t end) const;  // UTF-8 of the units

#ifdef DECANT_COUNT_PII_READS  // tests/data_pipeline/pii_work_test.cpp
  static inline uint64_t reads = 0;
  static void count(size_t n) { reads += n; }
#else
  static void count(size_t) {}
#endif

 private:
  std::string_view bytes_;
  std::vector<char16_t> units_;
  std::vector<uint32_t> starts_;
  size_t size_ = 0;
};

}  // namespace decant
