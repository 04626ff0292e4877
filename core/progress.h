// Progress of one step: one rewritten line on a terminal, plain lines at most every ten seconds elsewhere, on
// stderr.
//   Progress progress("train", 120, "tokens");
//   progress.update(done, "loss 2.31");
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace decant {

class Progress {
 public:
  // `total` in `unit`s; 0 when unknown.
  Progress(std::string step, int64_t total, std::string unit);
  ~Progress();  // ends the line
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  // `done` so far, with a short note such as "loss 2.31". Cheap: prints a few times a second at most.
  // `begun`: what is done of further units, for the time that is left.
  void update(int64_t done, const std::string& note = {}, double begun = 0);

 private:
  void print(int64_t done, const std::string& note);
  std::string step_, unit_, last_note_;
  int64_t total_, last_done_ = 0;
  double first_ = 0, last_begun_ = 0;
  bool terminal_, started_ = false, shown_ = false;
  std::chrono::steady_clock::time_point begin_, last_print_;
};

void set_progress_quiet(bool quiet);

}  // namespace decant
