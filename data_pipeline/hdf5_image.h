// HDF5 through its C API, in memory: a file is built as bytes and written by core/file.h, so that a full disk
// and a kill are handled in one place, and read from mapped bytes whose digest was compared. HDF5's own error
// printing is off. One lock for all calls.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace decant {

struct Hdf5Dataset {
  enum class Type { kU8, kU32, kU64, kI64, kText };
  std::string name;
  Type type = Type::kU8;
  uint64_t count = 0;
  uint64_t text_bytes = 0;  // of one element, kText only
  std::string_view bytes;   // little endian
};

struct Hdf5Content {
  std::vector<Hdf5Dataset> datasets;
  std::vector<std::pair<std::string, int64_t>> numbers;
  std::vector<std::pair<std::string, std::string>> texts;
};

// The bytes of a file with these one-dimensional contiguous datasets and attributes of the root. No times;
// library version bounds fixed (earliest to 1.8): same content, same bytes.
std::string hdf5_bytes(const Hdf5Content& content);

// Reads what is asked for from the bytes of a file: datasets by name and type, their bytes pointing into
// `file`; attributes by name. Error with `where` when the file is no HDF5 file, or a dataset or attribute is
// missing, not one-dimensional, not contiguous, of another type, or reaches beyond the file.
Hdf5Content read_hdf5(std::string_view file, const Hdf5Content& wanted, const std::string& where);

}  // namespace decant
