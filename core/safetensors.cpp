#include "core/safetensors.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <utility>

#include "core/error.h"
#include "core/json.h"

namespace decant {

namespace {

constexpr uint64_t kMaxHeaderBytes = 100'000'000;

// In the official writer's order, first written first: no tensor is ever less aligned than the one before it.
constexpr std::pair<std::string_view, int> kDtypes[] = {
    {"U64", 64},        {"I64", 64},    {"F64", 64},    {"C64", 64},    {"F32", 32}, {"U32", 32},
    {"I32", 32},        {"BF16", 16},   {"F16", 16},    {"U16", 16},    {"I16", 16}, {"F8_E5M2FNUZ", 8},
    {"F8_E4M3FNUZ", 8}, {"F8_E8M0", 8}, {"F8_E4M3", 8}, {"F8_E5M2", 8}, {"I8", 8},   {"U8", 8},
    {"F6_E3M2", 6},     {"F6_E2M3", 6}, {"F4", 4},      {"BOOL", 8},
};

size_t dtype_rank(std::string_view dtype) {
  for (size_t i = 0; i < std::size(kDtypes); ++i)
    if (kDtypes[i].first == dtype) return i;
  return std::size(kDtypes);
}

uint64_t little_endian_64(std::string_view bytes) {
  uint64_t value = 0;
  for (int i = 7; i >= 0; --i) value = value << 8 | static_cast<unsigned char>(bytes[static_cast<size_t>(i)]);
  return value;
}

// Well-formed UTF-8 (Unicode table 3-7): no overlong forms, no surrogates, nothing above U+10FFFF.
bool is_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto byte = [&](size_t k) {
      return i + k < text.size() ? static_cast<unsigned char>(text[i + k]) : 0U;
    };
    const auto tail = [&](size_t k) { return (byte(k) & 0xC0U) == 0x80U; };
    const unsigned lead = byte(0);
    if (lead < 0x80) {
      i += 1;
    } else if (lead >= 0xC2 && lead <= 0xDF && tail(1)) {
      i += 2;
    } else if (lead >= 0xE0 && lead <= 0xEF && tail(1) && tail(2) && (lead != 0xE0 || byte(1) >= 0xA0) &&
               (lead != 0xED || byte(1) < 0xA0)) {
      i += 3;
    } else if (lead >= 0xF0 && lead <= 0xF4 && tail(1) && tail(2) && tail(3) &&
               (lead != 0xF0 || byte(1) >= 0x90) && (lead != 0xF4 || byte(1) < 0x90)) {
      i += 4;
    } else {
      return false;
    }
  }
  return true;
}

// Bytes of a tensor; Errors for what overflows and for a part of a byte at the end.
uint64_t checked_bytes(const std::vector<int64_t>& shape, std::string_view dtype, const std::string& where) {
  constexpr uint64_t kMax = std::numeric_limits<int64_t>::max();
  uint64_t elements = 1;
  bool empty = false;
  for (const int64_t size : shape) {
    check(size >= 0, where, ": 'shape' must not be negative, found ", size);
    if (size == 0) {
      empty = true;
    } else {
      check(elements <= kMax / static_cast<uint64_t>(size), where,
            ": the product of its shape overflows 64 bits");
      elements *= static_cast<uint64_t>(size);
    }
  }
  const int bits = safetensors_dtype_bits(dtype);
  check(bits > 0, where, ": unknown dtype '", dtype, "'");
  if (empty) return 0;
  check(elements <= kMax / static_cast<uint64_t>(bits), where, ": its size in bits overflows 64 bits");
  const uint64_t total = elements * static_cast<uint64_t>(bits);
  check(total % 8 == 0, where, ": ", elements, " elements of ", dtype, " are not a whole number of bytes");
  return total / 8;
}

