// TensorBoard event files: scalar summaries in TFRecord framing. Source:
// tensorflow/core/lib/io/record_writer.cc (u64 length, masked CRC-32C of the length, data, masked CRC-32C of
// the data) and event.proto, summary.proto, of which only the fields for scalars are written.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "train/line_file.h"

namespace decant {

// What TensorBoard looks for is "tfevents"; no time and no host in the name, so that a resumed run goes on in
// the same file.
inline constexpr const char* kEventFileName = "events.out.tfevents.decant";

class EventFile {
 public:
  // Goes on after the first `keep_bytes` of the file (what a checkpoint recorded); 0 starts anew.
  EventFile(const std::filesystem::path& path, uint64_t keep_bytes);
  // One event with the given (tag, value) pairs; wall_time in seconds since 1970.
  void scalars(int64_t step, double wall_time, const std::vector<std::pair<std::string, double>>& values);
  void cut(uint64_t keep_bytes) { file_.cut(keep_bytes); }
  void sync() { file_.sync(); }
  uint64_t bytes() const { return file_.bytes(); }

 private:
  LineFile file_;
};

uint32_t crc32c(std::string_view bytes);      // Castagnoli, unmasked
std::string tfrecord(std::string_view data);  // one framed record

}  // namespace decant
