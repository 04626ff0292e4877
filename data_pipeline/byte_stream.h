// Bytes, one after the other: a file, what a compressed file holds, what an encoded one says.
#pragma once

#include <cstddef>

namespace decant {

class ByteStream {
 public:
  virtual ~ByteStream() = default;
  // Up to `room` bytes to `to`; how many there were, 0 at the end and only there.
  virtual size_t read(char* to, size_t room) = 0;
};

}  // namespace decant
