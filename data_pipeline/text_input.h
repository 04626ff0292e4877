// A stream of text with a window on it, for readers that look for the end of a record.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "data_pipeline/byte_stream.h"

namespace decant {

class TextInput {
 public:
  // `offset` of the first byte: 3 where a byte-order mark was passed over.
  explicit TextInput(std::unique_ptr<ByteStream> stream, uint64_t offset = 0,
                     size_t buffer_bytes = size_t{512} << 10)
      : stream_(std::move(stream)), buffer_(buffer_bytes), offset_(offset) {}

  // What comes next, at least one byte of it; empty at the end. Valid until the next call.
  std::string_view window() {
    if (begin_ == end_) {
      begin_ = 0;
      end_ = stream_->read(buffer_.data(), buffer_.size());
    }
    return {buffer_.data() + begin_, end_ - begin_};
  }
  void skip(size_t bytes) {
    begin_ += bytes;
    offset_ += bytes;
  }
  uint64_t offset() const { return offset_; }  // of the window's first byte

 private:
  std::unique_ptr<ByteStream> stream_;
  std::vector<char> buffer_;
  size_t begin_ = 0, end_ = 0;
  uint64_t offset_;
};

}  // namespace decant
