#include "core/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <system_error>
#include <utility>
#include <vector>

#include "core/error.h"

namespace decant {
namespace fs = std::filesystem;

namespace {

constexpr size_t kBufferBytes = 1 << 20;

std::string reason() { return std::strerror(errno); }

// No space, quota and `ulimit -f` pass when the user makes room; the rest needs the user.
[[noreturn]] void fail_writing(const fs::path& path, const char* what, int error = errno) {
  const std::string message = concat(path.string(), ": cannot ", what, ": ", std::strerror(error));
  if (error == ENOSPC || error == EDQUOT || error == EFBIG)
    fail_try_again(message, "; make room and run the same command again");
  fail(message);
}

void fsync_path(const fs::path& path, int flags) {
  const int descriptor = ::open(path.c_str(), flags | O_CLOEXEC);
  if (descriptor < 0) fail_writing(path, "open for fsync");
  const int result = ::fsync(descriptor);
  ::close(descriptor);
  if (result != 0 && errno != EINVAL) fail_writing(path, "fsync");
}

fs::path parent_of(const fs::path& path) {
  const fs::path parent = path.parent_path();
  return parent.empty() ? fs::path(".") : parent;
}

fs::path temporary_of(fs::path path) {
  path += ".tmp";
  return path;
}

void make_folder(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) fail_writing(path, "make the folder", error.value());
}

void remove_tree(const fs::path& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) fail_writing(path, "remove", error.value());
}

// Puts `from` in the place of `to`; what was there is then at `from`. A folder cannot be renamed over a
// filled one, so the two are exchanged: at no moment is `to` absent.
void exchange(const fs::path& from, const fs::path& to) {
  struct stat status {};
  if (::lstat(to.c_str(), &status) == 0) {
    if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_EXCHANGE) == 0) return;
    if (errno != EINVAL && errno != ENOSYS) fail_writing(to, "replace");
    // A file system without exchange: the old one steps aside first.
    const fs::path old = fs::path(to) += ".old.tmp";
    remove_tree(old);
    if (::rename(to.c_str(), old.c_str()) != 0) fail_writing(to, "move the old one aside");
    if (::rename(from.c_str(), to.c_str()) != 0) {
      const int error = errno;
      (void)::rename(old.c_str(), to.c_str());
      fail_writing(to, "rename", error);
    }
    remove_tree(old);
    return;
  }
  if (::rename(from.c_str(), to.c_str()) != 0) fail_writing(to, "rename");
}

}  // namespace

MappedFile::MappedFile(const fs::path& path) : path_(path) {
  // Not blocking: a pipe that nobody writes to would hold us here for ever.
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  check(descriptor >= 0, path.string(), ": cannot open for reading: ", reason());
  struct stat status {};
  const bool known = ::fstat(descriptor, &status) == 0;
  if (!known || !S_ISREG(status.st_mode)) {
    ::close(descriptor);
    fail(path.string(), ": expected a file, found ", S_ISDIR(status.st_mode) ? "a folder" : "something else");
  }
  size_ = static_cast<size_t>(status.st_size);
  if (size_ > 0) {
    void* mapped = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, descriptor, 0);
    const int error = errno;
    ::close(descriptor);
    check(mapped != MAP_FAILED, path.string(), ": cannot map ", size_, " bytes: ", std::strerror(error));
    data_ = static_cast<const char*>(mapped);
  } else {
    ::close(descriptor);
  }
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<char*>(data_), size_);
}

void MappedFile::let_go(std::string_view part) const {
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const size_t begin = part.empty() ? 0 : static_cast<size_t>(part.data() - data_);
  const size_t first = (begin + page - 1) / page * page, last = (begin + part.size()) / page * page;
  if (first < last) ::madvise(const_cast<char*>(data_) + first, last - first, MADV_DONTNEED);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

std::string read_file(const fs::path& path) { return std::string(MappedFile(path).bytes()); }

AtomicFile::AtomicFile(fs::path path) : path_(std::move(path)), temporary_(temporary_of(path_)) {
  make_folder(parent_of(path_));
  descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (descriptor_ < 0) fail_writing(path_, "create");
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (!committed_) ::unlink(temporary_.c_str());
}

void AtomicFile::write(std::string_view bytes) {
  if (buffer_.size() + bytes.size() > kBufferBytes) flush();
  if (bytes.size() < kBufferBytes) {
    buffer_.append(bytes);
    return;
  }
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor_, bytes.data(), bytes.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      fail_writing(path_, "write");
    }
    bytes.remove_prefix(static_cast<size_t>(written));
  }
}

void AtomicFile::flush() {
  size_t done = 0;
  while (done < buffer_.size()) {
    const ssize_t written = ::write(descriptor_, buffer_.data() + done, buffer_.size() - done);
    if (written < 0) {
      if (errno == EINTR) continue;
      fail_writing(path_, "write");
    }
    done += static_cast<size_t>(written);
  }
  buffer_.clear();
}

void AtomicFile::commit() {
  flush();
  if (::fsync(descriptor_) != 0) fail_writing(path_, "fsync");
  const int descriptor = std::exchange(descriptor_, -1);
  if (::close(descriptor) != 0) fail_writing(path_, "close");
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail_writing(path_, "rename");
  committed_ = true;
  fsync_path(parent_of(path_), O_RDONLY | O_DIRECTORY);
}

void write_file(const fs::path& path, std::string_view bytes) {
  AtomicFile file(path);
  file.write(bytes);
  file.commit();
}

void write_folder(const fs::path& target, const std::function<void(const fs::path&)>& fill) {
  // "out/" is "out": its sibling is out.tmp, not out/.tmp.
  const fs::path path = target.has_filename() ? target : target.parent_path();
  const fs::path temporary = temporary_of(path);
  remove_tree(temporary);
  make_folder(temporary);
  try {
    fill(temporary);
    std::vector<fs::path> folders{temporary};
    for (const auto& entry : fs::recursive_directory_iterator(temporary)) {
      if (entry.is_directory())
        folders.push_back(entry.path());
      else if (entry.is_regular_file())
        fsync_path(entry.path(), O_RDONLY);
    }
    for (const auto& folder : folders) fsync_path(folder, O_RDONLY | O_DIRECTORY);
    exchange(temporary, path);
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(temporary, ignored);
    throw;
  }
  fsync_path(parent_of(path), O_RDONLY | O_DIRECTORY);
  remove_tree(temporary);
}

void remove_temporaries(const fs::path& folder) {
  if (!fs::is_directory(folder)) return;
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.path().extension() == ".tmp") found.push_back(entry.path());
  for (const auto& path : found) remove_tree(path);
}

void check_free_disk(const fs::path& path, uint64_t bytes) {
  fs::path existing = fs::absolute(path);
  while (!fs::exists(existing) && existing.has_relative_path()) existing = existing.parent_path();
  std::error_code error;
  const auto space = fs::space(existing, error);
  check(!error, existing.string(), ": cannot read the free disk space: ", error.message());
  if (space.available < bytes)
    fail_try_again(existing.string(), ": needs ", bytes / 1000000, " MB of free disk, found ",
                   space.available / 1000000, " MB; make room or choose another folder");
}

}  // namespace decant
