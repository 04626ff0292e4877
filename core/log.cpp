#include "core/log.h"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <nlohmann/json.hpp>

namespace decant {

namespace {

spdlog::level::level_enum to_spdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

struct Sinks {
  std::shared_ptr<spdlog::logger> screen;
  std::shared_ptr<spdlog::logger> file;
};

Sinks& sinks() {
  static Sinks instance = [] {
    Sinks made;
    made.screen =
        std::make_shared<spdlog::logger>("decant", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
    made.screen->set_pattern("%^%v%$");
    return made;
  }();
  return instance;
}

}  // namespace

void log_line(LogLevel level, const std::string& message) {
  Sinks& out = sinks();
  const char* prefix = level == LogLevel::kWarning ? "warning: " : level == LogLevel::kError ? "error: " : "";
  out.screen->log(to_spdlog(level), "{}{}", prefix, message);
  if (out.file) {
    const std::string text =
        nlohmann::json(message).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    out.file->log(to_spdlog(level), "\"message\":{}}}", text);
  }
}

void set_log_level(LogLevel least) { sinks().screen->set_level(to_spdlog(least)); }

void open_log_file(const std::filesystem::path& path) {
  try {
    auto sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(path.string());
    auto file = std::make_shared<spdlog::logger>("file", std::move(sink));
    file->set_pattern("{\"time\":\"%Y-%m-%dT%H:%M:%S.%e%z\",\"level\":\"%l\",%v");
    file->set_level(spdlog::level::debug);
    file->flush_on(spdlog::level::debug);
    sinks().file = std::move(file);
  } catch (const spdlog::spdlog_ex& e) {
    fail(path.string(), ": cannot open the log file: ", e.what());
  }
}

void close_log_file() { sinks().file.reset(); }

}  // namespace decant
