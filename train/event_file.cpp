#include "train/event_file.h"

#include <array>
#include <bit>
#include <chrono>

namespace decant {

namespace {

constexpr std::array<uint32_t, 256> make_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t c = i;
    for (int bit = 0; bit < 8; ++bit) c = (c & 1) != 0 ? (c >> 1) ^ 0x82F63B78U : c >> 1;
    table[i] = c;
  }
  return table;
}

constexpr std::array<uint32_t, 256> kTable = make_table();

uint32_t masked(uint32_t crc) { return ((crc >> 15) | (crc << 17)) + 0xa282ead8U; }

template <class T>
void put_little_endian(std::string& out, T value) {
  for (size_t i = 0; i < sizeof(T); ++i) out += static_cast<char>(static_cast<uint64_t>(value) >> (8 * i));
}

// Protocol-buffer wire format: key = field << 3 | type (0 varint, 1 fixed 64, 2 length-delimited, 5 fixed
// 32).
void put_varint(std::string& out, uint64_t value) {
  for (; value >= 128; value >>= 7) out += static_cast<char>(value | 128);
  out += static_cast<char>(value);
}
void put_bytes(std::string& out, uint64_t field, std::string_view bytes) {
  put_varint(out, field << 3 | 2);
  put_varint(out, bytes.size());
  out += bytes;
}

std::string event_start(double wall_time, int64_t step) {
  std::string event;
  put_varint(event, 1 << 3 | 1);
  put_little_endian(event, std::bit_cast<uint64_t>(wall_time));
  put_varint(event, 2 << 3 | 0);
  put_varint(event, static_cast<uint64_t>(step));
  return event;
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  uint32_t c = 0xFFFFFFFFU;
  for (const char byte : bytes) c = kTable[(c ^ static_cast<uint8_t>(byte)) & 255] ^ (c >> 8);
  return c ^ 0xFFFFFFFFU;
}

std::string tfrecord(std::string_view data) {
  std::string record;
  put_little_endian(record, static_cast<uint64_t>(data.size()));
  put_little_endian(record, masked(crc32c(record)));
  record += data;
  put_little_endian(record, masked(crc32c(data)));
  return record;
}

EventFile::EventFile(const std::filesystem::path& path, uint64_t keep_bytes) : file_(path, keep_bytes) {
  if (keep_bytes > 0) return;
  const auto now = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  std::string event = event_start(now, 0);
  put_bytes(event, 3, "brain.Event:2");  // file_version, which readers expect first
  file_.append(tfrecord(event));
}

void EventFile::scalars(int64_t step, double wall_time,
                        const std::vector<std::pair<std::string, double>>& values) {
  std::string summary;
  for (const auto& [tag, value] : values) {
    std::string entry;
    put_bytes(entry, 1, tag);
    put_varint(entry, 2 << 3 | 5);  // simple_value
    put_little_endian(entry, std::bit_cast<uint32_t>(static_cast<float>(value)));
    put_bytes(summary, 1, entry);
  }
  std::string event = event_start(wall_time, step);
  put_bytes(event, 5, summary);
  file_.append(tfrecord(event));
}

}  // namespace decant
