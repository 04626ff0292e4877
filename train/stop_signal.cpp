#include "train/stop_signal.h"

namespace decant {

namespace {

volatile std::sig_atomic_t caught_signal = 0;

extern "C" void on_stop_signal(int number) { caught_signal = number; }

}  // namespace

StopSignal::StopSignal() {
  caught_signal = 0;
  struct sigaction action {};
  action.sa_handler = on_stop_signal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = static_cast<int>(SA_RESETHAND | SA_RESTART);
  ::sigaction(SIGINT, &action, &old_int_);
  ::sigaction(SIGTERM, &action, &old_term_);
}

StopSignal::~StopSignal() {
  ::sigaction(SIGINT, &old_int_, nullptr);
  ::sigaction(SIGTERM, &old_term_, nullptr);
}

int StopSignal::caught() { return caught_signal; }

}  // namespace decant
