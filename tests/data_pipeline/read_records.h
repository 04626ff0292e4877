// A file's records, all at once.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "core/file.h"
#include "data_pipeline/record_parser.h"
#include "data_pipeline/record_reader.h"
#include "tests/support/shared.h"

namespace decant::test {

inline std::vector<RawRecord> read_all(const std::filesystem::path& path, SourceConfig source = {}) {
  auto reader = open_records({path, "f", std::make_shared<const SourceConfig>(std::move(source)), 0});
  std::vector<RawRecord> records;
  for (RawRecord record; reader->next(record);) {
    records.push_back(record);
    records.back().bytes.reserve(record.bytes.size() + kJsonPadding);
  }
  return records;
}

inline std::vector<RawRecord> read_text(const std::string& text, const std::string& name,
                                        SourceConfig source = {}) {
  const auto path = scratch_folder() / name;
  write_file(path, text);
  return read_all(path, std::move(source));
}

}  // namespace decant::test
