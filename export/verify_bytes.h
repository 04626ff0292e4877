// Bytes of a file under check, read little endian with every length checked. Part of verify: shares nothing
// with core's readers.
#pragma once

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>

namespace decant::verifying {

// What is wrong with a release. Caught by verify_release, which makes a failed Check of it.
class Defect : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

template <class... Parts>
void expect(bool ok, const Parts&... parts) {
  if (ok) return;
  std::ostringstream text;
  text.precision(9);
  (text << ... << parts);
  throw Defect(text.str());
}

// The whole file; a Defect when it cannot be read.
std::string slurp(const std::filesystem::path& path);
// Of the bytes, lower-case hex.
std::string sha256_of(std::string_view bytes);

// A position in bytes. Every take checks that the bytes are there.
class Cursor {
 public:
  explicit Cursor(std::string_view bytes) : bytes_(bytes) {}
  template <class T>
  T take(const char* what) {
    need(sizeof(T), what);
    T value;
    std::memcpy(&value, bytes_.data() + at_, sizeof(T));
    at_ += sizeof(T);
    return value;
  }
  std::string_view take_bytes(uint64_t count, const char* what) {
    need(count, what);
    const auto part = bytes_.substr(at_, count);
    at_ += count;
    return part;
  }
  size_t at() const { return at_; }
  size_t left() const { return bytes_.size() - at_; }

 private:
  void need(uint64_t count, const char* what) const {
    expect(count <= left(), "truncated: ", what, " at byte ", at_, " needs ", count, " bytes, ", left(),
           " are left");
  }
  std::string_view bytes_;
  size_t at_ = 0;
};

float float_of_half(uint16_t bits);

}  // namespace decant::verifying
