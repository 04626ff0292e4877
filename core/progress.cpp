#include "core/progress.h"

#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <utility>

namespace decant {

namespace {

bool g_quiet = false;

std::string clock_text(double seconds) {
  char text[32];
  const long whole = std::lround(seconds);
  if (whole >= 3600)
    std::snprintf(text, sizeof text, "%ld:%02ld:%02ld", whole / 3600, whole / 60 % 60, whole % 60);
  else
    std::snprintf(text, sizeof text, "%ld:%02ld", whole / 60, whole % 60);
  return text;
}

}  // namespace

void set_progress_quiet(bool quiet) { g_quiet = quiet; }

Progress::Progress(std::string step, int64_t total, std::string unit)
    : step_(std::move(step)),
      unit_(std::move(unit)),
      total_(total),
      terminal_(::isatty(STDERR_FILENO) == 1),
      begin_(std::chrono::steady_clock::now()),
      last_print_(begin_) {}

Progress::~Progress() {
  if (started_ && (last_done_ > 0 || !last_note_.empty())) print(last_done_, last_note_);
  if (terminal_ && shown_) std::fputc('\n', stderr);
}

void Progress::update(int64_t done, const std::string& note, double begun) {
  if (!started_) {
    started_ = true;
    first_ = static_cast<double>(done) + begun;
  }
  last_begun_ = begun;
  last_done_ = done;
  last_note_ = note;
  const auto now = std::chrono::steady_clock::now();
  const double wait = terminal_ ? 0.2 : 10.0;
  if (std::chrono::duration<double>(now - last_print_).count() < wait) return;
  last_print_ = now;
  print(done, note);
}

void Progress::print(int64_t done, const std::string& note) {
  if (g_quiet) return;
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
  const double all = static_cast<double>(done) + last_begun_;
  const double rate = seconds > 0 ? (all - first_) / seconds : 0;
  std::string line = step_ + "  " + std::to_string(done);
  if (total_ > 0) line += "/" + std::to_string(total_);
  line += " " + unit_;
  if (rate > 0) {
    char text[48];
    std::snprintf(text, sizeof text, rate < 10 ? "  %.2f/s" : "  %.0f/s", rate);
    line += text;
    if (total_ > done) line += "  ETA " + clock_text((static_cast<double>(total_) - all) / rate);
  }
  if (!note.empty()) line += "  " + note;
  shown_ = true;
  if (terminal_)
    std::fprintf(stderr, "\r\033[K%s", line.c_str());
  else
    std::fprintf(stderr, "%s\n", line.c_str());
  std::fflush(stderr);
}

}  // namespace decant
