// Errors: one exception type for everything a user can mend (recipe, file, machine). Our own mistakes use
// TORCH_INTERNAL_ASSERT (or std::logic_error where no torch is near).
//
// A message is a small letter: where, what, expected, found, what to do. For example
//   check(rank > 0, where, ": 'lora.rank' must be at least 1, found ", rank);
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace decant {

// Exit status of the program; see DESIGN 4.
enum class Exit : int {
  kFinished = 0,
  kUserError = 1,
  kUsage = 2,
  kGateSaidNo = 3,
  kInternal = 70,
  kTryAgain = 75,  // signal, wall-clock limit, disk, network, lock: what was done is kept
};

class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message, Exit code = Exit::kUserError)
      : std::runtime_error(message), code_(code) {}
  Exit code() const { return code_; }

 private:
  Exit code_;
};

template <class... Parts>
std::string concat(const Parts&... parts) {
  std::ostringstream out;
  out.precision(9);
  (out << ... << parts);
  return out.str();
}

template <class... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  throw Error(concat(parts...));
}

// As fail, for what passes by itself or with more room: exit status 75.
template <class... Parts>
[[noreturn]] void fail_try_again(const Parts&... parts) {
  throw Error(concat(parts...), Exit::kTryAgain);
}

// Throws Error with the concatenated parts unless `ok`. The parts are only joined on failure, but they are
// evaluated always: in hot loops write `if (!ok) fail(...)`.
template <class... Parts>
void check(bool ok, const Parts&... parts) {
  if (!ok) [[unlikely]]
    fail(parts...);
}

}  // namespace decant
