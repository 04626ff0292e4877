#include "data_pipeline/compressed_stream.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include "core/error.h"

namespace decant {
namespace fs = std::filesystem;

namespace {

constexpr size_t kInputBytes = size_t{256} << 10;
constexpr uint64_t kFreeBytes = uint64_t{64} << 20;  // decoded before the expansion is looked at
constexpr int kMaxZstdWindowLog = 27;

class Descriptor : public ByteStream {
 public:
  Descriptor(const fs::path& path, std::string name) : name_(std::move(name)) {
    if (path == "-") {
      descriptor_ = STDIN_FILENO;
      return;
    }
    // Not blocking: a pipe that nobody writes to would hold us here for ever.
    descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    check(descriptor_ >= 0, name_, ": cannot open for reading: ", std::strerror(errno));
    struct stat status {};
    if (::fstat(descriptor_, &status) != 0 || !S_ISREG(status.st_mode)) {
      ::close(std::exchange(descriptor_, -1));
      fail(name_, ": expected a file, found ", S_ISDIR(status.st_mode) ? "a folder" : "something else");
    }
    (void)::posix_fadvise(descriptor_, 0, 0, POSIX_FADV_SEQUENTIAL);
  }
  ~Descriptor() override {
    if (descriptor_ > STDIN_FILENO) ::close(descriptor_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  size_t read(char* to, size_t room) override {
    for (;;) {
      const ssize_t got = ::read(descriptor_, to, room);
      if (got >= 0) return static_cast<size_t>(got);
      if (errno == EAGAIN) {  // standard input may be somebody's pipe that does not block
        pollfd wait{descriptor_, POLLIN, 0};
        (void)::poll(&wait, 1, -1);
      } else if (errno != EINTR) {
        fail_try_again(name_, ": cannot read: ", std::strerror(errno));
      }
    }
  }

 private:
  std::string name_;
  int descriptor_ = -1;
};

// The compressed side: a buffer of the file that can be looked into.
class Input {
 public:
  explicit Input(std::unique_ptr<ByteStream> file) : file_(std::move(file)), buffer_(kInputBytes) {}
  // At least `bytes` of it, unless the file ends before.
  std::string_view peek(size_t bytes) {
    if (end_ - begin_ < bytes) {
      std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
      end_ -= begin_;
      begin_ = 0;
      while (end_ < bytes) {
        const size_t got = file_->read(buffer_.data() + end_, buffer_.size() - end_);
        if (got == 0) break;
        end_ += got;
      }
    }
    return {buffer_.data() + begin_, end_ - begin_};
  }
  void skip(size_t bytes) {
    begin_ += bytes;
    taken_ += bytes;
  }
  size_t read(char* to, size_t room) {
    if (begin_ == end_) {
      const size_t got = file_->read(to, room);
      taken_ += got;
      return got;
    }
    const size_t size = std::min(room, end_ - begin_);
    std::memcpy(to, buffer_.data() + begin_, size);
    skip(size);
    return size;
  }
  uint64_t taken() const { return taken_; }

 private:
  std::unique_ptr<ByteStream> file_;
  std::vector<char> buffer_;
  size_t begin_ = 0, end_ = 0;
  uint64_t taken_ = 0;
};

class Limited : public ByteStream {
 public:
  Limited(Input input, std::string name, const StreamLimits& limits)
      : input_(std::move(input)), name_(std::move(name)), limits_(limits) {}

  size_t read(char* to, size_t room) final {
    const size_t got = decode(to, room);
    decoded_ += got;
    check(decoded_ <= static_cast<uint64_t>(limits_.max_decoded_bytes), name_, ": holds more than ",
          limits_.max_decoded_bytes, " bytes; raise 'max_decoded_bytes' if that is right");
    const auto allowed = static_cast<uint64_t>(limits_.max_expansion);
    check(decoded_ <= kFreeBytes || decoded_ / allowed <= input_.taken(), name_, ": ", decoded_,
          " bytes out of ", input_.taken(), ", more than ", allowed,
          " for one: it may be a decompression bomb; raise 'max_expansion' if it is not");
    return got;
  }

 protected:
  virtual size_t decode(char* to, size_t room) = 0;
  [[noreturn]] void corrupt(const char* format, const char* what) const {
    fail(name_, ": the ", format, " stream is corrupt near byte ", input_.taken(), ": ", what);
  }
  [[noreturn]] void cut_off(const char* format) const {
    fail(name_, ": the ", format, " stream ends in the middle, after ", input_.taken(),
         " bytes: is the file complete?");
  }
  Input input_;
  std::string name_;

 private:
  StreamLimits limits_;
  uint64_t decoded_ = 0;
};

class PlainStream : public Limited {
 public:
  using Limited::Limited;

 protected:
  size_t decode(char* to, size_t room) override { return input_.read(to, room); }
};

bool is_gzip(std::string_view bytes) { return bytes.starts_with("\x1f\x8b"); }

bool is_zstd(std::string_view bytes) {
  if (bytes.starts_with("\x28\xb5\x2f\xfd")) return true;
  // A frame of somebody's own data, which is passed over.
  return bytes.size() >= 4 && (static_cast<uint8_t>(bytes[0]) & 0xf0) == 0x50 &&
         bytes.substr(1, 3) == "\x2a\x4d\x18";
}

class GzipStream : public Limited {
 public:
  GzipStream(Input input, std::string name, const StreamLimits& limits)
      : Limited(std::move(input), std::move(name), limits) {
    if (::inflateInit2(&state_, 15 + 16) != Z_OK) throw std::bad_alloc();
  }
  ~GzipStream() override { ::inflateEnd(&state_); }
  GzipStream(const GzipStream&) = delete;
  GzipStream& operator=(const GzipStream&) = delete;

 protected:
  size_t decode(char* to, size_t room) override {
    state_.next_out = reinterpret_cast<Bytef*>(to);
    state_.avail_out = static_cast<uInt>(std::min(room, size_t{1} << 30));
    const uInt wanted = state_.avail_out;
    while (state_.avail_out == wanted) {
      if (between_members_ && !next_member()) return 0;
      const std::string_view bytes = input_.peek(1);
      if (bytes.empty()) cut_off("gzip");
      state_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
      state_.avail_in = static_cast<uInt>(bytes.size());
      const int status = ::inflate(&state_, Z_NO_FLUSH);
      input_.skip(bytes.size() - state_.avail_in);
      if (status == Z_STREAM_END) {
        between_members_ = true;
      } else if (status != Z_OK) {
        corrupt("gzip", state_.msg != nullptr ? state_.msg : "it cannot be decoded");
      }
    }
    return wanted - state_.avail_out;
  }

 private:
  // Zero bytes may fill up a block after the last member, as gzip(1) has it.
  bool next_member() {
    std::string_view bytes = input_.peek(2);
    while (!first_ && !bytes.empty() && bytes[0] == '\0') {
      input_.skip(1);
      bytes = input_.peek(2);
    }
    if (bytes.empty() && !first_) return false;
    if (bytes.size() < 2) cut_off("gzip");
    if (!is_gzip(bytes)) corrupt("gzip", "other bytes follow its last member");
    ::inflateReset(&state_);
    first_ = between_members_ = false;
    return true;
  }
  z_stream state_{};
  bool between_members_ = true, first_ = true;
};

class ZstdStream : public Limited {
 public:
  ZstdStream(Input input, std::string name, const StreamLimits& limits)
      : Limited(std::move(input), std::move(name), limits), state_(ZSTD_createDStream()) {
    if (state_ == nullptr) throw std::bad_alloc();
    ZSTD_DCtx_setParameter(state_, ZSTD_d_windowLogMax, kMaxZstdWindowLog);
  }
  ~ZstdStream() override { ZSTD_freeDStream(state_); }
  ZstdStream(const ZstdStream&) = delete;
  ZstdStream& operator=(const ZstdStream&) = delete;

 protected:
  size_t decode(char* to, size_t room) override {
    ZSTD_outBuffer out{to, room, 0};
    while (out.pos == 0) {
      const std::string_view bytes = input_.peek(1);
      if (bytes.empty() && frame_done_) return 0;
      ZSTD_inBuffer in{bytes.data(), bytes.size(), 0};
      const size_t status = ZSTD_decompressStream(state_, &out, &in);
      if (ZSTD_isError(status)) corrupt("zstd", ZSTD_getErrorName(status));
      input_.skip(in.pos);
      frame_done_ = status == 0;
      if (in.pos == 0 && out.pos == 0) {
        if (bytes.empty()) cut_off("zstd");
        corrupt("zstd", "it makes no progress");
      }
    }
    return out.pos;
  }

 private:
  ZSTD_DStream* state_;
  bool frame_done_ = false;
};

// Formats that are known and not read; the user should hear that, and not of invalid JSON.
const char* other_format(std::string_view bytes) {
  if (bytes.starts_with("BZh")) return "bzip2";
  if (bytes.starts_with("\xfd\x37zXZ")) return "xz";
  if (bytes.starts_with("PK\x03\x04")) return "zip";
  if (bytes.starts_with("\x04\x22\x4d\x18")) return "lz4";
  return nullptr;
}

std::string lower_extension(const fs::path& path) {
  std::string text = path.extension().string();
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return text;
}

}  // namespace

std::unique_ptr<ByteStream> open_bytes(const fs::path& path, const std::string& name,
                                       const StreamLimits& limits) {
  Input input(std::make_unique<Descriptor>(path, name));
  const std::string_view bytes = input.peek(8);
  const std::string extension = lower_extension(path);
  if (is_gzip(bytes) || (extension == ".gz" && bytes.empty()))
    return std::make_unique<GzipStream>(std::move(input), name, limits);
  if (is_zstd(bytes) || (extension == ".zst" && bytes.empty()))
    return std::make_unique<ZstdStream>(std::move(input), name, limits);
  check(extension != ".gz" && extension != ".zst", name, ": the name says ", extension,
        ", but it does not begin as such a file does");
  if (const char* other = other_format(bytes))
    fail(name, ": is compressed with ", other, "; only .gz and .zst are read: recompress it");
  return std::make_unique<PlainStream>(std::move(input), name, limits);
}

}  // namespace decant
