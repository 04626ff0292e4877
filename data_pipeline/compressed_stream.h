// A file's bytes, decompressed on the way: plain, .gz (one or more members) and .zst (one or more frames),
// told apart by their first bytes. Memory is bounded by the format's window (32 KiB; 128 MiB at most for
// zstd, more is refused).
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "data_pipeline/byte_stream.h"

namespace decant {

struct StreamLimits {
  int64_t max_expansion = 200;                   // decoded bytes for one of the file, beyond 64 MiB
  int64_t max_decoded_bytes = int64_t{1} << 40;  // of the whole file
};

// "-" is standard input. Errors begin with `name`: a file that cannot be opened or read; one whose name says
// .gz or .zst and whose bytes do not; one compressed in a way that is not read (bzip2, xz, zip, lz4); a
// stream that is corrupt, ends early or is followed by other bytes; one that grows beyond the limits.
std::unique_ptr<ByteStream> open_bytes(const std::filesystem::path& path, const std::string& name,
                                       const StreamLimits& limits);

}  // namespace decant
