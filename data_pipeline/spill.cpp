#include "data_pipeline/spill.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>

#include "core/error.h"

namespace decant {

namespace {

constexpr size_t kBufferNumbers = size_t{1} << 17;
constexpr uint64_t kPageBytes = 4096;
constexpr uint64_t kResidentBytes = uint64_t{128}
                                    << 20;  // of the mapped file, before its pages are given back

}  // namespace

Spill::Spill(std::filesystem::path folder, uint64_t memory_bytes)
    : folder_(std::move(folder)), limit_(std::max(memory_bytes, kPageBytes) / sizeof(uint64_t)) {
  void* region = ::mmap(nullptr, limit_ * sizeof(uint64_t), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  check(region != MAP_FAILED, "near-duplicates: cannot reserve ", memory_bytes,
        " bytes of memory: ", std::strerror(errno));
  memory_ = static_cast<uint64_t*>(region);
}

Spill::~Spill() {
  ::munmap(memory_, limit_ * sizeof(uint64_t));
  if (mapped_ != nullptr) ::munmap(const_cast<uint64_t*>(mapped_), mapped_bytes_);
  if (descriptor_ >= 0) ::close(descriptor_);
}

void Spill::open_file() {
  std::error_code error;
  std::filesystem::create_directories(folder_, error);
  descriptor_ = ::open(folder_.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (descriptor_ >= 0) return;
  std::string name = (folder_ / "spill-XXXXXX.tmp").string();  // a file system without O_TMPFILE
  descriptor_ = ::mkostemps(name.data(), 4, O_CLOEXEC);
  check(descriptor_ >= 0, folder_.string(), ": cannot make a temporary file: ", std::strerror(errno));
  ::unlink(name.c_str());
}

void Spill::flush() {
  const char* data = reinterpret_cast<const char*>(buffer_.data());
  for (size_t left = buffer_.size() * sizeof(uint64_t); left > 0;) {
    const ssize_t written = ::write(descriptor_, data, left);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0)
      fail_try_again(folder_.string(), ": cannot write a temporary file after ", file_bytes_,
                     " bytes: ", std::strerror(errno), "; make room and run the same command again");
    data += written;
    left -= static_cast<size_t>(written);
    file_bytes_ += static_cast<uint64_t>(written);
  }
  buffer_.clear();
}

uint64_t Spill::append(std::span<const uint64_t> numbers) {
  if (descriptor_ < 0 && used_ + numbers.size() <= limit_) {
    std::copy(numbers.begin(), numbers.end(), memory_ + used_);
    used_ += numbers.size();
    return used_ - numbers.size();
  }
  if (descriptor_ < 0) open_file();  // from here on everything goes to the file
  if (buffer_.size() + numbers.size() > kBufferNumbers) flush();
  const uint64_t begin = limit_ + file_bytes_ / sizeof(uint64_t) + buffer_.size();
  buffer_.insert(buffer_.end(), numbers.begin(), numbers.end());
  return begin;
}

void Spill::seal() {
  if (descriptor_ < 0 || mapped_ != nullptr) return;
  flush();
  if (file_bytes_ == 0) return;
  void* mapped = ::mmap(nullptr, file_bytes_, PROT_READ, MAP_SHARED, descriptor_, 0);
  check(mapped != MAP_FAILED, folder_.string(), ": cannot map a temporary file of ", file_bytes_,
        " bytes: ", std::strerror(errno));
  (void)::madvise(mapped, file_bytes_, MADV_RANDOM);
  mapped_ = static_cast<const uint64_t*>(mapped);
  mapped_bytes_ = file_bytes_;
}

std::span<const uint64_t> Spill::at(uint64_t begin, size_t count) {
  if (begin < limit_) return {memory_ + begin, count};
  touched_ += (count * sizeof(uint64_t) / kPageBytes + 1) * kPageBytes;
  if (touched_ > kResidentBytes) {  // the pages come back from the cache or the disk when they are read again
    (void)::madvise(const_cast<uint64_t*>(mapped_), mapped_bytes_, MADV_DONTNEED);
    touched_ = 0;
  }
  return {mapped_ + (begin - limit_), count};
}

}  // namespace decant