uint64_t unsigned_of(const Json& value, const std::string& where, const char* key) {
  check(value.is_number_unsigned() && value.get<uint64_t>() <= std::numeric_limits<int64_t>::max(), where,
        ": '", key, "' must hold whole numbers from 0 to 2^63-1, found ", value.dump());
  return value.get<uint64_t>();
}

TensorEntry read_entry(const std::string& name, const Json& json, const std::string& where) {
  check(json.is_object(), where, ": expected an object with dtype, shape and data_offsets, found ",
        json.type_name());
  for (const char* key : {"dtype", "shape", "data_offsets"})
    check(json.contains(key), where, ": '", key, "' is missing");
  TensorEntry entry;
  entry.name = name;
  check(json["dtype"].is_string(), where, ": 'dtype' must be a string, found ", json["dtype"].type_name());
  entry.dtype = json["dtype"].get<std::string>();
  check(json["shape"].is_array(), where, ": 'shape' must be a list, found ", json["shape"].type_name());
  for (const auto& size : json["shape"])
    entry.shape.push_back(static_cast<int64_t>(unsigned_of(size, where, "shape")));
  const auto& offsets = json["data_offsets"];
  check(offsets.is_array() && offsets.size() == 2, where, ": 'data_offsets' must be a list of two numbers");
  entry.begin = unsigned_of(offsets[0], where, "data_offsets");
  entry.end = unsigned_of(offsets[1], where, "data_offsets");
  check(entry.begin <= entry.end, where, ": its data ends at ", entry.end, " before it begins at ",
        entry.begin);
  const uint64_t bytes = checked_bytes(entry.shape, entry.dtype, where);
  check(bytes == entry.end - entry.begin, where, ": its dtype and shape need ", bytes,
        " bytes, data_offsets hold ", entry.end - entry.begin);
  return entry;
}

