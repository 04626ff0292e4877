#include "train/line_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/error.h"

namespace decant {

namespace {

[[noreturn]] void fail_on(const std::filesystem::path& path, const char* what) {
  const int error = errno;
  const std::string text = concat(path.string(), ": cannot ", what, ": ", std::strerror(error));
  throw Error(text, error == ENOSPC || error == EDQUOT ? Exit::kTryAgain : Exit::kUserError);
}

}  // namespace

void LineFile::open() {
  descriptor_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (descriptor_ < 0) fail_on(path_, "open");
  struct stat status {};
  if (::fstat(descriptor_, &status) != 0) fail_on(path_, "read the size");
  bytes_ = static_cast<uint64_t>(status.st_size);
}

LineFile::LineFile(const std::filesystem::path& path) : path_(path) { open(); }

LineFile::LineFile(const std::filesystem::path& path, uint64_t keep_bytes) : path_(path) {
  open();
  const uint64_t found = bytes_;
  if (found < keep_bytes) {
    ::close(descriptor_);
    fail(path_.string(), ": has ", found, " bytes, the checkpoint recorded ", keep_bytes,
         "; the file was changed by hand: put it back, or remove the folder to start anew");
  }
  cut(keep_bytes);
}

void LineFile::cut(uint64_t keep_bytes) {
  if (::ftruncate(descriptor_, static_cast<off_t>(keep_bytes)) != 0) fail_on(path_, "cut back");
  bytes_ = keep_bytes;
}

LineFile::~LineFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void LineFile::append(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t done = ::write(descriptor_, bytes.data(), bytes.size());
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) fail_on(path_, "write");
    bytes.remove_prefix(static_cast<size_t>(done));
    bytes_ += static_cast<uint64_t>(done);
  }
}

void LineFile::sync() {
  if (::fsync(descriptor_) != 0) fail_on(path_, "flush");
}

}  // namespace decant
