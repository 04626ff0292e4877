// A text file that only grows, a line at a time, and can be cut back to what a checkpoint recorded.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>

namespace decant {

class LineFile {
 public:
  // Opens or makes the file and cuts it to `keep_bytes`. Error when it is shorter than that.
  LineFile(const std::filesystem::path& path, uint64_t keep_bytes);
  // Opens or makes the file and goes on at its end.
  explicit LineFile(const std::filesystem::path& path);
  ~LineFile();
  LineFile(const LineFile&) = delete;
  LineFile& operator=(const LineFile&) = delete;
  void append(std::string_view bytes);  // one write(2); no space is an Error with exit status 75
  void cut(uint64_t keep_bytes);        // back to what it was then
  void sync();
  uint64_t bytes() const { return bytes_; }

 private:
  void open();
  std::filesystem::path path_;
  int descriptor_ = -1;
  uint64_t bytes_ = 0;
};

}  // namespace decant