void read_header(std::string_view header, const std::string& file, std::vector<TensorEntry>& entries,
                 std::map<std::string, std::string>& metadata) {
  check(header.front() == '{', file, ": the header must begin with '{'; this is not a safetensors file");
  check(is_utf8(header), file, ": the header is not valid UTF-8");
  const auto json = parse_json(header, concat(file, ": header"));
  check(header[header.find_last_not_of(' ')] == '}', file, ": the header must end with '}' and spaces only");
  for (const auto& [name, value] : json.items()) {
    const std::string where = concat(file, ": '", name, "'");
    if (name != "__metadata__") {
      entries.push_back(read_entry(name, value, where));
      continue;
    }
    check(value.is_object(), where, " must be an object of strings, found ", value.type_name());
    for (const auto& [key, text] : value.items()) {
      check(text.is_string(), where, ": the value of '", key, "' must be a string, found ", text.type_name());
      metadata.emplace(key, text.get<std::string>());
    }
  }
  std::sort(entries.begin(), entries.end(), [](const TensorEntry& a, const TensorEntry& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
}

}  // namespace

int safetensors_dtype_bits(std::string_view dtype) {
  const size_t rank = dtype_rank(dtype);
  return rank < std::size(kDtypes) ? kDtypes[rank].second : 0;
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path) : file_(path) {
  const std::string file = path.string();
  const std::string_view all = file_.bytes();
  check(all.size() >= 8, file, ": a safetensors file begins with 8 bytes of header length, found ",
        all.size(), all.size() == 1 ? " byte" : " bytes");
  const uint64_t length = little_endian_64(all.substr(0, 8));
  check(length <= kMaxHeaderBytes, file, ": the header length ", length, " is above the format's limit of ",
        kMaxHeaderBytes, "; this is not a safetensors file");
  check(length >= 2, file, ": the header length ", length, " is too small for any header");
  check(length <= all.size() - 8, file, ": the header length ", length, " goes beyond the end of the file (",
        all.size(), " bytes); the file is cut short");
  read_header(all.substr(8, length), file, entries_, metadata_);
  buffer_ = all.substr(8 + length);
  uint64_t end = 0;
  for (const auto& entry : entries_) {
    check(entry.begin == end, file, ": '", entry.name, "' begins at ", entry.begin, " of the data, expected ",
          end, entry.begin > end ? ": there is a hole before it" : ": it overlaps the tensor before it");
    end = entry.end;
  }
  check(end <= buffer_.size(), file, ": the tensors need ", end, " bytes of data, the file holds ",
        buffer_.size(), "; it is cut short");
  check(end == buffer_.size(), file, ": ", buffer_.size() - end, " bytes follow the last tensor");
}

const TensorEntry* SafetensorsFile::find(std::string_view name) const {
  for (const auto& entry : entries_)
    if (entry.name == name) return &entry;
  return nullptr;
}

std::string_view SafetensorsFile::bytes(const TensorEntry& entry) const {
  return buffer_.substr(entry.begin, entry.end - entry.begin);
}

void write_safetensors_file(const std::filesystem::path& path, std::vector<TensorEntry> entries,
                            const std::map<std::string, std::string>& metadata, const TensorWriter& fill) {
  std::sort(entries.begin(), entries.end(), [](const TensorEntry& a, const TensorEntry& b) {
    return std::pair(dtype_rank(a.dtype), std::string_view(a.name)) <
           std::pair(dtype_rank(b.dtype), std::string_view(b.name));
  });
  std::string header = "{";
  const auto quoted = [&](const std::string& text) {
    check(is_utf8(text), path.string(), ": cannot write a name that is not valid UTF-8");
    return nlohmann::json(text).dump();
  };
  if (!metadata.empty()) {
    header += "\"__metadata__\":{";
    const char* comma = "";
    for (const auto& [key, value] : metadata) {
      header += std::exchange(comma, ",") + quoted(key) + ":" + quoted(value);
    }
    header += entries.empty() ? "}" : "},";
  }
  uint64_t end = 0;
  std::map<std::string_view, bool> seen;
  for (auto& entry : entries) {
    const std::string where = concat(path.string(), ": '", entry.name, "'");
    check(entry.name != "__metadata__", where, " cannot be the name of a tensor");
    check(seen.emplace(entry.name, true).second, where, " is given twice");
    const uint64_t bytes = checked_bytes(entry.shape, entry.dtype, where);
    check(bytes <= std::numeric_limits<int64_t>::max() - end, where,
          ": the file would be larger than 2^63 bytes");
    entry.begin = end;
    end = entry.end = entry.begin + bytes;
    if (&entry != &entries.front()) header += ',';
    header += concat(quoted(entry.name), ":{\"dtype\":\"", entry.dtype, "\",\"shape\":[");
    for (size_t i = 0; i < entry.shape.size(); ++i)
      header += (i > 0 ? "," : "") + std::to_string(entry.shape[i]);
    header += concat("],\"data_offsets\":[", entry.begin, ",", entry.end, "]}");
  }
  header += '}';
  header.resize((header.size() + 7) / 8 * 8, ' ');
  check(header.size() <= kMaxHeaderBytes, path.string(), ": the header would have ", header.size(),
        " bytes, more than the format's limit of ", kMaxHeaderBytes);

  AtomicFile file(path);
  char length[8];
  for (int i = 0; i < 8; ++i)
    length[i] = static_cast<char>(static_cast<uint64_t>(header.size()) >> (8 * i) & 0xFFU);
  file.write({length, sizeof length});
  file.write(header);
  for (const auto& entry : entries) {
    uint64_t left = entry.end - entry.begin;
    fill(entry, [&](std::string_view piece) {
      if (piece.size() > left)
        throw std::logic_error("safetensors writer: too many bytes for '" + entry.name + "'");
      left -= piece.size();
      file.write(piece);
    });
    if (left != 0) throw std::logic_error("safetensors writer: too few bytes for '" + entry.name + "'");
  }
  file.commit();
}

}  // namespace decant
