// The records of files as the readers see them, before they are parsed: read_records FILE... prints one JSON
// object a record ({"bad": reason} of those that the reader gives up), or {"error"} where a file is refused.
#include <cstdio>
#include <exception>

#include "core/error.h"
#include "core/json.h"
#include "data_pipeline/record_reader.h"

int main(int argc, char** argv) try {
  for (int i = 1; i < argc; ++i) {
    try {
      auto reader = decant::open_records({argv[i], "f", std::make_shared<const decant::SourceConfig>(), 0});
      for (decant::RawRecord record; reader->next(record);)
        std::printf("%s\n", record.reason.empty() ? record.bytes.c_str()
                                                  : decant::Json{{"bad", record.reason}}.dump().c_str());
    } catch (const decant::Error& e) {
      std::printf("%s\n", decant::Json{{"error", e.what()}}.dump().c_str());
    }
  }
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "error: %s\n", e.what());
  return 1;
}
