#include "data_pipeline/text_encoding.h"

#include <simdjson.h>
#include <unicode/ucnv.h>
#include <unicode/ustring.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/error.h"
#include "core/log.h"

namespace decant {

namespace {

constexpr size_t kWindowBytes = size_t{256} << 10;

bool is_utf8_text(std::string_view text) { return simdjson::validate_utf8(text.data(), text.size()); }

size_t ascii_prefix(std::string_view text) {
  size_t i = 0;
  for (uint64_t eight = 0; i + 8 <= text.size(); i += 8) {
    std::memcpy(&eight, text.data() + i, 8);
    if ((eight & 0x8080808080808080u) != 0) break;
  }
  while (i < text.size() && (text[i] & '\x80') == 0) ++i;
  return i;
}

// A stream that can be looked into.
class Lookahead : public ByteStream {
 public:
  explicit Lookahead(std::unique_ptr<ByteStream> stream) : stream_(std::move(stream)) {}
  // Up to `bytes` of what comes, fewer only at the end.
  std::string_view peek(size_t bytes) {
    if (buffer_.size() - begin_ < bytes) {
      buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<std::ptrdiff_t>(begin_));
      begin_ = 0;
      size_t have = buffer_.size();
      buffer_.resize(bytes);
      while (have < bytes) {
        const size_t got = stream_->read(buffer_.data() + have, bytes - have);
        if (got == 0) break;
        have += got;
      }
      buffer_.resize(have);
    }
    return {buffer_.data() + begin_, std::min(bytes, buffer_.size() - begin_)};
  }
  void skip(size_t bytes) { begin_ += bytes; }
  size_t read(char* to, size_t room) override {
    if (begin_ == buffer_.size()) return stream_->read(to, room);
    const size_t size = std::min(room, buffer_.size() - begin_);
    std::memcpy(to, buffer_.data() + begin_, size);
    begin_ += size;
    return size;
  }

 private:
  std::unique_ptr<ByteStream> stream_;
  std::vector<char> buffer_;
  size_t begin_ = 0;
};

class Converted : public ByteStream {
 public:
  Converted(std::unique_ptr<ByteStream> stream, const char* encoding)
      : stream_(std::move(stream)), in_(kWindowBytes), wide_(kWindowBytes) {
    UErrorCode status = U_ZERO_ERROR;
    converter_ = ::ucnv_open(encoding, &status);
    ::ucnv_setToUCallBack(converter_, UCNV_TO_U_CALLBACK_STOP, nullptr, nullptr, nullptr, &status);
    if (U_FAILURE(status)) throw std::logic_error(concat("ICU: ", u_errorName(status)));
  }
  ~Converted() override { ::ucnv_close(converter_); }
  Converted(const Converted&) = delete;
  Converted& operator=(const Converted&) = delete;

  size_t read(char* to, size_t room) override {
    while (at_ == out_.size()) {
      if (done_) return 0;
      fill();
    }
    const size_t size = std::min(room, out_.size() - at_);
    std::memcpy(to, out_.data() + at_, size);
    at_ += size;
    return size;
  }

 private:
  void fill() {
    out_.clear();
    at_ = 0;
    if (next_ == end_) {
      next_ = 0;
      end_ = stream_->read(in_.data(), in_.size());
    }
    const bool last = end_ == 0;
    const char *from = in_.data() + next_, *limit = in_.data() + end_;
    UChar* to = wide_.data() + held_;
    UErrorCode status = U_ZERO_ERROR;
    ::ucnv_toUnicode(converter_, &to, wide_.data() + wide_.size(), &from, limit, nullptr,
                     static_cast<UBool>(last), &status);
    next_ = static_cast<size_t>(from - in_.data());
    auto size = static_cast<size_t>(to - wide_.data());
    const bool bad = U_FAILURE(status) && status != U_BUFFER_OVERFLOW_ERROR;
    // Half a surrogate pair waits for the other half.
    held_ = !bad && !last && size > 0 && U16_IS_LEAD(wide_[size - 1]) ? 1 : 0;
    size -= held_;
    append_utf8(size);
    if (held_ > 0) wide_[0] = wide_[size];
    if (bad) out_ += '\xff';
    done_ = last && status != U_BUFFER_OVERFLOW_ERROR && !bad;
  }

  void append_utf8(size_t size) {
    out_.resize(3 * size + 1);
    int32_t length = 0;
    UErrorCode status = U_ZERO_ERROR;
    ::u_strToUTF8WithSub(out_.data(), static_cast<int32_t>(out_.size()), &length, wide_.data(),
                         static_cast<int32_t>(size), 0xfffd, nullptr, &status);
    if (U_FAILURE(status)) throw std::logic_error(concat("ICU: ", u_errorName(status)));
    out_.resize(static_cast<size_t>(length));
  }

  std::unique_ptr<ByteStream> stream_;
  UConverter* converter_ = nullptr;
  std::vector<char> in_;
  std::vector<UChar> wide_;
  std::string out_;
  size_t next_ = 0, end_ = 0, held_ = 0, at_ = 0;
  bool done_ = false;
};

// ASCII as it comes; what the first other byte begins decides about the rest.
class Undecided : public ByteStream {
 public:
  Undecided(std::unique_ptr<Lookahead> stream, std::string name)
      : stream_(std::move(stream)), name_(std::move(name)) {}

