// Kills work at growing moments. No delay comes from a run that was timed beforehand: a machine that stalled
// during that run would put every kill behind the end.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <exception>
#include <thread>

namespace decant::test {

/// Does `work` in a child that is killed (SIGKILL) after 3 ms, again in one that is killed an eighth later,
/// and so on until a child comes to its end or 40 s are not enough. Returns the number of kills.
template <class Work>
int killed_until_done(const Work& work) {
  int killed = 0;
  for (double delay = 0.003; delay < 40; delay *= 1.125) {
    const pid_t child = ::fork();
    if (child == 0) {
      try {
        work();
      } catch (const std::exception& e) {
        std::fprintf(stderr, "%s\n", e.what());
        ::_exit(1);
      }
      ::_exit(0);
    }
    std::this_thread::sleep_for(std::chrono::duration<double>(delay));
    ::kill(child, SIGKILL);
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    if (!WIFSIGNALED(status)) {
      EXPECT_EQ(WEXITSTATUS(status), 0);
      break;
    }
    ++killed;
  }
  return killed;
}

}  // namespace decant::test
