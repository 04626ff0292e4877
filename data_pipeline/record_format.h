// How the records of one file are parsed.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "data_pipeline/source_config.h"

namespace decant {

struct FileFormat {
  FileKind kind = FileKind::kJsonl;               // never kAuto
  RecordFormat format = RecordFormat::kMessages;  // never kAuto
  std::shared_ptr<const SourceConfig> source;
  char delimiter = ',';              // of CSV
  std::vector<std::string> columns;  // of CSV
};

}  // namespace decant