  size_t read(char* to, size_t room) override {
    if (decided_) return decided_->read(to, room);
    const std::string_view next = stream_->peek(std::min(room, kWindowBytes));
    const size_t ascii = ascii_prefix(next);
    if (ascii > 0 || next.empty()) {
      std::memcpy(to, next.data(), ascii);
      stream_->skip(ascii);
      return ascii;
    }
    if (looks_like_gb18030(stream_->peek(kWindowBytes))) {
      log_info("corpus: ", name_, " is read as GB18030");
      decided_ = std::make_unique<Converted>(std::move(stream_), "gb18030");
    } else {
      decided_ = std::move(stream_);
    }
    return decided_->read(to, room);
  }

 private:
  std::unique_ptr<Lookahead> stream_;
  std::string name_;
  std::unique_ptr<ByteStream> decided_;
};

struct Gb18030Counts {
  bool clean = true;
  size_t pairs = 0, common = 0;
};

Gb18030Counts count_gb18030(std::string_view text) {
  Gb18030Counts counts;
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const auto within = [](uint8_t b, int low, int high) { return b >= low && b <= high; };
  for (size_t i = 0; i < text.size();) {
    if (byte(i) < 0x80) {
      ++i;
      continue;
    }
    if (!within(byte(i), 0x81, 0xfe)) return {false};
    if (i + 1 == text.size()) break;  // the window ends in a character
    if (within(byte(i + 1), 0x30, 0x39)) {
      if (i + 4 > text.size()) break;
      if (!within(byte(i + 2), 0x81, 0xfe) || !within(byte(i + 3), 0x30, 0x39)) return {false};
      i += 4;
      continue;
    }
    if (!within(byte(i + 1), 0x40, 0xfe) || byte(i + 1) == 0x7f) return {false};
    ++counts.pairs;
    if (within(byte(i), 0xa1, 0xf7) && within(byte(i + 1), 0xa1, 0xfe)) ++counts.common;
    i += 2;
  }
  return counts;
}

}  // namespace

bool looks_like_gb18030(std::string_view window) {
  size_t good = 0, bad = 0;
  for (size_t at = 0; at < window.size();) {
    const size_t found = window.find('\n', at);
    const bool cut = found == std::string_view::npos;
    std::string_view line = window.substr(at, cut ? window.size() - at : found - at);
    at += line.size() + 1;
    if (ascii_prefix(line) == line.size()) continue;
    if (is_utf8_text(line)) {
      ++good;
      continue;
    }
    bool begun = false;  // the window may end in the middle of a character
    for (size_t tail = 1; cut && tail <= 3 && tail < line.size(); ++tail)
      begun = begun || is_utf8_text(line.substr(0, line.size() - tail));
    ++(begun ? good : bad);
  }
  if (bad == 0 || good >= bad) return false;
  const Gb18030Counts counts = count_gb18030(window);
  return counts.clean && counts.pairs > 0 && 5 * counts.common >= 4 * counts.pairs;
}

DecodedText decode_text(std::unique_ptr<ByteStream> bytes, TextEncoding encoding, const std::string& name) {
  auto stream = std::make_unique<Lookahead>(std::move(bytes));
  const std::string_view first = stream->peek(4);
  const auto begins = [&](std::string_view mark) { return first.starts_with(mark); };
  const bool automatic = encoding == TextEncoding::kAuto;
  using namespace std::string_view_literals;
  const bool wide = begins("\xff\xfe\0\0"sv) || begins("\0\0\xfe\xff"sv);
  check(!automatic || !wide, name, ": is UTF-32, which is not read: convert it to UTF-8");
  if (begins("\xef\xbb\xbf") && (automatic || encoding == TextEncoding::kUtf8)) {
    stream->skip(3);
    return {std::move(stream), 3};
  }
  if (begins("\xff\xfe") && (automatic || encoding == TextEncoding::kUtf16Le)) {
    stream->skip(2);
    encoding = TextEncoding::kUtf16Le;
  } else if (begins("\xfe\xff") && (automatic || encoding == TextEncoding::kUtf16Be)) {
    stream->skip(2);
    encoding = TextEncoding::kUtf16Be;
  } else if (begins("\x84\x31\x95\x33") && (automatic || encoding == TextEncoding::kGb18030)) {
    stream->skip(4);
    encoding = TextEncoding::kGb18030;
  }
  switch (encoding) {
    case TextEncoding::kAuto:
      return {std::make_unique<Undecided>(std::move(stream), name)};
    case TextEncoding::kUtf8:
      return {std::move(stream)};
    case TextEncoding::kUtf16Le:
      return {std::make_unique<Converted>(std::move(stream), "UTF-16LE")};
    case TextEncoding::kUtf16Be:
      return {std::make_unique<Converted>(std::move(stream), "UTF-16BE")};
    case TextEncoding::kGb18030:
      break;
  }
  return {std::make_unique<Converted>(std::move(stream), "gb18030")};
}

}  // namespace decant
