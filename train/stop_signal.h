// SIGINT and SIGTERM as a question: while one of these lives, the first signal only sets a flag; a second one
// ends the process as it would have without us.
#pragma once

#include <csignal>

namespace decant {

class StopSignal {
 public:
  StopSignal();
  ~StopSignal();  // puts the former handlers back
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;
  // 0, or the number of the signal that came.
  static int caught();

 private:
  struct sigaction old_int_ {
  }, old_term_{};
};

}  // namespace decant
