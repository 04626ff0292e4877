// main() of a program beside the tests: an exception is a line on stderr and exit status 1.
#pragma once

#include <cstdio>
#include <exception>

namespace decant::test {

inline int guarded_main(int (*run)(int, char**), int count, char** arguments) {
  try {
    return run(count, arguments);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "error: %s\n", e.what());
    return 1;
  }
}

}  // namespace decant::test
