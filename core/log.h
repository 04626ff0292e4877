// Log lines go to stderr and, once a run directory is open, as JSON lines to its log.jsonl. They carry ids
// and counts, never customer text. spdlog is behind log.cpp only: its fmt clashes with the one in torch's
// include folder.
#pragma once

#include <filesystem>
#include <string>

#include "core/error.h"

namespace decant {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

void log_line(LogLevel level, const std::string& message);
void set_log_level(LogLevel least);                     // --quiet: kWarning; --debug: kDebug
void open_log_file(const std::filesystem::path& path);  // appends; Error if it cannot be opened
void close_log_file();

template <class... Parts>
void log_debug(const Parts&... parts) {
  log_line(LogLevel::kDebug, concat(parts...));
}
template <class... Parts>
void log_info(const Parts&... parts) {
  log_line(LogLevel::kInfo, concat(parts...));
}
template <class... Parts>
void log_warning(const Parts&... parts) {
  log_line(LogLevel::kWarning, concat(parts...));
}

}  // namespace decant
