#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "recipes/verbs.h"

namespace decant {

namespace {

std::string g_output;  // not written yet

std::string g_input;  // read, not handed out yet
size_t g_begin = 0;
bool g_end = false;

bool read_more() {
  if (g_end) return false;
  g_input.erase(0, g_begin);
  g_begin = 0;
  char block[65536];
  for (;;) {
    const ssize_t n = ::read(STDIN_FILENO, block, sizeof block);
    if (n < 0 && errno == EINTR) continue;
    check(n >= 0, "standard input: ", std::strerror(errno));
    if (n == 0) g_end = true;
    g_input.append(block, static_cast<size_t>(n));
    return n > 0;
  }
}

}  // namespace

void print(std::string_view text) {
  g_output += text;
  if (g_output.size() >= 65536) flush_output();
}

void flush_output() {
  size_t done = 0;
  while (done < g_output.size()) {
    const ssize_t n = ::write(STDOUT_FILENO, g_output.data() + done, g_output.size() - done);
    if (n >= 0) {
      done += static_cast<size_t>(n);
    } else if (errno != EINTR) {
      const int error = errno;
      g_output.clear();
      if (error == EPIPE) throw ReaderGone();
      fail_try_again("standard output: ", std::strerror(error));
    }
  }
  g_output.clear();
}

bool next_line(std::string& text, int64_t& line) {
  size_t searched = g_begin;
  for (;;) {
    const size_t end = g_input.find('\n', searched);
    if (end != std::string::npos) {
      text.assign(g_input, g_begin, end - g_begin);
      g_begin = end + 1;
      break;
    }
    const size_t held = g_input.size() - g_begin;
    if (!read_more()) {
      if (held == 0) return false;
      text.assign(g_input, g_begin, held);
      g_begin = g_input.size();
      break;
    }
    searched = g_begin + held;
  }
  if (text.ends_with('\r')) text.pop_back();
  ++line;
  return true;
}

bool more_input() {
  if (g_input.find('\n', g_begin) != std::string::npos) return true;
  if (g_end) return g_begin < g_input.size();
  pollfd p{STDIN_FILENO, POLLIN, 0};
  return ::poll(&p, 1, 0) > 0 && (p.revents & POLLIN) != 0;
}

}  // namespace decant
