// Lists of numbers that grow past memory: the first `memory_bytes` stay in memory, the rest goes to a
// nameless file, which vanishes with the process. Append first, then seal() and read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

namespace decant {

class Spill {
 public:
  // The file is made in `folder` when it is needed; a full disk is an Error with exit status 75.
  Spill(std::filesystem::path folder, uint64_t memory_bytes);
  ~Spill();
  Spill(const Spill&) = delete;
  Spill& operator=(const Spill&) = delete;

  // Where the list begins, counted in numbers.
  uint64_t append(std::span<const uint64_t> numbers);
  void seal();
  // A list that was appended, after seal(). Views stay valid; not for two threads at once.
  std::span<const uint64_t> at(uint64_t begin, size_t count);

  uint64_t file_bytes() const { return file_bytes_; }

 private:
  void open_file();
  void flush();

  std::filesystem::path folder_;
  uint64_t limit_ = 0, used_ = 0;  // numbers in memory
  uint64_t* memory_ = nullptr;     // reserved, given pages as it fills
  int descriptor_ = -1;
  std::vector<uint64_t> buffer_;
  uint64_t file_bytes_ = 0, mapped_bytes_ = 0, touched_ = 0;
  const uint64_t* mapped_ = nullptr;
};

}  // namespace decant
